"""The nginx and LiteLLM configurations of docs/scaling.md, run unchanged (except for addresses) in
front of two servers.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fake_server import (Answer, Cut, FakeOllama, FakeServer, Pause, Received, Step, _shut,
                               json_answer)
from tests.faulty_proxy import TEXT, content_type, has_result, said_already, whole_answer, wire
from tests.surroundings import inherited

ROOT = Path(__file__).resolve().parent.parent.parent
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
LITELLM = shutil.which("litellm")
with_nginx = pytest.mark.skipif(not Path(NGINX).exists(), reason="nginx is not installed")
with_litellm = pytest.mark.skipif(LITELLM is None, reason="litellm is not on the PATH (pip install "
                                  "'litellm[proxy]' elsewhere)")
MASTER_KEY = "sk-" + "0123456789abcdef" * 4
TOOL = '''
from core.tools import tool

@tool
def look(where: str, times: int) -> str:
    """Look somewhere."""
    return f"RESULT {where} {times}"
'''
LONGEST_START = 60.0     # seconds: LiteLLM is large


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def blocks(language: str) -> list[str]:
    """The examples of the page in this language."""
    return re.findall(rf"```{language}\n(.*?)```",
                      (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8"), re.S)


def place(url: str) -> str:
    return url.removeprefix("http://")


@pytest.fixture
def balanced(tmp_path: Path) -> Iterator[tuple[str, FakeOllama, FakeOllama]]:
    """The address of nginx, and the two servers behind it."""
    (found,) = blocks("nginx")
    port = free_port()
    with FakeOllama() as first, FakeOllama() as second:
        site = found.replace("gpu1:11434", place(first.url)).replace("gpu2:11434",
                                                                     place(second.url))
        site = site.replace("listen 8080", f"listen 127.0.0.1:{port}")
        config = tmp_path / "nginx.conf"
        paths = "".join(f"{name}_temp_path {tmp_path}/{name};"
                        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        config.write_text(f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events "
                          "{}\n"
                          f"http {{ access_log off; {paths}\n{site}\n}}\n", encoding="utf-8")
        process = subprocess.Popen([NGINX, "-p", str(tmp_path), "-c", str(config), "-e",
                                    str(tmp_path / "error.log")])
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


@with_nginx
def test_two_servers_share_the_work_and_one_may_die(balanced: tuple[str, FakeOllama, FakeOllama],
                                                    program: list[str],
                                                    environment: dict[str, str]) -> None:
    address, first, second = balanced

    def ask() -> subprocess.CompletedProcess[str]:
        return subprocess.run([*program, "--base-url", address, "-m", "words-5", "hello"],
                              env=environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    for _ in range(6):
        done = ask()
        assert (done.returncode, done.stdout) == (0, "w0 w1 w2 w3 w4\n"), done.stderr
    assert all(any(request.path == "/api/chat" for request in server.requests)
               for server in (first, second))
    first.close()
    for _ in range(3):
        done = ask()
        assert (done.returncode, done.stdout) == (0, "w0 w1 w2 w3 w4\n"), done.stderr


# ---- LiteLLM

class Host(FakeServer):
    """An Ollama that sends TEXT, or continues it.

    Offered a tool, it calls that first. Of those that share `doom`, the first that is asked once
    there is something in it dies in the middle of its answer.
    """

    def __init__(self, doom: list[str]) -> None:
        super().__init__(self._say)
        self._doom = doom

    def _say(self, request: Received) -> Answer:
        if request.path != "/api/chat":
            return json_answer({})
        if request.json.get("tools"):
            told = has_result(request)
            return whole_answer("ollama",
                                wire("ollama", "It is there." if told else "", call=not told))
        made = wire("ollama", TEXT[said_already(request):])
        steps: list[Step] = [*made.texts, *made.tail]
        if self._doom:
            self._doom.clear()
            _shut(self._listener)
            steps = [*made.texts[:len(made.texts) // 2], Pause(0.3), Cut()]
        return Answer(steps, content_type=content_type("ollama"))

    @property
    def asked(self) -> int:
        return len(self.chats)


@dataclass(slots=True)
class Proxy:
    url: str
    hosts: tuple[Host, Host]
    doom: list[str]
    config: Path      # of Stream Chat, as the page has it

    def run(self, program: list[str], environment: dict[str, str], *words: str,
            key: str = MASTER_KEY) -> tuple[int, str, str]:
        done = subprocess.run([*program, *words],
                              env=environment | {"LITELLM_MASTER_KEY": key, "LITELLM_API_KEY": key},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    theirs, ours = blocks("yaml")
    port = free_port()
    doom: list[str] = []
    with Host(doom) as first, Host(doom) as second:
        config, own = tmp_path / "litellm.yaml", tmp_path / "stream-chat.yaml"
        config.write_text(theirs.replace("gpu1:11434", place(first.url))
                          .replace("gpu2:11434", place(second.url)), encoding="utf-8")
        own.write_text(ours.replace("127.0.0.1:4000", f"127.0.0.1:{port}"), encoding="utf-8")
        environment = {**inherited(), "HOME": str(tmp_path),
                       "LITELLM_MASTER_KEY": MASTER_KEY,
                       # else it looks for a newer list of prices elsewhere
                       "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        with open(tmp_path / "litellm.log", "wb") as log:
            process = subprocess.Popen([str(LITELLM), "--config", str(config), "--host",
                                        "127.0.0.1", "--port", str(port)],
                                       env=environment, cwd=tmp_path, stdout=log, stderr=log)
        try:
            wait_until_alive(f"http://127.0.0.1:{port}/health/liveliness", process,
                             tmp_path / "litellm.log")
            yield Proxy(f"http://127.0.0.1:{port}/v1", (first, second), doom, own)
        finally:
            process.terminate()
            process.wait(20)


def wait_until_alive(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + LONGEST_START
    while time.monotonic() < limit and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"litellm does not listen: {log.read_text(errors='replace')[-2000:]}")


@with_litellm
def test_behind_litellm(proxy: Proxy, program: list[str], environment: dict[str, str],
                        tmp_path: Path) -> None:
    """Answers, tools, a wrong key, and hosts that die: one between two answers, one during an
    answer.
    """
    by_name = ("--provider", "litellm", "--base-url", proxy.url, "--model", "chat")
    tools = tmp_path / "own_tools.py"
    tools.write_text(TOOL, encoding="utf-8")
    for words in (by_name, ("--config", str(proxy.config))):
        assert proxy.run(program, environment, *words, "hello")[:2] == (0, TEXT.rstrip("\n") + "\n")
    code, said, told = proxy.run(program, environment, *by_name, "--tools-file", str(tools),
                                 "--json", "where is it?")
    events = [json.loads(line) for line in said.splitlines()]
    assert code == 0, told
    assert ([event["content"] for event in events if event["event"] == "tool_result"]
            == ["RESULT in the drawer 3"])
    assert events[-1]["text"] == "It is there."
    code, _, told = proxy.run(program, environment, *by_name, "hello", key="sk-wrong")
    assert code == 1 and "did not accept the key" in told, told
    assert ({"chat"}
            == set(re.findall(r"litellm/(\S+)",
                              proxy.run(program, environment, *by_name, "--list-models")[1])))
    proxy.doom.append("now")
    code, said, told = proxy.run(program, environment, *by_name, "hello")
    assert (code, said) == (0, TEXT.rstrip("\n") + "\n"), told
    assert "The answer is continued." in told
    for _ in range(4):
        code, said, told = proxy.run(program, environment, *by_name, "--retry-max-attempts", "1",
                                     "hello")
        assert (code, said) == (0, TEXT.rstrip("\n") + "\n"), told
    assert all(host.asked for host in proxy.hosts)
