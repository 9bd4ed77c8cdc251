"""Summaries in a saved session: added, undone, pinned, spooled, and restored after a restart."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from core.errors import UsageError
from core.messages import Image, Message, Text, user_message
from core.session_manager import Session, open_session, recover
from core.window.compaction import Plan, plan_compaction
from db import open_store


def said(text: str) -> Message:
    return Message("assistant", (Text(text),), "demo/m", None, "stop")


def talk(session: Session, turns: int, first: int = 0) -> None:
    for number in range(first, first + turns):
        session.add_user(user_message(f"asked {number}"))
        session.add_reply(said(f"said {number}"))


def words(session: Session) -> list[str]:
    return [message.text for message in session.messages]


def whole(turns: int) -> list[str]:
    return [f"{who} {number}" for number in range(turns) for who in ("asked", "said")]


def plan(session: Session, room: int = 4) -> Plan:
    """A message counts one, so that room for 4 keeps the last turn alone."""
    found = plan_compaction(session.messages, room, len, pinned=session.pinned)
    assert found is not None
    return found


def test_a_summary_is_put_in_and_taken_back(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "s.db"))
    session = Session(store, str(tmp_path / "spool"), model="demo/m")
    talk(session, 5)
    session.compact(plan(session), said("in short"))
    assert words(session)[1:] == ["in short", "asked 4", "said 4"]
    talk(session, 1, 5)
    again = open_session(store, name=session.id)
    assert words(again) == words(session)
    assert again.uncompact() == 8
    with pytest.raises(UsageError, match="Another program"):
        session.uncompact()
    assert words(again) == words(session) == whole(6) == words(open_session(store, name=session.id))
    with pytest.raises(UsageError, match="has no summary"):
        session.uncompact()
    store.close()


def test_nothing_is_hidden_for_a_summary_that_is_none(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "s.db"))
    session = Session(store, model="demo/m")
    talk(session, 5)
    for reply in (said(" "), Message("assistant", (Text("cut"),), "demo/m", None, "interrupted")):
        with pytest.raises(UsageError, match="not write a summary"):
            session.compact(plan(session), reply)
    with pytest.raises(UsageError, match="cut off at its length limit"):
        session.compact(plan(session),
                        Message("assistant", (Text("The key fact is"),), "demo/m", None, "length"))
    assert words(session) == whole(5) == words(open_session(store, name=session.id))
    store.close()


def test_a_branch_does_not_touch_its_parent(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "s.db"))
    session = Session(store, model="demo/m")
    talk(session, 5)
    session.compact(plan(session), said("in short"))
    child = session.branch("child", "demo/m", len(session.messages))
    with pytest.raises(UsageError, match="not in this session"):
        child.uncompact()
    assert words(open_session(store, name=session.id)) == words(session)
    store.close()


def test_a_store_that_refuses_gets_it_later(tmp_path: Path) -> None:
    path, spool = str(tmp_path / "s.db"), str(tmp_path / "spool")
    store = open_store(path)
    session = Session(store, spool, model="demo/m")
    talk(session, 5)
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE messages RENAME TO gone")
    session.compact(plan(session), said("in short"))
    talk(session, 1, 5)
    assert not session.saved and session.take_news()[0].startswith("NOT SAVED")
    assert session.uncompact() == 8 and words(session) == whole(6)
    session.compact(plan(session), said("shorter"))
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE gone RENAME TO messages")
    connection.close()
    session.close()
    recover(store, spool)
    kept = open_session(store, name=session.id)
    assert words(kept) == words(session) and "shorter" in words(kept)
    assert kept.uncompact() == 10 and words(kept) == whole(6)
    store.close()


def test_a_deleted_database_comes_back_with_what_is_summarised(tmp_path: Path) -> None:
    """The session is deleted before the second summary, which is the first write to notice it."""
    store = open_store(str(tmp_path / "s.db"))
    session = Session(store, str(tmp_path / "spool"), model="demo/m")
    talk(session, 5)
    session.pin(2)
    session.compact(plan(session), said("in short"))
    talk(session, 2, 5)
    for file in tmp_path.glob("s.db*"):
        file.unlink()
    session.compact(plan(session), said("shorter"))
    talk(session, 1, 7)
    session.close()
    assert session.saved and session.take_news()[0].startswith("NOT SAVED")
    other = open_store(str(tmp_path / "s.db"))
    again = open_session(other, name=session.id)
    assert words(again) == words(session) and again.pinned and "shorter" in words(again)
    while any(message.text in ("in short", "shorter") for message in again.messages):
        again.uncompact()
    assert words(again) == whole(8)
    store.close()
    other.close()


def test_pins_are_saved_and_stay(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "s.db"))
    session = Session(store, model="demo/m")
    talk(session, 5)
    session.pin(2)
    again = open_session(store, name=session.id)
    assert again.pinned == session.pinned == (2,)
    again.compact(plan(again), said("in short"))
    assert [text for text in words(again) if "in short" not in text and "Earlier" not in text] == [
        "asked 1", "said 1", "asked 4", "said 4"]
    again.uncompact()
    again.pin(2, on=False)
    assert again.pinned == () and again.messages[2].parts == user_message("asked 1").parts
    again.messages[0] = Message("user", (Image("image/png", "AAAA"),))
    with pytest.raises(UsageError, match="without text"):
        again.pin(0)
    store.close()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("saved", [True, False])
def test_any_order_of_summaries_and_returns(tmp_path: Path, seed: int, saved: bool) -> None:
    """After any steps, undoing all summaries restores the complete conversation, in order."""
    chance = random.Random(seed)
    store = open_store(str(tmp_path / "s.db")) if saved else None
    session = Session(store, str(tmp_path / "spool") if saved else "", model="demo/m")
    turns = 0
    for _ in range(12):
        match chance.choice(["talk", "talk", "compact", "uncompact", "reopen"]):
            case "talk":
                talk(session, count := chance.randrange(1, 4), turns)
                turns += count
            case "compact":
                found = plan_compaction(session.messages, chance.choice([4, 8, 12]), len)
                if found is not None:
                    session.compact(found, said("in short"))
            case "uncompact" if "in short" in words(session):
                session.uncompact()
            case "reopen" if store is not None and session.messages:
                session = open_session(store, str(tmp_path / "spool"), name=session.id)
                assert session.saved
    while "in short" in words(session):
        session.uncompact()
    assert words(session) == whole(turns), f"seed {seed}"
    if store is not None:
        if turns:
            assert words(open_session(store, name=session.id)) == whole(turns), f"seed {seed}"
        store.close()
