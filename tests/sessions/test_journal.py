"""Where a session's writes go while its database fails: none is lost, none is saved twice."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from core.messages import Message, Text, user_message
from core.session_manager import Session
from core.sessions.journal import Journal
from core.sessions.spool_places import Places
from core.sessions.writes import Write
from core.store.message_json import message_to_dict
from core.store.rows import Chunk
from db import Store, open_store

ANSWER = Message("assistant", (Text("an answer"),), "demo/x", None, "stop")
BEGUN: Write = {"do": "add", "session": "s1", "id": 2, "state": "streaming", "parent": 1,
                "message": message_to_dict(Message("assistant", ()))}
ENDED: Write = {"do": "finish", "id": 2, "state": "complete", "message": message_to_dict(ANSWER)}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(str(tmp_path / "s.db"))) as store, store.hurried():
        yield store


@pytest.fixture
def outsider(tmp_path: Path, store: Store) -> Iterator[sqlite3.Connection]:
    """Another program, which can lock the database."""
    with closing(sqlite3.connect(tmp_path / "s.db", isolation_level=None)) as connection:
        yield connection


def journal_of(store: Store, spool: Path | Places) -> Journal:
    journal = Journal(store, spool if isinstance(spool, Places) else str(spool))
    journal.begin("s1", "name", "title", "demo/x", 1, user_message("q"))
    return journal


def spooled(folder: Path) -> list[Write]:
    (path,) = folder.glob("*.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@contextmanager
def longest_file(size: int) -> Iterator[None]:
    """As on a full disk: no file can become larger."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def shown(store: Store) -> list[tuple[int, str, str]]:
    return [(entry.id, entry.message.text, entry.state) for entry in store.load_messages("s1")]


SAVED = [(1, "q", "complete"), (2, "an answer", "complete")]


def test_a_store_that_works_has_everything_and_no_file_is_made(store: Store, tmp_path: Path
                                                               ) -> None:
    journal = journal_of(store, tmp_path / "spool")
    journal.begin_reply(BEGUN, Chunk("text", 0, "an "))
    journal.chunk(2, 1, Chunk("text", 0, "answer"), durable=False)
    reply = store.open_reply("s1")
    assert reply is not None and [chunk.text for chunk in reply.chunks] == ["an ", "answer"]
    journal.write(ENDED)
    asyncio.run(journal.settled())
    assert journal.saved and not journal.lost and journal.store is store
    assert journal.last_words == "" and journal.take_news() == []
    assert journal.begin_turn("s1") is True
    assert journal.end_turn("s1") == journal.changed("s1") == store.find_session("s1").updated
    journal.close()
    assert shown(store) == SAVED and not list((tmp_path / "spool").glob("*"))


def test_what_is_refused_is_in_a_file_until_it_is_accepted(
        store: Store, outsider: sqlite3.Connection, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    journal = journal_of(store, folder)
    asyncio.run(journal.settled())
    outsider.execute("BEGIN IMMEDIATE")
    journal.begin_reply(BEGUN, Chunk("text", 0, "an "))
    (path,) = folder.glob("*.jsonl")
    (news,) = journal.take_news()
    assert news.startswith("NOT SAVED: ") and news.endswith(f"; kept in {path}.")
    assert not journal.saved and not journal.lost and journal.store is None
    assert str(path) in journal.last_words and journal.last_words.startswith("NOT SAVED")
    journal.chunk(2, 1, Chunk("text", 0, "answer"), durable=False)
    journal.write(ENDED)
    assert [write["do"] for write in spooled(folder)] == [
        "for", "create", "add", "chunk", "chunk", "finish"]
    assert spooled(folder)[0]["place"] == store.place
    assert journal.take_news() == []             # said once
    journal.retry()
    assert journal.take_news() == [f"NOT SAVED still: kept in {path}."]
    assert journal.begin_turn("s1") is True and journal.end_turn("s1") is None
    assert journal.changed("s1") is None
    outsider.rollback()
    journal.retry()
    assert journal.take_news() == [
        "Saved again: the session database accepted the pending messages."]
    assert journal.saved and journal.last_words == "" and shown(store) == SAVED
    assert not path.exists()
    journal.retry()
    assert journal.take_news() == []


def test_what_may_not_have_reached_the_disk_is_kept_too(
        store: Store, outsider: sqlite3.Connection, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    journal = journal_of(store, folder)
    outsider.execute("BEGIN IMMEDIATE")
    journal.write(BEGUN)
    assert [(write["do"], "first" in write) for write in spooled(folder)] == [
        ("for", False), ("create", False), ("create", True), ("add", False)]
    journal.close()
    assert len(list(folder.glob("*.jsonl"))) == 1       # for the next start
    outsider.rollback()


def test_without_any_place_it_says_so_and_saves_later(
        store: Store, outsider: sqlite3.Connection, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    places = Places(str(tmp_path / "taken"), str(tmp_path / "taken"))
    journal = journal_of(store, places)
    outsider.execute("BEGIN IMMEDIATE")
    journal.write(BEGUN)
    assert journal.lost and not journal.saved
    assert "will be lost when the program ends" in journal.last_words
    (news,) = journal.take_news()
    assert news.endswith("; kept in memory only, until this program ends.")
    (tmp_path / "taken").unlink()        # now there is a place
    journal.retry()
    assert not journal.lost and len(spooled(tmp_path / "taken")) == 4
    journal.write(ENDED)
    assert len(spooled(tmp_path / "taken")) == 5
    outsider.rollback()
    journal.close()
    assert shown(store) == SAVED and not list((tmp_path / "taken").glob("*.jsonl"))


def test_the_second_place_has_it_if_the_first_does_not_work(
        store: Store, outsider: sqlite3.Connection, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    (tmp_path / "shared").mkdir()
    journal = journal_of(store, Places(str(tmp_path / "taken"), str(tmp_path / "shared")))
    outsider.execute("BEGIN IMMEDIATE")
    journal.write(BEGUN)
    assert not journal.lost and len(spooled(tmp_path / "shared")) == 4
    outsider.rollback()
    journal.close()


def test_a_file_that_takes_no_more_stays_until_another_has_it_all(
        store: Store, outsider: sqlite3.Connection, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    journal = journal_of(store, folder)
    outsider.execute("BEGIN IMMEDIATE")
    journal.write(BEGUN)
    (first,) = folder.glob("*.jsonl")
    journal.take_news()
    with longest_file(first.stat().st_size):
        journal.write(ENDED)
    assert journal.lost and first.exists()
    assert journal.take_news() == [f"NOT SAVED: {first} cannot be written either; "
                                   "kept in memory only, until this program ends."]
    journal.retry()
    assert not journal.lost and not first.exists()
    assert [write["do"] for write in spooled(folder)] == ["for", "create", "create", "add",
                                                          "finish"]
    outsider.rollback()
    journal.close()
    assert shown(store) == SAVED and not list(folder.glob("*.jsonl"))


def test_what_the_disk_did_not_take_is_kept(store: Store, tmp_path: Path) -> None:
    journal = journal_of(store, tmp_path / "spool")
    log = tmp_path / "s.db-wal"
    log.unlink()
    log.mkdir()        # it cannot be synced any more
    asyncio.run(journal.settled())
    assert not journal.saved and journal.take_news()[0].startswith("NOT SAVED: ")
    assert [write["do"] for write in spooled(tmp_path / "spool")] == ["for", "create", "create"]


def test_a_branch_can_be_made_again_from_its_file(
        store: Store, outsider: sqlite3.Connection, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    journal_of(store, folder).close()
    journal = Journal(store, str(folder))
    journal.branch("s1", "s2", "name2", "title2", "demo/y", [(5, user_message("q"))])
    outsider.execute("BEGIN IMMEDIATE")
    journal.write({**BEGUN, "session": "s2"})
    outsider.rollback()
    assert [(write["do"], write.get("session"), write.get("title"), write.get("name"))
            for write in spooled(folder)] == [
        ("for", None, None, None), ("create", "s2", "title2", "name2"), ("add", "s2", None, None)]
    journal.close()


@pytest.mark.parametrize("waiting", [False, True])
def test_a_session_that_another_program_deleted(
        store: Store, outsider: sqlite3.Connection, tmp_path: Path, waiting: bool) -> None:
    folder = tmp_path / "spool"
    journal = journal_of(store, folder)
    asyncio.run(journal.settled())
    if waiting:
        outsider.execute("BEGIN IMMEDIATE")
        journal.write(BEGUN)
        outsider.rollback()
        journal.take_news()
    store.delete_session("s1")
    if waiting:
        journal.retry()
    else:
        assert journal.begin_turn("s1") is True
    assert journal.deleted and not journal.saved and not journal.lost and journal.last_words == ""
    (news,) = journal.take_news()
    assert "deleted by another program" in news and "/keep" in news
    journal.write(ENDED)
    journal.chunk(2, 0, Chunk("text", 0, "x"), durable=True)
    journal.retry()
    journal.close()
    assert journal.take_news() == [] and not list(folder.glob("*.jsonl"))


def test_a_database_that_is_gone_gets_the_whole_session_again(tmp_path: Path) -> None:
    path, folder = tmp_path / "s.db", tmp_path / "spool"
    with closing(open_store(str(path))) as store:
        session = Session(store, str(folder), model="demo/x")
        session.add_user(user_message("q"))
        session.add_reply(ANSWER)
        for name in tmp_path.glob("s.db*"):
            if "live" not in name.name:
                os.unlink(name)
        session.add_user(user_message("more"))
        session.close()
        with closing(open_store(str(path))) as again:
            found = [entry.message.text for entry in again.load_messages(session.id)]
        assert found == ["q", "an answer", "more"] and not list(folder.glob("*.jsonl"))
