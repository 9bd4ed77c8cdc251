"""The Store's contract, the same for SQLite and PostgreSQL."""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from typing import Any

import pytest

from core.errors import SessionAmbiguous, SessionGone, SessionNotFound, StoreConflict
from core.messages import (Image, Message, Text, Thinking, ToolCall, ToolResult, Usage,
                           tool_message, user_message)
from core.store.identity import new_message_id, new_message_ids, new_session_id
from core.store.query import parse_query
from core.store.rows import CallRow, Chunk, SessionRow, StoredMessage
from core.store.text import from_database, to_database
from db import Store
from tests.store.conftest import Open


def add(store: Store, session: str, message: Message, state: Any = "complete") -> int:
    identity = new_message_id()
    store.add_message(session, identity, message, state)
    return identity


WHOLE = (
    user_message("why?\nNUL \0 half \ud83d \ude00 both \U0001f600 \x1a \x1a0000 \u2028 'quote' \\ "
                 "%s ? $1",
                 (Image("image/png", "AAAA", "a.png"),)),
    Message(
        "assistant",
        (Thinking("hm", {"anthropic": {"signature": "x\0y"}}),
         Thinking("", {"anthropic": {"redacted": [1, None]}}), Text("a"),
         ToolCall("1", "look", {"a": [1, 2.5, {"b": None}], "\ud800": "\udc00"}),
         ToolCall("1", "look", {}, "{broken", {"x": {"y": 1}})),
        "demo/m", Usage(1, 2, None, {"seconds": 0.5}), "tool_calls"),
    tool_message((ToolResult("1", "look", "found"), ToolResult("1", "look", "no", True, True))),
    Message("assistant", (Text(""),), "demo/m", Usage(), "stop"),
)


def test_messages_come_back_exactly(store: Store) -> None:
    store.create_session("s1", "t", "demo/m", 1.0)
    for message in WHOLE:
        add(store, "s1", message)
    assert tuple(entry.message for entry in store.load_messages("s1")) == WHOLE
    assert [entry.state for entry in store.load_messages("s1")] == ["complete"] * 4


def test_random_text_comes_back_exactly(store: Store) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    alphabet = string.printable + "\0\x1a\ud800\udfff\ufffd\uffff\U0010ffff\u00e9\u4e2d"
    store.create_session("s1", "t", "m", 1.0)
    texts = ["".join(chance.choices(alphabet, k=chance.randrange(40))) for _ in range(100)]
    for text in texts:
        assert from_database(to_database(text)) == text
        add(store, "s1", Message("user", (Text(text),)))
    assert [entry.message.text for entry in store.load_messages("s1")] == texts


def test_a_reply_grows_by_chunks_and_is_folded(store: Store) -> None:
    store.create_session("s1", "t", "m", 1.0)
    identity = add(store, "s1", Message("assistant", (), "m"), "streaming")
    for seq, text in enumerate(("a\0", "\ud800", "c")):
        store.append_chunk(identity, seq, Chunk("text", 0, text), durable=seq == 1)
    assert store.unfinished() == [], "its program runs"
    whole = Message("assistant", (Text("a\0\ud800c"),), "m", Usage(1, 3), "stop")
    store.finish_message(identity, whole, "complete")
    assert [entry.message for entry in store.load_messages("s1")] == [whole]


def test_another_program_reads_a_reply_while_it_grows(open_one: Open) -> None:
    writer, reader = open_one(), open_one()
    session = new_session_id()
    writer.create_session(session, "t", "m", 1.0, (new_message_id(), user_message("why?")))
    assert reader.open_reply(session) is None
    before = reader.pulse()
    reply = add(writer, session, Message("assistant", (), "demo/m"), "streaming")
    writer.append_chunk(reply, 0, Chunk("thinking", 0, "hm"))
    writer.append_chunk(reply, 1, Chunk("text", 1, "be\0cause"))
    assert reader.pulse() != before
    found = reader.open_reply(session)
    assert found is not None and (found.id, found.model, found.start) == (reply, "demo/m", 0)
    assert [(chunk.kind, chunk.text) for chunk in found.chunks] == [("thinking", "hm"),
                                                                    ("text", "be\0cause")]
    writer.append_chunk(reply, 2, Chunk("text", 1, " so"))
    more = reader.open_reply(session, reply, 2)
    assert more is not None and more.start == 2 and [chunk.text for chunk in more.chunks] == [" so"]
    other = reader.open_reply(session, reply + 1, 2)
    assert other is not None and other.start == 0 and len(other.chunks) == 3
    writer.finish_message(reply, Message("assistant", (Text("because so"),), "demo/m"), "complete")
    assert reader.open_reply(session, reply, 3) is None


def test_writes_may_be_repeated(store: Store) -> None:
    for _ in range(2):
        store.create_session("s1", "t", "m", 1.0)
        store.add_message("s1", 77, Message("assistant", (), "m"), "streaming")
        store.append_chunk(77, 0, Chunk("text", 0, "a"))
        store.append_chunk(77, 0, Chunk("text", 0, "a"))
    store.close()


def test_what_a_gone_program_left_is_found_by_the_next(open_one: Open) -> None:
    first, other = open_one(), open_one()
    first.create_session("s1", "t", "m", 1.0, name="its-name")
    identity = add(first, "s1", Message("assistant", (), "m"), "streaming")
    first.append_chunk(identity, 0, Chunk("thinking", 2, "hm \0", '{"a":1}'))
    first.append_chunk(identity, 1, Chunk("text", 0, "yes"))
    assert other.unfinished() == []
    first.close()
    (found,) = other.unfinished()
    assert (found.session_id, found.session_name, found.stored.id) == ("s1", "its-name", identity)
    assert [(chunk.kind, chunk.part, chunk.text, chunk.extra) for chunk in found.chunks] == [
        ("thinking", 2, "hm \0", '{"a":1}'), ("text", 0, "yes", None)]


def test_hidden_messages_stay_stored(store: Store) -> None:
    store.create_session("s1", "t", "m", 1.0)
    add(store, "s1", user_message("a"))
    store.hide_messages("s1",
                        [add(store, "s1", Message("assistant", (Text("b"),), "m", None, "stop"))])
    assert [entry.message.text for entry in store.load_messages("s1")] == ["a"]
    assert [entry.active for entry in store.load_messages("s1", hidden=True)] == [True, False]
    assert store.sessions()[0].message_count == 1


def test_sessions_newest_first_by_words(store: Store) -> None:
    for number, text in enumerate(
            ("red apples \u00e9t\u00e9", "green 'pears'", "red \"pears\" AND NOT")):
        store.create_session(f"s{number}", f"Title {number} 100%", "m", float(number))
        add(store, f"s{number}", user_message(text))
    found = {words: {row.id for row in store.sessions(0, words)} for words in (
        "", "red", "red pea", "apples green", "title 1", "100%", "1_0", "'pears'", '"',
        "a:b | !c (", "*", "\0 x", "\\")}
    assert [row.id for row in store.sessions(2)] == ["s2", "s1"]
    assert found[""] == {"s0", "s1", "s2"} == found["100%"]
    assert (found["red"] == {"s0", "s2"} and found["red pea"] == {"s2"}
            and found["apples green"] == set())
    assert found["title 1"] == {"s1"} and found["1_0"] == set() and found["'pears'"] == {"s1", "s2"}


def test_sessions_are_found_by_either_end_of_their_id(store: Store) -> None:
    for name in ("20260101-1000-aaaa", "20260101-1000-aabb", "20260202-1000-cccc"):
        store.create_session(name, name[-4:], "m", 1.0)
    found = [store.find_session(name).title
             for name in ("20260101-1000-aaaa", "202602", "CCCC", "bb")]
    assert found == ["aaaa", "cccc", "cccc", "aabb"]
    for name in ("", "nothing", "20260101", "%", "_", "\udcff", "\0"):
        with pytest.raises(SessionNotFound):
            store.find_session(name)


def test_a_session_comes_with_its_first_message(store: Store) -> None:
    for _ in range(2):      # what was spooled may be done again
        store.create_session("s1", "t", "m", 1.0, (7, user_message("first")))
    assert [(entry.id, entry.message.text, entry.state)
            for entry in store.load_messages("s1")] == [(7, "first", "complete")]
    assert store.find_session("s1").message_count == 1


def test_sessions_change_and_go(store: Store) -> None:
    store.create_session("s1", "old", "m", 1.0)
    store.update_session("s1", title="new \ud800")
    store.update_session("s1", model="n")
    assert store.session_settings("s1") == "" == store.session_settings("nowhere")
    store.update_session("s1", settings='{"system": "\ud800"}')
    assert store.session_settings("s1") == '{"system": "\ud800"}'
    add(store, "s1", user_message("a"))
    assert store.sessions()[0][:4] == ("s1", "s1", "new \ud800", "n")
    store.delete_session("s1")
    assert store.sessions() == [] and store.load_messages("s1") == []


def test_a_write_to_what_was_deleted_is_refused(open_one: Open) -> None:
    """Data written there would never be found, so it must not count as saved."""
    store, other = open_one(), open_one()
    store.create_session("s1", "t", "m", 1.0)
    identity = add(store, "s1", Message("assistant", (), "m"), "streaming")
    store.append_chunk(identity, 0, Chunk("text", 0, "a"))
    other.delete_session("s1")
    for write in (lambda: store.append_chunk(identity, 1, Chunk("text", 0, "b")),
                  lambda: store.finish_message(identity, user_message("whole"), "complete"),
                  lambda: store.add_message("s1", 5, user_message("next"), "complete"),
                  lambda: store.replace_messages("s1", [identity], [(6, user_message("summary"))])):
        with pytest.raises(SessionGone):
            write()
    for late in (store, other):
        with pytest.raises(SessionGone):
            late.create_session("s1", "t", "m", 1.0, (identity, user_message("again")))
    assert store.sessions() == []


def test_a_long_text_is_stored_and_found(store: Store) -> None:
    store.create_session("s1", "t", "m", 1.0)
    text = "needle " + " ".join(str(number) for number in range(400_000))
    add(store, "s1", user_message(text))
    assert store.load_messages("s1")[0].message.text == text
    assert len(store.sessions(0, "needle")) == 1


def test_the_numbers_of_model_calls_are_kept(store: Store) -> None:
    whole = CallRow(10.0, "s1", "ollama", "m \0", "http://127.0.0.1:1", 0.25, 1.5, 7, 50, 3, 40.0,
                    0.0125, 1, 2, "stop", None)
    failed = CallRow(20.0, "s1", "groq", "n", "https://a.example", *(None, 0.5, *(None,) * 5), 0, 0,
                     None, "rate_limit")
    for _ in range(2):
        store.add_calls([(5, whole), (4, failed)])
    store.add_calls([])
    assert store.calls() == [whole, failed]
    assert store.calls(15.0) == [failed] and store.calls(21.0) == []
    assert store.sessions() == [], "they need no session, and outlive it"


def test_a_branch_begins_with_messages_of_its_parent(store: Store) -> None:
    store.create_session("s1", "t", "m", 1.0)
    for message in WHOLE:
        add(store, "s1", message)
    added = list(zip(new_message_ids(2), WHOLE))
    for _ in range(2):
        store.create_branch("s1", "s2", "\u21b3 t", "m", 2.0, added)
    add(store, "s2", user_message("more"))
    assert [entry.message for entry in store.load_messages("s2")] == [*WHOLE[:2],
                                                                      user_message("more")]
    assert len(store.load_messages("s1")) == 4
    assert {(row.id, row.title, row.message_count)
            for row in store.sessions()} == {("s1", "t", 4), ("s2", "\u21b3 t", 3)}
    store.delete_session("s1")
    assert len(store.load_messages("s2")) == 3


def test_embeddings_are_kept_by_model_and_hash(store: Store) -> None:
    assert store.vectors("p/m", ["a", "b"]) == {} and store.vectors("p/m", []) == {}
    store.add_vectors("p/m\0", {"a": bytes(range(256)), "b": b"\0\0\x80\x3f"}, 100)
    store.add_vectors("p/other", {"a": b"other"}, 100)
    assert store.vectors("p/m\0", ["b", "a", "gone"]) == {"a": bytes(range(256)),
                                                          "b": b"\0\0\x80\x3f"}
    store.add_vectors("p/m\0", {"a": b"new"}, 100)
    assert (store.vectors("p/m\0", ["a"]) == {"a": b"new"}
            and store.vectors("p/other", ["a"]) == {"a": b"other"})
    store.add_vectors("p/m\0", {}, 100)


def test_the_oldest_embeddings_go(store: Store) -> None:
    names = [f"h{number}" for number in range(1_200)]
    for start in range(0, 1_200, 100):
        store.add_vectors("p/m", {name: name.encode() for name in names[start:start + 100]}, 1_000)
    found = store.vectors("p/m", names)
    assert (len(found) == 1_000 and names[0] not in found and names[-1] in found
            and found["h900"] == b"h900")
    store.add_vectors("p/m", {"h250": b"again"}, 10)
    assert len(store.vectors("p/m", names)) == 10 and store.vectors("p/m",
                                                                    ["h250"]) == {"h250": b"again"}


# ---- identity

def test_a_different_row_under_the_same_identity_is_an_error(store: Store) -> None:
    """Nothing is overwritten, and the same row again changes nothing."""
    call = CallRow(10.0, "s1", "p", "m", "h", None, 1.5, *(None,) * 5, 0, 0, None, None)
    for _ in range(2):
        store.create_session("s1", "t", "m", 1.0, (7, user_message("a")), name="n")
        store.add_message("s1", 8, user_message("b"), "complete")
        store.add_calls([(9, call)])
    store.create_session("s2", "t", "m", 1.0)
    different: tuple[Callable[[], None], ...] = (
        lambda: store.create_session("s1", "t", "m", 2.0),
        lambda: store.create_session("s1", "t", "m", 1.0, name="another"),
        lambda: store.create_session("s3", "t", "m", 1.0, (7, user_message("a"))),
        lambda: store.add_message("s1", 8, user_message("c"), "complete"),
        lambda: store.add_message("s2", 8, user_message("b"), "complete"),
        lambda: store.add_message("s1", 8, Message("assistant", (Text("b"),)), "complete"),
        lambda: store.replace_messages("s1", [7], [(8, user_message("summary"))]),
        lambda: store.create_branch("s1", "s4", "t", "m", 1.0, [(8, user_message("b"))]),
        lambda: store.add_calls([(9, call._replace(session="s2"))]))
    for write in different:
        with pytest.raises(StoreConflict):
            write()
    assert ([entry.message.text for entry in store.load_messages("s1")] == ["a", "b"]
            and store.load_messages("s2") == [])
    assert {row.id for row in store.sessions()} == {"s1", "s2"} and store.calls() == [call]


def test_a_row_that_has_changed_since_is_still_the_same(store: Store) -> None:
    """Spooled writes can be repeated from the beginning."""
    for _ in range(3):
        store.create_session("s1", "t", "m", 1.0, (7, user_message("a")))
        store.update_session("s1", title="later", model="other")
        store.add_message("s1", 8, Message("assistant", (), "m"), "streaming")
        store.finish_message(8, Message("assistant", (Text("whole"),), "m", None, "stop"),
                             "complete")
        store.finish_message(7, user_message("pinned"), "complete")
    assert [entry.message.text for entry in store.load_messages("s1")] == ["pinned", "whole"]


def test_identities_of_all_sizes_come_back_and_sort(store: Store) -> None:
    """Identities from before 128 bits stay unchanged, and sort before all new ones."""
    store.create_session("s1", "t", "m", 1.0)
    identities = [0, 1, 77, (1 << 63) - 1, *new_message_ids(3), (1 << 128) - 1]
    for identity in identities:
        store.add_message("s1", identity, user_message(f"n {identity}"), "complete")
    assert [entry.id for entry in store.load_messages("s1")] == identities
    assert ({identity for _, identity in store.find_messages(parse_query("n"), 20)}
            == set(identities))


def test_sessions_of_the_same_name_are_told_apart_by_their_identity(store: Store) -> None:
    first, second = new_session_id(), new_session_id()
    for identity in (first, second):
        store.create_session(identity, identity[-3:], "m", 1.0, name="20260101-1000-aaaa")
    store.create_session(new_session_id(), "t", "m", 1.0, name="20260101-1000-bbbb")
    for name in ("20260101-1000-aaaa", "aaaa", "202601"):
        with pytest.raises(SessionAmbiguous) as caught:
            store.find_session(name)
        assert first[-8:] in caught.value.message and second[-8:] in caught.value.message
    assert store.find_session(second).id == second == store.find_session(second[-8:].upper()).id
    assert store.find_session("bbb").name == "20260101-1000-bbbb"
    with pytest.raises(SessionNotFound):
        store.find_session(second[-3:])


def test_last_is_the_last_used_whatever_the_clock_says(store: Store) -> None:
    for number, name in enumerate(("a", "b", "c")):
        store.create_session(name, "t", "m", 1e9 - number)
    assert [row.id for row in store.sessions()] == ["c", "b", "a"]
    add(store, "a", user_message("x"))
    assert [row.id for row in store.sessions()] == ["a", "c", "b"]


def test_imported_sessions_are_listed_by_time_after_those_used_here(store: Store) -> None:
    def bring(name: str, updated: float) -> None:
        message = StoredMessage(new_message_id(), user_message("x"), "complete", True, updated)
        store.import_session(SessionRow(name, name, "t", "m", updated - 1, updated, 1), "{}",
                             [message])
    for name, updated in (("newest", 3e9), ("old", 1e9), ("odd", -5.0), ("newer", 1.1e9)):
        bring(name, updated)
    store.create_session("here", "t", "m", 5.0)
    bring("late", 2e9)
    assert [row.id for row in store.sessions()] == ["here", "newest", "late", "newer", "old", "odd"]
    last = store.last_session()
    assert last is not None and last.id == "here"
    add(store, "old", user_message("more"))
    assert [row.id for row in store.sessions()][:3] == ["old", "here", "newest"]


# ---- turns

def test_one_program_at_a_time_runs_a_turn(open_one: Open) -> None:
    first, second = open_one(), open_one()
    first.create_session("s1", "t", "m", 1.0)
    assert first.begin_turn("s1") and first.begin_turn("s1") and not second.begin_turn("s1")
    first.end_turn("s1")
    assert second.begin_turn("s1") and not first.begin_turn("s1")
    first.end_turn("s1")
    assert not first.begin_turn("s1"), "only its owner ends a turn"
    second.close()
    assert first.begin_turn("s1"), "its owner is gone"
    with pytest.raises(SessionGone):
        first.begin_turn("nothing")


def test_parts_of_a_session_are_read(store: Store) -> None:
    store.create_session("s1", "t", "m", 1.0)
    ids = [add(store, "s1", user_message(f"{place}")) for place in range(7)]
    store.hide_messages("s1", ids[1:3])
    shown = [ids[0], *ids[3:]]
    assert store.message_ids("s1") == shown and store.message_ids("s1", hidden=True) == ids
    assert [entry.id for entry in store.newest_messages("s1", 2)] == ids[5:]
    assert [entry.id for entry in store.newest_messages("s1", 3, ids[4])] == [ids[0], ids[3]]
    assert [entry.id for entry in store.newest_messages("s1", 0, ids[0])] == []
    assert store.count_earlier("s1", ids[6],
                               ['"text":"3"', '"text":"1"']) == (4, 1), "hidden ones do not count"
    assert store.count_earlier("s1", ids[0], ['"text":"3"']) == (0, 0)
