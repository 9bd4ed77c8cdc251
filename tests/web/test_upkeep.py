"""Uploads are kept exactly as long as their session; unused conversations are closed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.messages import user_message
from core.session_manager import Session
from core.web.conversation.desk import Desk, Desks, Queued
from core.web.conversation.hub import MOST_OPEN, unused
from core.web.upkeep import clear_up
from core.web.uploads import Uploads
from db import open_store

NOW = time.time()


async def keep(uploads: Uploads, name: str, age: float) -> str:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"content"
    path = uploads.path(await uploads.keep(name, pieces()))
    os.utime(os.path.dirname(path), (NOW - age, NOW - age))
    return path


def test_files_of_no_session_are_deleted_when_they_are_old(tmp_path: Path) -> None:
    async def run() -> None:
        store = open_store(str(tmp_path / "sessions.db"))
        desks, uploads = Desks(str(tmp_path / "desks")), Uploads(str(tmp_path / "uploads"))
        session = Session(store)
        session.add_user(user_message("hello"))
        sent, waiting, new, unsent, gone = [await keep(uploads, f"{name}.txt", age)
                                            for name, age in (
            ("sent", 9e6), ("waiting", 9e6), ("new", 60), ("unsent", 9e6), ("gone", 9e6))]
        desks.write(session.id, Desk(files=((f"{session.ids[0]:032x}", (sent,)),)))
        desks.write("not-saved-yet", Desk(queue=(Queued("k", "text", files=(waiting,)),)))
        desks.write("deleted", Desk(files=(("0", (gone,)),)))
        assert await clear_up(desks, uploads, store, NOW - 86_400) == 2
        assert [os.path.exists(path)
                for path in (sent, waiting, new, unsent, gone)] == [True, True, True, False, False]
        assert not os.path.exists(os.path.dirname(gone))
        assert (sorted(name for name, _ in Desks(str(tmp_path / "desks")).all())
                == sorted([session.id, "not-saved-yet"]))
        store.delete_session(session.id)
        assert await clear_up(desks, uploads, store, NOW - 86_400) == 1
        store.close()
    asyncio.run(run())


@pytest.mark.parametrize("made", ["", "file"])
def test_a_folder_that_cannot_be_read_holds_nothing_up(tmp_path: Path, made: str) -> None:
    if made:
        (tmp_path / "uploads").write_text("not a folder", encoding="utf-8")
    assert asyncio.run(clear_up(Desks(""), Uploads(str(tmp_path / "uploads")), None, NOW)) == 0


@pytest.mark.parametrize(("ages", "others", "closed"), [
    ([10.0, 599.0], 0, []), ([601.0, 10.0], 0, ["0"]),
    ([100.0, 200.0, 300.0], MOST_OPEN - 2, ["2"]),
    ([100.0, 200.0, 300.0], MOST_OPEN, ["2", "1", "0"]),
    ([1.0, 9.0, 11.0], MOST_OPEN, ["2"])])
def test_what_was_used_just_now_is_not_closed_however_many_are_open(
        ages: list[float], others: int, closed: list[str]) -> None:
    """A new conversation whose page does not listen yet would be gone."""
    idle = {str(number): 1_000.0 - age for number, age in enumerate(ages)}
    assert unused(idle, len(ages) + others, 1_000.0) == closed
