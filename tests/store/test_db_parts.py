"""Parts of a session are read as they were written, identically in SQLite and PostgreSQL."""

from __future__ import annotations

import pytest

from core.errors import SessionAmbiguous, StoreForbidden
from core.messages import Message, Text, ToolCall, user_message
from core.store.identity import new_message_id
from core.store.rows import Chunk, StoredMessage
from core.store.sql.sessions import read_only
from db import Store

ODD = "a\0b \ud83d"         # what neither database can hold as it is


def add(store: Store, message: Message, parent: int | None = None, session: str = "a") -> int:
    identity = new_message_id()
    store.add_message(session, identity, message, "complete", parent=parent)
    return identity


@pytest.fixture
def talk(store: Store) -> list[int]:
    """Session "a" with a question, four answers to it and a summary; the second and third
    answers are hidden.
    """
    store.create_session("a", "Title", "demo/m", 1.0)
    question = add(store, user_message("why?"), 0)
    look = ToolCall("1", "look", {"at": "it"})
    answers = [add(store, Message("assistant", parts, "demo/m"), question)
               for parts in ((look,), (Text("no"),), (look,), (Text("so"),))]
    summary = add(store, Message("user", (Text("so far", {"own": {"compacted": [1]}}),)),
                  answers[-1])
    store.hide_messages("a", answers[1:3])
    return [question, *answers, summary]


def test_an_outline_has_the_parts_that_give_a_form(store: Store, talk: list[int]) -> None:
    """Complete rows of summaries and hidden calls; of others only the role and place."""
    whole = store.load_messages("a", hidden=True)
    outline = store.outline("a")
    with_parts = {talk[3], talk[5]}
    assert [entry.id for entry in outline] == talk
    assert [entry.message.parts for entry in outline] == [
        entry.message.parts if entry.id in with_parts else () for entry in whole]
    assert [(entry.message.role, entry.state, entry.active, entry.created, entry.parent)
            for entry in outline] == [
        (entry.message.role, entry.state, entry.active, entry.created, entry.parent)
        for entry in whole]
    assert outline[0].parent == 0 and outline[1].parent == talk[0]


def test_a_part_is_found_by_its_place_or_by_what_follows(store: Store, talk: list[int]) -> None:
    shown = [talk[0], talk[1], talk[4], talk[5]]

    def ids(found: list[StoredMessage]) -> list[int]:
        return [entry.id for entry in found]
    assert store.message_ids("a") == shown and store.message_ids("a", hidden=True) == talk
    assert ids(store.load_messages("a")) == shown
    for first in range(5):
        for count in range(5):
            assert ids(store.messages_at("a", first, count)) == shown[first:first + count]
    for place, before in enumerate((*shown, 0)):
        earlier = shown[:place] if before else shown
        for limit in range(1, 6):
            assert ids(store.newest_messages("a", limit, before)) == earlier[-limit:]
        assert ids(store.newest_messages("a", 0, before)) == earlier
        calls = sum(identity == talk[1] for identity in earlier)
        assert store.count_earlier("a", before, ['"look"']) == (len(earlier), calls)
        assert store.count_earlier("a", before, []) == (len(earlier), 0)
        assert len(store.replies("a", before)) == len({talk[1], talk[4]}.intersection(earlier))


def test_a_session_knows_whether_something_in_it_is_hidden(store: Store, talk: list[int]) -> None:
    store.create_session("b", "Title", "demo/m", 1.0)
    add(store, user_message("why?"), session="b")
    assert store.has_hidden("a") and not store.has_hidden("b")
    store.restore_messages("a", talk[2:4], [])
    assert not store.has_hidden("a")


def test_what_a_database_cannot_hold_is_in_the_lists_of_sessions(store: Store) -> None:
    store.create_session("a", ODD, "demo/m", 1.0)
    store.create_session("b", "Title", ODD, 2.0)
    store.create_session("c", "Title", "demo/m", 3.0)
    assert [(row.title, row.model) for row in store.sessions()] == [
        ("Title", "demo/m"), ("Title", ODD), (ODD, "demo/m")]


def test_a_reply_that_streams_has_its_frames_from_any_place_on(store: Store) -> None:
    store.create_session("a", "Title", "demo/m", 1.0)
    assert store.open_reply("a") is None
    first, second = new_message_id(), new_message_id()
    store.add_message("a", first, Message("assistant", (), ODD), "streaming",
                      first=Chunk("text", 0, ODD, ODD))
    store.append_chunk(first, 1, Chunk("thinking", 1, "two"))
    every = [("text", 0, ODD, ODD), ("thinking", 1, "two", None)]
    for known, seen, wanted in ((0, 0, 0), (first, 0, 0), (first, 1, 1), (first, 2, 2),
                                (second, 1, 0)):
        reply = store.open_reply("a", known, seen)
        assert reply is not None and (reply.id, reply.model) == (first, ODD)
        frames = [(each.kind, each.part, each.text, each.extra) for each in reply.chunks]
        assert (reply.start, frames) == (wanted, every[wanted:])
    store.add_message("a", second, Message("assistant", ()), "streaming")
    reply = store.open_reply("a", first, 1)
    assert reply is not None and (reply.id, reply.model, reply.start) == (second, "", 0)


# ---- names and rights

def test_a_session_that_says_a_word_often_hides_no_other(store: Store) -> None:
    """A short list reads fifty messages for each of its sessions."""
    for session in "ab":
        store.create_session(session, "Title", "demo/m", 1.0)
        for _ in range(1 if session == "a" else 60):
            add(store, user_message("apple"), session=session)
    assert [row.id for row in store.sessions(2, "apple")] == ["b", "a"]


def test_sessions_of_one_name_are_told_apart_by_the_ends_of_their_identities(store: Store) -> None:
    for session in ("0123456789ab", "1123456789cd"):
        store.create_session(session, "t", "m", float(session[0]), name="same")
    with pytest.raises(SessionAmbiguous) as caught:
        store.find_session("same")
    assert caught.value.message == "'same' could be several sessions: 456789cd (t), 456789ab (t)."


def test_what_is_shared_for_reading_says_how_to_continue() -> None:
    with pytest.raises(StoreForbidden, match="for reading only") as caught:
        raise read_only()
    assert "/fork" in caught.value.hint and "--fork" in caught.value.hint
