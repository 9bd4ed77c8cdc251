"""The page's server in its own process, and a client that signs in as a browser does."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 60.0     # seconds after which a test gives up; nothing is expected to take so long


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class PageServer:
    """`python stream_chat.py --web`, started again on the same port after `kill`."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [sys.executable, str(ROOT / "stream_chat.py"), "--web", "--port",
                         str(self.port), *arguments]
        self.environment = environment
        self.client = requests.Session()
        # an idle connection may be closed by the server just when the next request is sent
        self.client.headers.update({"x-stream-chat": "page", "connection": "close"})

    def __enter__(self) -> PageServer:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGTERM)

    def start(self) -> str:
        """Start and return the one-time link, used already unless the client holds a cookie."""
        self.process = subprocess.Popen(self._command, env=self.environment,
                                        stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        found = re.search(r"http://\S+/open\?token=\S+", line)
        if not found:
            raise AssertionError(line + self.end(signal.SIGKILL))
        if not self.client.cookies:
            assert self.client.get(found[0], timeout=PATIENCE).status_code == 200
        return found[0]

    def end(self, number: int) -> str:
        """Send a signal, wait for the end, and return what was written to standard error."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, error = self.process.communicate(timeout=PATIENCE)
        return str(error)

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def get(self, path: str) -> Any:
        answer = self.client.get(self.url + path, timeout=PATIENCE)
        assert answer.ok, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, status: int = 0) -> Any:
        answer = self.client.post(self.url + path, json=body or {}, timeout=PATIENCE)
        assert answer.status_code == status if status else answer.ok, answer.text
        return answer.json()

    def new_session(self) -> str:
        return str(self.post("/api/sessions")["id"])

    def ask(self, session: str, text: str, key: str = "") -> Any:
        return self.post(f"/api/sessions/{session}/messages", {"key": key or text, "text": text})

    def snapshot(self, session: str) -> Any:
        return self.get(f"/api/sessions/{session}")

    def listen(self, session: str, after: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The place and each event, until the server ends the stream;
        a reset is {"type": "reset"}.
        """
        with self.client.get(f"{self.url}/api/sessions/{session}/events", params={"after": after},
                             stream=True,
                             timeout=PATIENCE) as answer:
            place = after
            for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
                if line.startswith("id: "):
                    place = line[4:]
                elif line == "event: reset":
                    yield place, {"type": "reset"}
                    return
                elif line.startswith("data: "):
                    for event in json.loads(line[6:]):
                        yield place, event

    def wait_until_done(self, session: str) -> Any:
        """The snapshot after the turn has ended."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            found = self.snapshot(session)
            if not found["running"]:
                return found
            time.sleep(0.05)
        raise AssertionError("the turn did not end")


def text_of(events: list[dict[str, Any]]) -> str:
    """The model's text on the page."""
    return "".join(event.get("raw", "") for event in events)
