"""The program's own keys, settings, history and chats are never sent to a model, by whatever path
they are named.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from core.chat.fitting import Fitter
from core.config import Settings
from core.context_loader import ContextError, ContextSet, Prepared, plan_budget
from core.model_manager import Providers
from core.models.window import WindowWatch
from core.session_manager import Session

SECRET = "sk-own-0123456789"
OURS = "contains Stream Chat's own data"
NAMES = ("keys.json", "config.yaml", ".env", "input_history", "grants.json")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The data directory inside a project, as for users who work in their home directory."""
    data = tmp_path / "work" / "data"
    data.mkdir(parents=True)
    for name in NAMES:
        (data / name).write_text(f"the key is {SECRET}\n")
    with sqlite3.connect(data / "sessions.db") as connection:
        connection.execute("CREATE TABLE messages (text)")
        connection.execute("INSERT INTO messages VALUES (?)", (SECRET,))
    connection.close()
    (tmp_path / "work" / "a.md").write_text("alpha")
    return tmp_path / "work"


def load(root: Path, *sources: str, between: Callable[[], object] = lambda: None) -> Prepared:
    """What the model would get; a ContextError if nothing is left."""
    async def go() -> Prepared:
        context = ContextSet(root=str(root), protected=[str(root / "data")])
        for source in sources:
            await context.add(source)
        between()
        return await context.prepare("which key?", plan_budget(32_768))
    return asyncio.run(go())


def assert_refused(root: Path, source: str) -> None:
    with pytest.raises(ContextError, match=OURS) as caught:
        load(root, source)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", (*NAMES, "sessions.db"))
def test_by_its_name(home: Path, name: str) -> None:
    assert_refused(home, f"data/{name}")
    assert_refused(home, str(home / "data" / name))
    assert_refused(home, f"data/../data/{name}")


@pytest.mark.parametrize("link", (os.symlink, os.link))
@pytest.mark.parametrize("name", ("note.txt", "picture.png", "paper.docx"))
def test_by_a_link_elsewhere(home: Path, link: Callable[[Path, Path], None], name: str) -> None:
    link(home / "data" / "keys.json", home / name)
    assert_refused(home, name)
    assert_refused(home, f"{name[:4]}*")


def test_through_a_linked_folder(home: Path) -> None:
    (home / "other").symlink_to(home / "data")
    assert_refused(home, "other/keys.json")
    assert_refused(home, "other/*.json")
    assert_refused(home, "other")


def test_by_a_folder_or_a_glob_that_holds_it(home: Path) -> None:
    assert_refused(home, "data")
    assert_refused(home, "data/*")

    async def go() -> tuple[list[str], list[str]]:
        context = ContextSet(root=str(home), protected=[str(home / "data")])
        faults = await context.add(".")
        return [item.name for item in context.items], [str(fault) for fault in faults]
    assert asyncio.run(go()) == (["a.md"], [f"data: {OURS}"])


def test_a_hard_link_found_in_a_folder(home: Path) -> None:
    os.link(home / "data" / "keys.json", home / "note.txt")
    found = load(home, ".")
    assert SECRET not in found.block and "alpha" in found.block
    assert f"note.txt: {OURS}" in found.notes


@pytest.mark.parametrize("link", (os.symlink, os.link))
def test_a_file_that_is_swapped_after_it_was_listed(home: Path,
                                                    link: Callable[[Path, Path], None]) -> None:
    (home / "b.md").write_text("beta")

    def swap() -> None:
        (home / "b.md").unlink()
        link(home / "data" / "keys.json", home / "b.md")
    found = load(home, ".", between=swap)
    assert SECRET not in found.block and any(note.startswith("b.md: ") for note in found.notes)


def test_a_folder_that_is_swapped_after_it_was_listed(home: Path) -> None:
    (home / "sub").mkdir()
    (home / "sub" / "keys.json").write_text("nothing yet")

    def swap() -> None:
        (home / "sub").rename(home / "gone")
        (home / "sub").symlink_to(home / "data")
    found = load(home, "sub", ".", between=swap)
    assert SECRET not in found.block and f"sub/keys.json: {OURS}" in found.notes


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(home: Path) -> None:
    def swap() -> None:
        (home / "a.md").unlink()
        os.mkfifo(home / "a.md")
    assert any("is no longer a file" in note for note in load(home, ".", between=swap).notes)


@pytest.mark.parametrize("link", (None, os.symlink, os.link))
def test_as_a_database(home: Path, link: Callable[[Path, Path], None] | None) -> None:
    name = "data/sessions.db"
    if link is not None:
        name = "copy.db"
        link(home / "data" / "sessions.db", home / name)
    assert_refused(home, f"sqlite:///{name}?table=messages")
    assert_refused(home, f"sqlite:///{home / name}?table=messages")


def test_a_chat_gives_its_own_places(home: Path) -> None:
    """Their places come from the settings."""
    (home / "chats.db").write_text(SECRET)
    (home / "mine.yaml").write_text(SECRET)
    settings = Settings({"save": False, "database_url": str(home / "chats.db"),
                         "config": str(home / "mine.yaml")},
                        environment={"XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home),
                                     "HOME": str(home)})
    providers = Providers(settings)
    context = Fitter(settings, providers, WindowWatch(providers)).open_context(
        Session(None, model="demo/demo"), ask=None, stdin="", progress=None)
    (home / "stream-chat").mkdir(exist_ok=True)
    (home / "stream-chat" / "keys.json").write_text(SECRET)
    for name in ("chats.db", "mine.yaml", "stream-chat/keys.json"):
        with pytest.raises(ContextError, match=OURS):
            asyncio.run(context.add(str(home / name)))
