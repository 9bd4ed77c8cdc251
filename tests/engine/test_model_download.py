"""Downloading a model over real HTTP: redirects, interruptions, damage, errors, two at once; and
the table of known models.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from core.engine import download as download_module
from core.engine import models
from core.engine.download import download
from core.engine.models import Source
from core.engine.tiny import tiny_model
from core.errors import (AuthFailed, ChatError, ConnectFailed, ModelNotFound, ProviderError,
                         UsageError)
from core.events import PullProgress
from core.providers import Endpoint
from core.providers.local import Local

MODEL = tiny_model()
DIGEST = hashlib.sha256(MODEL).hexdigest()


@dataclass
class Storage:
    """A server whose every response the test decides. `asked` lists the requests: (path, Range
    header).
    """

    address: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    answer: Callable[[Handler], None] | None = None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    storage: Storage

    def do_GET(self) -> None:
        self.storage.asked.append((self.path, self.headers.get("range", "")))
        self.close_connection = True
        assert self.storage.answer is not None
        self.storage.answer(self)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content_length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def send_file(self, content: bytes, *, stop_after: int | None = None, **headers: str) -> None:
        """The content from the start of the Range header; `stop_after` disconnects after that many
        bytes.
        """
        found = re.match(r"bytes=(\d+)-", self.headers.get("range", ""))
        start = int(found[1]) if found else 0
        if start >= len(content):
            return self.reply(416, content_range=f"bytes */{len(content)}")
        self.send_response(206 if found else 200)
        self.send_header("content-length", str(len(content) - start))
        if found:
            self.send_header("content-range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content[start:][:stop_after])


@pytest.fixture
def storage() -> Iterator[Storage]:
    made = Storage()
    with running(type("Bound", (Handler,), {"storage": made})) as address:
        made.address = address
        yield made


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Clients disconnect on purpose here."""


@contextmanager
def running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = QuietServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def fetch(source: Source, directory: Path) -> list[PullProgress]:
    async def collect() -> list[PullProgress]:
        return [step async for step in download(source, str(directory), pause=0.01)]
    return asyncio.run(collect())


def source_at(storage: Storage, path: str = "/repo/tiny.gguf", sha256: str = "") -> Source:
    return Source(storage.address + path, "tiny.gguf", sha256, name="tiny", licence="cc0-1.0")


def files_in(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def test_a_redirect_two_hang_ups_and_a_whole_file(storage: Storage, tmp_path: Path) -> None:
    cuts = iter([300_000, 400_000])

    def answer(handler: Handler) -> None:
        if handler.path.startswith("/repo"):
            handler.reply(302, location="/store/blob", x_linked_etag=f'"{DIGEST}"',
                          x_linked_size=str(len(MODEL)))
        else:
            handler.send_file(MODEL, stop_after=next(cuts, None))

    storage.answer = answer
    steps = fetch(source_at(storage), tmp_path)
    assert (tmp_path / "tiny.gguf").read_bytes() == MODEL
    assert ([asked for path, asked in storage.asked if path == "/store/blob"]
            == ["", "bytes=300000-", "bytes=700000-"])
    assert files_in(tmp_path) == ["tiny.gguf", "tiny.gguf.json"]
    note = json.loads((tmp_path / "tiny.gguf.json").read_text())
    assert note == {"name": "tiny", "url": source_at(storage).url, "sha256": DIGEST,
                    "licence": "cc0-1.0"}
    counts = [step.completed for step in steps if step.status == "downloading"]
    assert counts == sorted(counts) and counts[-1] == len(MODEL)
    assert {step.total for step in steps if step.status == "downloading"} == {len(MODEL)}
    assert steps[-1] == PullProgress("ready", len(MODEL), len(MODEL))


def test_a_stopped_download_goes_on_later(storage: Storage, tmp_path: Path) -> None:
    storage.answer = lambda handler: handler.send_file(MODEL)

    async def stop_early() -> None:
        async with aclosing(download(source_at(storage), str(tmp_path))) as steps:
            async for step in steps:
                if step.completed > 100_000:
                    return

    asyncio.run(stop_early())
    have = (tmp_path / "tiny.gguf.part").stat().st_size
    assert files_in(tmp_path) == ["tiny.gguf.part"] and 0 < have
    fetch(source_at(storage), tmp_path)
    assert (storage.asked[-1][1] == f"bytes={have}-"
            and (tmp_path / "tiny.gguf").read_bytes() == MODEL)


def test_what_is_there_is_not_fetched_again(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(MODEL)
    assert (fetch(source_at(storage), tmp_path) == [PullProgress("ready", len(MODEL), len(MODEL))]
            and storage.asked == [])


def test_a_part_that_is_already_whole(storage: Storage, tmp_path: Path) -> None:
    storage.answer = lambda handler: handler.send_file(MODEL)
    (tmp_path / "tiny.gguf.part").write_bytes(MODEL)
    fetch(source_at(storage, sha256=DIGEST), tmp_path)
    assert (tmp_path / "tiny.gguf").read_bytes() == MODEL


def test_a_server_that_cannot_resume_sends_everything_again(storage: Storage,
                                                            tmp_path: Path) -> None:
    storage.answer = lambda handler: handler.reply(200, MODEL)
    (tmp_path / "tiny.gguf.part").write_bytes(b"x" * 1000)
    fetch(source_at(storage, sha256=DIGEST), tmp_path)
    assert (tmp_path / "tiny.gguf").read_bytes() == MODEL


def test_a_wrong_part_gets_one_fresh_start(storage: Storage, tmp_path: Path) -> None:
    storage.answer = lambda handler: handler.send_file(MODEL)
    (tmp_path / "tiny.gguf.part").write_bytes(b"not the same file" * 1000)
    fetch(source_at(storage, sha256=DIGEST), tmp_path)
    assert ((tmp_path / "tiny.gguf").read_bytes() == MODEL
            and [asked for _, asked in storage.asked] == ["bytes=17000-", ""])


def test_damaged_content_is_never_used(storage: Storage, tmp_path: Path) -> None:
    damaged = MODEL[:-1] + bytes([MODEL[-1] ^ 1])
    storage.answer = lambda handler: handler.send_file(damaged)
    with pytest.raises(ProviderError, match="checksum differs"):
        fetch(source_at(storage, sha256=DIGEST), tmp_path)
    assert files_in(tmp_path) == []


def test_a_page_instead_of_a_file_is_never_used(storage: Storage, tmp_path: Path) -> None:
    storage.answer = lambda handler: handler.reply(200,
                                                   b"<html>please sign in to this network</html>")
    with pytest.raises(ProviderError, match="not a model"):
        fetch(source_at(storage), tmp_path)
    assert files_in(tmp_path) == []


def test_another_file_than_the_known_one_is_refused_before_it_is_fetched(storage: Storage,
                                                                         tmp_path: Path) -> None:
    storage.answer = lambda handler: handler.send_file(MODEL, x_linked_etag=f'"{"0" * 64}"')
    with pytest.raises(ProviderError, match="different file"):
        fetch(source_at(storage, sha256=DIGEST), tmp_path)
    assert not (tmp_path / "tiny.gguf").exists()


@pytest.mark.parametrize("status, kind, words", [
    (401, AuthFailed, "signing in"), (403, AuthFailed, "signing in"),
    (404, ModelNotFound, "does not have this file"),
    (407, ConnectFailed, "proxy"), (418, ProviderError, "refused"), (503, ConnectFailed, "503"),
])
def test_a_refusal_in_plain_words(storage: Storage, tmp_path: Path, status: int,
                                  kind: type[ChatError], words: str) -> None:
    storage.answer = lambda handler: handler.reply(status, b"no")
    with pytest.raises(kind, match=words) as caught:
        fetch(source_at(storage), tmp_path)
    assert caught.value.hint and "Traceback" not in caught.value.message


def test_a_busy_server_is_asked_again(storage: Storage, tmp_path: Path) -> None:
    statuses = iter([503, 429])

    def answer(handler: Handler) -> None:
        status = next(statuses, None)
        handler.reply(status, b"", retry_after="0") if status else handler.send_file(MODEL)

    storage.answer = answer
    fetch(source_at(storage), tmp_path)
    assert len(storage.asked) == 3 and (tmp_path / "tiny.gguf").exists()


def test_no_network(tmp_path: Path) -> None:
    with running(BaseHTTPRequestHandler) as address:
        pass
    with pytest.raises(ConnectFailed, match="No connection to 127.0.0.1") as caught:
        fetch(Source(address + "/tiny.gguf", "tiny.gguf"), tmp_path)
    assert "HTTPS_PROXY" in caught.value.hint


def test_a_proxy_that_refuses(storage: Storage, tmp_path: Path,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    storage.answer = lambda handler: handler.reply(403, b"blocked")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, storage.address)
    with pytest.raises(ConnectFailed, match="proxy"):
        fetch(Source("https://models.invalid/tiny.gguf", "tiny.gguf"), tmp_path)
    assert not (tmp_path / "tiny.gguf").exists()


def test_redirects_that_never_end(storage: Storage, tmp_path: Path) -> None:
    storage.answer = lambda handler: handler.reply(302, location="/again")
    with pytest.raises(ProviderError, match="endlessly"):
        fetch(source_at(storage), tmp_path)


def test_no_redirect_from_https_to_http() -> None:
    with pytest.raises(ProviderError, match="unsafe"):
        download_module._next_address("https://example.org/a", "http://example.org/b")
    assert download_module._next_address("https://example.org/a", "/b") == "https://example.org/b"


def test_a_full_disk_and_a_small_memory_are_told_first(storage: Storage, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    storage.answer = lambda handler: handler.send_file(MODEL)
    with monkeypatch.context() as patched:
        usage = shutil.disk_usage(tmp_path)
        patched.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
        with pytest.raises(ProviderError, match="Not enough disk space"):
            fetch(source_at(storage), tmp_path)
    monkeypatch.setattr(download_module, "available_memory", lambda: 1_000_000)
    with pytest.raises(ProviderError, match="too large for this computer"):
        fetch(source_at(storage), tmp_path)
    assert not (tmp_path / "tiny.gguf.part").exists(), "nothing came, nothing is left"


def test_two_chats_fetch_it_once(storage: Storage, tmp_path: Path) -> None:
    storage.answer = lambda handler: handler.send_file(MODEL)

    async def both() -> None:
        async def one() -> list[PullProgress]:
            return [step async for step in download(source_at(storage), str(tmp_path))]
        first, second = await asyncio.gather(one(), one())
        assert first[-1] == second[-1] == PullProgress("ready", len(MODEL), len(MODEL))

    asyncio.run(both())
    assert len(storage.asked) == 1 and files_in(tmp_path) == ["tiny.gguf", "tiny.gguf.json"]


def test_the_one_that_waited_takes_over_when_the_first_gives_up(storage: Storage,
                                                                tmp_path: Path) -> None:
    refused = threading.Event()

    def answer(handler: Handler) -> None:
        if refused.is_set():
            handler.send_file(MODEL)
        else:
            refused.set()
            handler.reply(200, b"<html>")

    async def one() -> str:
        try:
            return [step async for step in download(source_at(storage), str(tmp_path))][-1].status
        except ProviderError as error:
            return error.message

    async def both() -> list[str]:
        return sorted(await asyncio.gather(one(), one()))

    storage.answer = answer
    bad, good = asyncio.run(both())
    assert ("not a model" in bad and good == "ready"
            and (tmp_path / "tiny.gguf").read_bytes() == MODEL)


# ---- names and files

def test_every_known_model_is_complete_and_unambiguous() -> None:
    for row in models.KNOWN:
        assert (re.fullmatch(r"[0-9a-f]{64}", row.sha256)
                and (row.package or re.fullmatch(r"[0-9a-f]{40}", row.revision)))
        assert row.size > 90_000_000 and row.context >= 8192 and row.licence and row.good_for
        assert urlsplit(row.url()).scheme == "https" and models.find_known(row.file) is row
        assert row.package and row.member.endswith(row.file) or row.url().endswith(row.file)
        assert row.package or row.url("https://mirror.example/").startswith(
            "https://mirror.example/" + row.repository)
    assert len({row.name for row in models.KNOWN}) == len(models.KNOWN)


def test_a_model_is_found_by_name_file_path_and_address(storage: Storage, tmp_path: Path) -> None:
    storage.answer = lambda handler: handler.send_file(MODEL)
    source = source_at(storage)
    fetch(source, tmp_path)
    path = str(tmp_path / "tiny.gguf")
    for text in ("tiny", "TINY", "tiny.gguf", path, source.url):
        found = models.find_model(text, str(tmp_path))
        assert found is not None and (found.path, found.sha256, found.licence) == (path, DIGEST,
                                                                                   "cc0-1.0")
    assert models.find_model("other", str(tmp_path)) is None
    assert [model.name for model in models.installed_models(str(tmp_path))] == ["tiny"]
    assert models.installed_models(str(tmp_path / "missing")) == []


def test_a_missing_model_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="533 MB to download") as caught:
        models.require_model("qwen3.5-0.8b", str(tmp_path))
    assert "--pull qwen3.5-0.8b" in caught.value.hint
    with pytest.raises(ModelNotFound, match="no file"):
        models.require_model("/nowhere/x.gguf", str(tmp_path))
    with pytest.raises(ModelNotFound, match="no local model"):
        models.require_model("llama9", str(tmp_path))
    with pytest.raises(UsageError, match="not the address"):
        models.find_source("https://example.org/page.html")


def test_removing_frees_the_file_its_note_and_its_part_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a.gguf", "a.gguf.json", "a.gguf.part", "b.gguf"):
        (tmp_path / name).write_bytes(b"{}" * 50)
    assert models.remove_model("a", str(tmp_path)) == 200 and files_in(tmp_path) == ["b.gguf"]
    with pytest.raises(ModelNotFound):
        models.remove_model("a", str(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.raises(UsageError, match="not in the directory"):
        models.remove_model(str(tmp_path / "b.gguf"), str(elsewhere))
    assert (tmp_path / "b.gguf").exists()


def test_a_header_is_read_and_a_broken_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(MODEL)
    header = models.read_header(str(path))
    assert header["general.architecture"] == "llama" and header["llama.context_length"] == 32_768
    for content in (b"", b"GGUF", MODEL[:60], b"<html>" * 20,
                    b"GGUF" + bytes([3, 0, 0, 0]) + b"\xff" * 60):
        path.write_bytes(content)
        with pytest.raises(ProviderError, match="not a model file"):
            models.read_header(str(path))


def test_known_models_come_from_the_mirror_that_is_named(storage: Storage, tmp_path: Path) -> None:
    storage.answer = lambda handler: handler.reply(404)
    quirks = {"model_directory": str(tmp_path),
              "environment": {"HF_ENDPOINT": storage.address + "/"}}

    async def pull() -> None:
        async for _ in Local(Endpoint("", host="local", quirks=quirks)).pull("qwen3.5-0.8b"):
            pass
    with pytest.raises(ModelNotFound):
        asyncio.run(pull())
    assert storage.asked[0][0].startswith("/unsloth/Qwen3.5-0.8B-GGUF/resolve/")
