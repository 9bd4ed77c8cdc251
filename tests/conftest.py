"""What every test shares: an empty home, no network beyond loopback, and no settings from outside."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "CI", "PYTEST_XDIST_WORKER")


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the person who runs the tests leaks in, and nothing leaks out of tmp_path."""
    for name in list(os.environ):
        if name not in KEPT and not name.startswith(("PYTEST_", "COV", "STREAM_CHAT_TEST_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to anywhere but this machine fails the test."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])
            if not (host.startswith("127.") or host in ("::1", "localhost", "0.0.0.0")):
                raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)  # type: ignore[arg-type]
    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """For a child process: an empty home, the same interpreter."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if name.startswith("COV")}   # so that children are covered too
    return kept | {"PATH": os.environ.get("PATH", ""), "HOME": str(home), "LANG": "C.UTF-8", "TERM": "xterm-256color",
                   "PYTHONPATH": str(ROOT)}


@pytest.fixture
def program() -> list[str]:
    return [sys.executable, str(ROOT / "stream_chat.py")]
