"""Writes that a thread syncs to the disk while the program continues: none is lost."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from core.errors import StoreFull
from core.messages import Message, Text, user_message
from core.session_manager import Session
from core.store.identity import new_message_id, new_session_id
from core.store.rows import Chunk
from core.store.sqlite.log_sync import LogSync
from db import Store, open_store

ANSWER = Message("assistant", (Text("an answer"),), "demo/x", None, "stop")


def broken_log(path: Path) -> None:
    """Syncing fails from now on: the log is replaced by something that is not a file."""
    log = Path(f"{path}-wal")
    log.unlink()
    log.mkdir()


def begun(store: Store) -> tuple[str, int]:
    session, message = new_session_id(), new_message_id()
    with store.overlapping():
        store.create_session(session, "t", "m", time.time(), (message, user_message("q")))
    return session, message


def test_what_was_written_is_there_at_once_and_later(tmp_path: Path) -> None:
    path = str(tmp_path / "s.db")
    with closing(open_store(path)) as store:
        session, _ = begun(store)
        reply = new_message_id()
        with store.overlapping(soon=True):
            store.add_message(session, reply, Message("assistant", ()), "streaming",
                              first=Chunk("text", 0, "an "))
            store.append_chunk(reply, 1, Chunk("text", 0, "answer"))
        with closing(open_store(path)) as other:
            seen = other.open_reply(session)
            assert seen is not None and [chunk.text for chunk in seen.chunks] == ["an ", "answer"]
        asyncio.run(store.settled())
        store.finish_message(reply, ANSWER, "complete")
        store.settle()
    with closing(open_store(path)) as store:
        assert [entry.message.text for entry in store.load_messages(session)] == ["q", "an answer"]


def test_no_thread_outlives_its_store(tmp_path: Path) -> None:
    others = set(threading.enumerate())
    with closing(open_store(str(tmp_path / "s.db"))) as store:
        begun(store)
        asyncio.run(store.settled())
        mine = [thread for thread in threading.enumerate()
                if thread.name == "log-sync" and thread not in others]
    for thread in mine:
        thread.join(20)
        assert not thread.is_alive()


def test_many_wait_for_one_disk(tmp_path: Path) -> None:
    """It also works in successive event loops, and with nothing to wait for."""
    with closing(open_store(str(tmp_path / "s.db"))) as store:
        async def several() -> None:
            begun(store)
            await asyncio.gather(*(store.settled() for _ in range(20)))
        for _ in range(5):
            asyncio.run(several())
        asyncio.run(store.settled())


def test_a_disk_that_fails_is_reported_once(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with closing(open_store(str(path))) as store:
        begun(store)
        asyncio.run(store.settled())
        broken_log(path)
        begun(store)
        with pytest.raises(StoreFull, match="cannot be written"):
            asyncio.run(store.settled())
        asyncio.run(store.settled())


def test_what_does_not_reach_the_disk_is_spooled(tmp_path: Path) -> None:
    path, spool = tmp_path / "s.db", tmp_path / "spool"
    with closing(open_store(str(path))) as store:
        session = Session(store, str(spool), model="demo/x")
        session.add_user(user_message("the first"))
        asyncio.run(session.settled())
        assert session.saved and not session.take_news()
        broken_log(path)
        session.add_user(user_message("the second"))
        asyncio.run(session.settled())
        assert not session.saved
        assert any(news.startswith("NOT SAVED") for news in session.take_news())
        [file] = list(tmp_path.glob("spool*.jsonl")) or list(spool.glob("*.jsonl"))
        assert "the second" in file.read_text()


def test_a_log_that_is_gone_is_not_a_failure(tmp_path: Path) -> None:
    """All of it is in the database then."""
    sync = LogSync(str(tmp_path / "none-wal"))
    sync.note(soon=True)
    sync.wait()
    assert sync.settled and sync.take_failure() is None
    sync.close()


def test_a_failure_does_not_keep_anybody_waiting(tmp_path: Path) -> None:
    sync = LogSync(str(tmp_path))
    sync.note(soon=False)
    with pytest.raises(OSError):
        asyncio.run(sync.settle())
    sync.note(soon=False)
    with pytest.raises(IsADirectoryError if os.name == "posix" else OSError):
        sync.wait()
    sync.close()
