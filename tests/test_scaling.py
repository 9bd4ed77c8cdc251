"""The nginx configuration of docs/scaling.md, run as it stands there (but for addresses) in front of two servers."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_server import FakeOllama

ROOT = Path(__file__).resolve().parent.parent
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
pytestmark = pytest.mark.skipif(not Path(NGINX).exists(), reason="nginx is not installed")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def place(url: str) -> str:
    return url.removeprefix("http://")


@pytest.fixture
def balanced(tmp_path: Path) -> Iterator[tuple[str, FakeOllama, FakeOllama]]:
    """The address of nginx, and the two servers behind it."""
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    found = re.search(r"```nginx\n(.*?)```", page, re.S)
    assert found is not None
    port = free_port()
    with FakeOllama() as first, FakeOllama() as second:
        site = found[1].replace("gpu1:11434", place(first.url)).replace("gpu2:11434", place(second.url))
        site = site.replace("listen 8080", f"listen 127.0.0.1:{port}")
        config = tmp_path / "nginx.conf"
        paths = "".join(f"{name}_temp_path {tmp_path}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        config.write_text(f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}\n"
                          f"http {{ access_log off; {paths}\n{site}\n}}\n", encoding="utf-8")
        process = subprocess.Popen([NGINX, "-p", str(tmp_path), "-c", str(config), "-e", str(tmp_path / "error.log")])
        try:
            wait_for(port)
            yield f"http://127.0.0.1:{port}", first, second
        finally:
            process.terminate()
            process.wait(10)


def wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("nginx does not listen")


def test_two_servers_share_the_work_and_one_may_die(balanced: tuple[str, FakeOllama, FakeOllama], program: list[str],
                                                    environment: dict[str, str]) -> None:
    address, first, second = balanced

    def ask() -> subprocess.CompletedProcess[str]:
        return subprocess.run([*program, "--base-url", address, "-m", "words-5", "hello"], env=environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    for _ in range(6):
        done = ask()
        assert (done.returncode, done.stdout) == (0, "w0 w1 w2 w3 w4\n"), done.stderr
    assert all(any(request.path == "/api/chat" for request in server.requests) for server in (first, second))
    first.close()
    for _ in range(3):
        done = ask()
        assert (done.returncode, done.stdout) == (0, "w0 w1 w2 w3 w4\n"), done.stderr
