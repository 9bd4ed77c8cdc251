"""Which sessions and messages a store lists, finds, shelves and copies,
the same for SQLite and PostgreSQL.
"""

from __future__ import annotations

import time

import pytest

from core.errors import SessionAmbiguous, SessionGone, SessionNotFound
from core.messages import Message, Text, ToolCall, Usage, user_message
from core.store.identity import new_message_id, new_message_ids
from core.store.query import parse_query
from core.store.rows import SessionRow, StoredMessage
from db import Store
from tests.store.conftest import Open

DAY = 86_400.0


def add(store: Store, session: str, text: str, role: str = "user") -> int:
    identity = new_message_id()
    message = (user_message(text) if role == "user"
               else Message("assistant", (Text(text),), "demo/m", Usage(3, 5), "stop"))
    store.add_message(session, identity, message, "complete")
    return identity


def made(store: Store, *names: str) -> None:
    for number, name in enumerate(names, 1):
        store.create_session(name, f"Title {name}", "demo/m", float(number))


def ids(rows: list[SessionRow]) -> list[str]:
    return [row.id for row in rows]


def texts(store: Store, session: str, *, hidden: bool = False) -> list[str]:
    return [entry.message.text for entry in store.load_messages(session, hidden=hidden)]


# ---- lists of sessions

def test_the_last_session_is_the_one_used_last_pinned_or_not(store: Store) -> None:
    assert store.last_session() is None

    def last() -> str:
        row = store.last_session()
        assert row is not None
        return row.id
    made(store, "a", "b", "c")
    assert last() == "c"
    store.update_session("a", pinned=True)
    assert last() == "c"
    add(store, "a", "x")
    assert last() == "a"
    add(store, "b", "x")
    assert last() == "b"
    store.shelve_session("b", "archived")
    assert last() == "a"
    store.shelve_session("a", "trash")
    assert last() == "c"
    store.shelve_session("a", "open")
    assert last() == "a"


def test_pinned_sessions_stand_first_in_a_list_of_any_length(store: Store) -> None:
    made(store, "a", "b", "c", "d")
    for session in "abcd":
        add(store, session, f"apple {session}")
    store.update_session("a", pinned=True)
    store.update_session("b", pinned=True)
    for words in ("", "apple", "title"):
        assert ids(store.sessions(0, words)) == ["b", "a", "d", "c"], words
        assert ids(store.sessions(3, words)) == ["b", "a", "d"], words
    assert [row.pinned for row in store.sessions()] == [1, 1, 0, 0]
    store.update_session("b", pinned=False)
    assert ids(store.sessions()) == ["a", "d", "c", "b"]


def test_each_shelf_has_its_own_list(store: Store) -> None:
    made(store, "a", "b", "c")
    for session in "abc":
        add(store, session, "apple")
    store.shelve_session("a", "archived")
    store.shelve_session("b", "trash")
    for words in ("", "title", "apple"):
        assert ids(store.sessions(0, words)) == ["c"], words
        assert ids(store.sessions(0, words, shelf="archived")) == ["a"], words
        assert ids(store.sessions(0, words, shelf="trash")) == ["b"], words
    assert [row.shelf for row in store.some_sessions(["a", "b", "c"])] != ["open"] * 3
    assert {row.id: row.shelf for row in store.some_sessions(["a", "b", "c"])} == {
        "a": "archived", "b": "trash", "c": "open"}
    assert store.some_sessions([]) == []


def test_filters_choose_sessions(store: Store) -> None:
    store.create_session("a", "Fruit", "groq/llama_3", 10 * DAY)
    store.create_session("b", "Fruit salad", "ollama/qwen", 20 * DAY)
    store.update_session("a", tags="home work%")
    for session in "ab":
        add(store, session, "apple")
    every = {"model:llama_": "a", "model:LLAMA": "ab", "model:QWEN": "b", "model:l%a": "",
             "provider:groq": "a", "provider:roq": "", "tag:home": "a", "tag:hom": "",
             "tag:work%": "a", "tag:work": "", "tag:home tag:work%": "a", "fruit": "ab",
             "in:title apple": "", "in:title salad": "b", "in:title fruit -salad": "a",
             "in:title fruit -sala": "ab",
             "apple -fruit": "ab", "before:1970-01-15": "a", "after:1970-01-15": "ab"}
    for words, wanted in every.items():
        assert sorted(ids(store.sessions(0, words))) == sorted(wanted), words


def test_a_message_is_found_by_its_own_time(store: Store) -> None:
    """An imported message can be older than its session."""
    row = SessionRow("a", "a", "t", "m", 100 * DAY, 100 * DAY, 1)
    (identity,) = new_message_ids(1)
    store.import_session(row, "", [StoredMessage(identity, user_message("apple"), "complete", True,
                                                 10 * DAY, "", 0)])
    for words, found in (("apple before:1970-01-15", 1), ("apple after:1970-01-15", 0)):
        assert store.find_messages(parse_query(words), 9) == [("a", identity)] * found, words


def test_the_title_is_found_as_soon_as_it_is_given(store: Store) -> None:
    store.create_session("a", "An old name", "m", 1.0)
    store.update_session("a", title="A new one")
    assert ids(store.sessions(0, "new")) == ["a"] and store.sessions(0, "old") == []
    store.update_session("a", model="n")
    assert ids(store.sessions(0, "new")) == ["a"], "a change of something else keeps its words"


def test_titles_are_found_on_every_shelf_but_the_trash(store: Store) -> None:
    made(store, "a", "b", "c", "d")
    store.shelve_session("a", "archived")
    store.shelve_session("d", "trash")
    found = store.find_titles(parse_query("title"), 10)
    assert ids(found) == ["c", "b", "a"]
    assert ids(store.find_titles(parse_query("title"), 2)) == ["c", "b"]
    assert ids(store.find_titles(parse_query("title -b model:demo"), 9)) == ["c", "a"]


def test_sessions_that_nobody_used_since(store: Store) -> None:
    made(store, "a", "b", "c", "d", "e")
    store.update_session("b", pinned=True)
    store.shelve_session("c", "archived")
    store.shelve_session("d", "trash")
    assert ids(store.unused_sessions(5.0)) == ["a", "c"]
    assert ids(store.unused_sessions(5.1)) == ["a", "c", "e"]
    add(store, "a", "x")
    assert ids(store.unused_sessions(5.1)) == ["c", "e"]


def test_the_trash_is_emptied_of_what_was_long_in_it(store: Store) -> None:
    made(store, "a", "b", "c")
    before = time.time()
    store.shelve_session("a", "trash")
    store.shelve_session("b", "trash")
    store.shelve_session("b", "open")
    assert store.empty_trash(before - 1) == 0 and len(store.sessions(shelf="trash")) == 1
    assert store.empty_trash(time.time() + 1) == 1
    assert ids(store.sessions()) == ["c", "b"] or ids(store.sessions()) == ["b", "c"]
    assert store.sessions(shelf="trash") == []
    with pytest.raises(SessionGone):
        add(store, "a", "late")


def test_no_turn_begins_in_the_trash(store: Store) -> None:
    made(store, "a")
    store.shelve_session("a", "trash")
    with pytest.raises(SessionGone):
        store.begin_turn("a")


def test_each_shelf_knows_how_many_it_has(store: Store) -> None:
    made(store, "a", "b", "c", "d")
    store.shelve_session("b", "archived")
    for name in ("c", "d"):
        store.shelve_session(name, "trash")
    assert [store.count_sessions(shelf) for shelf in ("open", "archived", "trash")] == [1, 1, 2]


# ---- finding one

def test_a_name_that_could_mean_several_lists_them(store: Store) -> None:
    store.create_session("s-1", "x" * 25, "m", 1.0)
    store.create_session("s-2", "y" * 26, "m", 2.0)
    with pytest.raises(SessionAmbiguous) as caught:
        store.find_session("S-")
    assert caught.value.message == (f"'S-' could be several sessions: s-2 ({'y' * 24}\u2026), "
                                    f"s-1 ({'x' * 25}).")
    for number in range(3, 10):
        store.create_session(f"s-{number}", "t", "m", float(number))
    with pytest.raises(SessionAmbiguous) as caught:
        store.find_session("s-")
    assert caught.value.message.endswith(" ...") and caught.value.message.count(" (t)") == 7
    store.create_session("s-x", "t", "m", 10.0)
    with pytest.raises(SessionAmbiguous) as caught:
        store.find_session("s-")
    assert "s-2" in caught.value.message and "s-1 " not in caught.value.message, "nine are enough"
    store.delete_session("s-x")
    store.delete_session("s-9")
    with pytest.raises(SessionAmbiguous) as caught:
        store.find_session("s-")
    assert caught.value.message.endswith(").") and caught.value.message.count(" (t)") == 6


def test_a_part_of_an_identity_has_six_characters(store: Store) -> None:
    store.create_session("0123456789abcdef", "t", "m", 1.0, name="name")
    for part in ("012345", "abcdef", "name", "NA", "me", " name "):
        assert store.find_session(part).id == "0123456789abcdef", part
    for part in ("01234", "bcdef", "x"):
        with pytest.raises(SessionNotFound) as caught:
            store.find_session(part)
        assert caught.value.message == f"There is no session {part!r}."
        assert "/sessions" in caught.value.hint


def test_empty_settings_are_no_settings(store: Store) -> None:
    made(store, "a")
    store.update_session("a", settings='{"x": 1}')
    assert store.session_settings("a") == '{"x": 1}'
    store.update_session("a", settings="{}")
    assert store.session_settings("a") == ""


# ---- what a conversation shows

def test_a_summary_stands_where_what_it_replaces_stood(store: Store) -> None:
    made(store, "a")
    old = [add(store, "a", f"old {number}") for number in range(3)]
    add(store, "a", "last")
    first, second = new_message_ids(2)
    store.replace_messages("a", old, [(first, user_message("so far")),
                                      (second, user_message("and so"))])
    assert texts(store, "a") == ["so far", "and so", "last"]
    assert store.find_session("a").message_count == 3
    stored = {entry.id: entry for entry in store.load_messages("a", hidden=True)}
    assert [stored[identity].active for identity in old] == [False] * 3
    assert stored[first].parent is None and stored[second].parent == first
    store.restore_messages("a", old, [first, second])
    assert texts(store, "a") == ["old 0", "old 1", "old 2", "last"]
    assert store.find_session("a").message_count == 4
    assert len(store.load_messages("a", hidden=True)) == 6
    assert store.last_session() == store.find_session("a")


def test_what_is_hidden_or_taken_back_counts_as_use(store: Store) -> None:
    made(store, "a", "b")
    identity = add(store, "a", "x")
    for change in (lambda: store.hide_messages("a", [identity]),
                   lambda: store.restore_messages("a", [identity], []),
                   lambda: store.finish_message(identity, user_message("y"), "complete")):
        add(store, "b", "x")
        assert ids(store.sessions()) == ["b", "a"]
        change()
        assert ids(store.sessions()) == ["a", "b"]


def test_the_replies_before_a_message(store: Store) -> None:
    made(store, "a")
    add(store, "a", "why?")
    hidden = add(store, "a", "no", "assistant")
    add(store, "a", "because", "assistant")
    later = add(store, "a", "and then?")
    add(store, "a", "so", "assistant")
    store.hide_messages("a", [hidden])
    bare = Message("assistant", (), "demo/m", Usage(3, 5), "stop")
    assert store.replies("a", later) == [bare] and store.replies("a", 0) == [bare, bare]


def test_many_messages_are_read_by_their_identities(store: Store) -> None:
    made(store, "a", "b")
    identities = new_message_ids(1_101)
    store.create_branch("a", "c", "t", "m", 1.0,
                        [(identity, user_message(str(number)))
                         for number, identity in enumerate(identities)])
    found = store.some_messages([*identities, 5])
    assert sorted(int(entry.message.text) for entry in found) == list(range(1_101))
    assert [entry.parent for entry in store.load_messages("c")] == [0, *identities[:-1]]
    assert store.find_session("c").message_count == 1_101 and store.some_messages([]) == []


def test_the_newest_messages_that_match(store: Store) -> None:
    made(store, "a", "b")
    both = [add(store, session, "apple pie") for session in "ab"]
    other = add(store, "a", "apple", "assistant")
    hidden = add(store, "a", "apple cake")
    store.hide_messages("a", [hidden])
    every = {"apple": {*both, other}, "in:answer apple": {other}, "in:question apple": set(both),
             "in:branches apple": {*both, other, hidden}, '"apple pie"': set(both),
             "apple -pie": {other}, "appl*": {*both, other}, "appl": set(), "": set(),
             "pear": set(), "before:1970-01-02 apple": set(), "after:1970-01-02 pie": set(both)}
    for words, wanted in every.items():
        assert {identity for _, identity in store.find_messages(parse_query(words), 9)} == wanted, (
            words)
    assert [identity for _, identity in store.find_messages(parse_query("apple"), 2)] == [
        other, both[1]]
    store.shelve_session("b", "trash")
    assert store.find_messages(parse_query("pie"), 9) == [("a", both[0])]


def test_parts_stay_of_a_reply_that_is_not_finished(store: Store) -> None:
    """A reply that is still streaming keeps its frames in addition to the row."""
    from core.store.rows import Chunk
    made(store, "a")
    identity = new_message_id()
    store.add_message("a", identity, Message("assistant", (), None), "streaming",
                      first=Chunk("text", 0, "one"))
    store.append_chunk(identity, 1, Chunk("text", 0, " two", "{}"))
    store.finish_message(identity, Message("assistant", (ToolCall("1", "look", {}),), "m"),
                         "streaming")
    reply = store.open_reply("a")
    assert reply is not None and reply.model == "m"
    assert [(chunk.text, chunk.extra) for chunk in reply.chunks] == [("one", None), (" two", "{}")]


# ---- copies

def test_a_copy_has_the_states_and_times_of_what_it_copies(store: Store) -> None:
    made(store, "a")
    first, second = add(store, "a", "why?"), new_message_id()
    store.add_message("a", second, Message("assistant", (Text("be"),), "demo/m"), "interrupted")
    new = new_message_ids(2)
    for _ in range(2):
        store.copy_session("a", "b", "Copy", "demo/n", 9.0, list(zip((first, second), new)),
                           name="copy")
    row = store.find_session("copy")
    assert (row.id, row.title, row.model, row.parent, row.message_count) == (
        "b", "Copy", "demo/n", "a", 2)
    before, after = store.load_messages("a"), store.load_messages("b")
    assert [(entry.message, entry.state, entry.created) for entry in after] == [
        (entry.message, entry.state, entry.created) for entry in before]
    assert [(entry.id, entry.parent) for entry in after] == [(new[0], 0), (new[1], new[0])]
    assert store.find_messages(parse_query("why in:question"), 9) != []


def test_a_branch_has_the_name_that_it_is_given(store: Store) -> None:
    made(store, "a")
    store.create_branch("a", "b", "t", "m", 1.0, [], name="fork")
    store.create_branch("a", "c", "t", "m", 1.0, [])
    store.copy_session("a", "d", "t", "m", 1.0, [])
    assert {row.id: row.name for row in store.sessions()} == {
        "a": "a", "b": "fork", "c": "c", "d": "d"}


def test_an_imported_session_is_whole_and_stays_as_it_is_used(open_one: Open) -> None:
    store = open_one()
    row = SessionRow("s1", "name", "Title", "demo/m", 10.0, 20.0, 0, "s0", 1, "archived", "x y")
    first, second, third = new_message_ids(3)
    entries = [StoredMessage(first, user_message("why?"), "complete", True, 11.0, parent=0),
               StoredMessage(second, Message("assistant", (Text("no"),)), "failed", False, 12.0,
                             parent=first),
               StoredMessage(third, Message("assistant", (Text("so"),)), "complete", True, 13.0,
                             parent=first)]
    for _ in range(2):
        store.import_session(row, '{"system": "\ud800"}', entries)
    assert store.find_session("s1") == row._replace(message_count=2)
    assert store.session_settings("s1") == '{"system": "\ud800"}'
    assert [(entry.id, entry.state, entry.active, entry.created, entry.parent)
            for entry in store.load_messages("s1", hidden=True)] == [
        (first, "complete", True, 11.0, 0), (second, "failed", False, 12.0, first),
        (third, "complete", True, 13.0, first)]
    store.update_session("s1", tags="z", settings="{}")
    add(store, "s1", "more")
    store.import_session(row, '{"system": "other"}', entries)
    again = store.find_session("s1")
    assert (again.tags, again.message_count) == ("z", 3) and store.session_settings("s1") == ""
    assert again.updated > 20.0
