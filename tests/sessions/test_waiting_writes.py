"""A write that waits for another program blocks nothing else: no other chat, no Ctrl-C, no screen.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from core.errors import StoreBusy
from core.events import Event, MessageAdded, TextDelta
from core.messages import Message, Text, user_message
from core.session_manager import Session
from core.store.locks import Queue
from core.store.rows import Chunk
from db import open_store

ROOT = Path(__file__).resolve().parent.parent.parent
TICK = 0.01


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "s.db")


@contextmanager
def outsider(path: str) -> Iterator[None]:
    """Another program, such as the sqlite3 shell, writes without using our queue."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def queued(path: str) -> Iterator[None]:
    """One of our own programs is at the head of the queue and does not end."""
    queue = Queue(f"{path}-queue", 1)
    with queue as ready:
        assert ready
        yield
    queue.close()


HOLDERS = [outsider, queued]


async def answer(frames: int) -> AsyncGenerator[Event, None]:
    for number in range(frames):
        yield TextDelta(f"w{number} ")
        await asyncio.sleep(0)
    text = "".join(f"w{number} " for number in range(frames))
    yield MessageAdded(Message("assistant", (Text(text),), "demo/x", None, "stop"))


async def until_ticks(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(TICK)


@pytest.mark.parametrize("holder", HOLDERS)
def test_the_event_loop_goes_on(holder: Callable[[str], AbstractContextManager[None]], path: str,
                                tmp_path: Path) -> None:
    with closing(open_store(path)) as store:
        session = Session(store, str(tmp_path / "spool"), model="demo/x")
        session.add_user(user_message("q"))
        ticks = 0

        async def turn() -> list[Event]:
            return [event async for event in session.record(answer(5))]

        async def work() -> list[Event]:
            nonlocal ticks
            with holder(path):
                task = asyncio.create_task(turn())
                for _ in range(30):     # the other program holds it all the time
                    await asyncio.sleep(TICK)
                    ticks += 1
                assert not task.done()
            return await task
        events = asyncio.run(work())
        assert ticks == 30 and len(events) == 6 and session.take_news() == [] and session.saved
        assert ([entry.message.text for entry in store.load_messages(session.id)]
                == ["q", "w0 w1 w2 w3 w4 "])
    assert not os.path.isdir(tmp_path / "spool") or os.listdir(tmp_path / "spool") == []


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_stopped_reply_is_spooled_when_the_database_is_held(
        holder: Callable[[str], AbstractContextManager[None]], path: str, tmp_path: Path) -> None:
    """The end of a turn does not wait: text that cannot be saved immediately is spooled, and saved
    later.
    """
    with closing(open_store(path)) as store:
        session = Session(store, str(tmp_path / "spool"), model="demo/x")
        session.add_user(user_message("q"))

        async def turn(got: asyncio.Event) -> None:
            async for event in session.record(endless()):
                got.set()

        async def work() -> None:
            got = asyncio.Event()
            task = asyncio.create_task(turn(got))
            await got.wait()
            with holder(path):
                await until_ticks(3)
                task.cancel()
                await asyncio.wait([task])
                assert not session.saved and "NOT SAVED" in " ".join(session.take_news())
        asyncio.run(work())
        session.add_user(user_message("next"))
        assert session.saved
        said = [entry.message.text for entry in store.load_messages(session.id)]
        assert said[0] == "q" and said[1].startswith("more ") and said[2] == "next"
        session.close()


async def endless() -> AsyncGenerator[Event, None]:
    while True:
        yield TextDelta("more ")
        await asyncio.sleep(TICK)


def test_what_was_reserved_and_not_used_is_given_back(path: str) -> None:
    with closing(open_store(path)) as store, closing(open_store(path)) as other:
        async def work() -> None:
            for _ in range(3):
                async with store.ready():
                    pass
                other.create_session(f"s{_}", "t", "m", 1.0)
            task = asyncio.create_task(wait_in_vain())
            await until_ticks(5)
            task.cancel()
            await asyncio.wait([task])

        async def wait_in_vain() -> None:
            with queued(path):
                async with store.ready():
                    raise AssertionError("another program holds it")
        asyncio.run(work())
        other.create_session("last", "t", "m", 1.0)     # an abandoned wait does not block others
        assert len(store.sessions()) == 4


def test_many_chats_of_one_process_share_a_store(path: str, tmp_path: Path) -> None:
    with closing(open_store(path)) as store:
        async def chat(number: int) -> list[str]:
            session = Session(store, str(tmp_path / f"spool{number}"), model="demo/x")
            session.add_user(user_message(f"q{number}"))
            async for _ in session.record(answer(20)):
                pass
            return session.take_news()

        async def work() -> list[list[str]]:
            chats = [asyncio.create_task(chat(number)) for number in range(8)]
            await until_ticks(1)
            with queued(path):
                await until_ticks(20)
            return await asyncio.gather(*chats)
        assert asyncio.run(work()) == [[]] * 8
        assert [row.message_count for row in store.sessions()] == [2] * 8


HOLD = """
import sys, time
from core.store.locks import Queue
queue = Queue(sys.argv[1], 1)
print(queue.enter(1), flush=True)
time.sleep(600)
"""


@pytest.mark.processes
def test_after_the_longest_wait_a_write_is_refused_at_once(path: str) -> None:
    """A program was stopped (Ctrl-Z) at the head of the queue."""
    open_store(path).close()
    child = subprocess.Popen([sys.executable, "-c", HOLD, f"{path}-queue"], stdout=subprocess.PIPE,
                             cwd=ROOT)
    try:
        assert child.stdout is not None and child.stdout.readline() == b"True\n"
        with closing(open_store(path)) as store:
            async def work() -> None:
                async with store.ready(durable=False):
                    with pytest.raises(StoreBusy):
                        store.append_chunk(1, 0, Chunk("text", 0, "x"))
            asyncio.run(work())
    finally:
        child.kill()
        child.wait()
