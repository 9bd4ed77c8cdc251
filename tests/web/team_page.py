"""A team's page in its own processes: a prepared database, accounts, and clients that sign in as
browsers do.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests

from core.store.address import parse_address
from core.store.postgres.roles import prepare
from tests import postgres
from tests.web.page_server import PATIENCE, free_port

ROOT = Path(__file__).resolve().parent.parent.parent
PASSWORD = "a long password of {}"


def make_certificate(folder: Path) -> tuple[str, str]:
    """A certificate for localhost and its key, as files."""
    certificate, key = str(folder / "cert.pem"), str(folder / "key.pem")
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext".split()
    made = subprocess.run(
        ["openssl", *words, "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        capture_output=True,
        timeout=PATIENCE,
    )
    assert made.returncode == 0, made.stderr
    return certificate, key


class TeamPage:
    """`python stream_chat.py --web --team` over a database of its own."""

    def __init__(self, server_url: str, environment: dict[str, str], *members: str) -> None:
        self.database = postgres.new_database(server_url)
        prepare(parse_address(self.database), [], ["page"])
        self.environment = environment | {
            "DATABASE_URL": self.database.replace("//chat@", "//page@"),
            "STREAM_CHAT_PROVIDER": "demo",
        }
        self.processes: dict[int, subprocess.Popen[str]] = {}
        for member in members:
            self.run("--add-user", member, typed=PASSWORD.format(member))

    def run(self, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "stream_chat.py"), *words],
            env=self.environment,
            input=typed + "\n",
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def start(self, *arguments: str, port: int = 0) -> int:
        """Start a process and return its port."""
        port = port or free_port()
        process = subprocess.Popen(
            [
                sys.executable,
                str(ROOT / "stream_chat.py"),
                "--web",
                "--team",
                "--port",
                str(port),
                *arguments,
            ],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes[port] = process
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "Stream Chat is at" in line, line + process.stderr.read()
        return port

    def end(self, port: int, number: int = signal.SIGTERM) -> str:
        process = self.processes.pop(port)
        process.send_signal(number)
        return process.communicate(timeout=PATIENCE)[1]

    def __enter__(self) -> TeamPage:
        return self

    def __exit__(self, *_: object) -> None:
        for port in list(self.processes):
            self.end(port, signal.SIGKILL)


class Member:
    """One who uses the page at `url` from a browser."""

    def __init__(self, name: str, url: str) -> None:
        self.name, self.url = name, url
        self.client = requests.Session()
        self.client.headers["x-stream-chat"] = "page"

    def sign_in(self, password: str = "") -> int:
        answer = self.client.post(
            f"{self.url}/signin",
            data={"name": self.name, "password": password or PASSWORD.format(self.name)},
            timeout=PATIENCE,
            allow_redirects=False,
        )
        return answer.status_code

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.client.request(
            method, self.url + path, timeout=PATIENCE, allow_redirects=False, **options
        )

    def json(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.ask(method, path, **({} if method == "GET" else {"json": body or {}}))
        assert answer.ok, (path, answer.status_code, answer.text)
        return answer.json()

    def new_session(self) -> str:
        return str(self.json("POST", "/api/sessions")["id"])

    def say(self, session: str, text: str, key: str = "") -> Any:
        return self.json(
            "POST", f"/api/sessions/{session}/messages", {"key": key or text, "text": text}
        )

    def wait(self, session: str) -> Any:
        """The snapshot after the turn has ended."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            found = self.json("GET", f"/api/sessions/{session}")
            if not found["running"]:
                return found
            time.sleep(0.1)
        raise AssertionError("the turn did not end")


class Listening:
    """The events of a session as a page hears them."""

    def __init__(self, member: Member, session: str, place: str) -> None:
        self._answer = member.client.get(
            f"{member.url}/api/sessions/{session}/events",
            params={"after": place},
            stream=True,
            timeout=PATIENCE,
        )
        self._lines = self._answer.iter_lines(decode_unicode=True)

    def until(self, *words: str) -> str:
        """The first line with one of these words, which keep-alives do not contain."""
        end = time.monotonic() + PATIENCE
        for line in self._lines:
            if any(word in line for word in words):
                return str(line)
            assert time.monotonic() < end, f"none of {words} in {PATIENCE} s"
        raise AssertionError(f"none of {words}")
