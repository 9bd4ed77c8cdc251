"""Many programs write to one SQLite file at once: they wait for each other, and nothing is
rejected.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from core.events import MessageAdded, TextDelta
from core.messages import Message, Text, user_message
from core.session_manager import Session
from db import open_store

WRITERS, ONE_SHOTS, FRAMES = 50, 20, 15
LIMIT = 240    # seconds


async def _turn(frames: int):    # type: ignore[no-untyped-def]  # an async generator of events
    for number in range(frames):
        yield TextDelta(f"word{number} ")
    yield MessageAdded(Message("assistant",
                               (Text("".join(f"word{number} " for number in range(frames))),),
                               "demo/m", None, "stop"))


def _talk(place: str, spool: str, frames: int,
          told: multiprocessing.SimpleQueue[list[str]]) -> None:
    import asyncio

    async def run() -> list[str]:
        store = open_store(place)
        session = Session(store, spool, model="demo/m")
        session.add_user(user_message("hello"))
        notices = [str(event) async for event in session.record(_turn(frames))
                   if "SAVED" in str(event)]
        notices += session.take_news()
        session.close()
        store.close()
        return notices
    told.put(asyncio.run(run()))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(),
                    reason="this system cannot fork")
@pytest.mark.processes
def test_fifty_writers_and_twenty_answers_are_all_saved(tmp_path: Path) -> None:
    place, spool = str(tmp_path / "sessions.db"), str(tmp_path / "spool")
    open_store(place).close()
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()
    runs = [context.Process(target=_talk, args=(place, spool, frames, told))
            for frames in (*[FRAMES] * WRITERS, *[1] * ONE_SHOTS)]
    for run in runs:
        run.start()
    notices = [told.get() for _ in runs]
    for run in runs:
        run.join(LIMIT)
        assert run.exitcode == 0
    assert [line for lines in notices for line in lines] == []
    store = open_store(place)
    try:
        sizes = sorted(len(store.load_messages(row.id)[1].message.text.split())
                       for row in store.sessions())
    finally:
        store.close()
    assert sizes == [1] * ONE_SHOTS + [FRAMES] * WRITERS
