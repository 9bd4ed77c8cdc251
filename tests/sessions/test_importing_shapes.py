"""An invalid value in any field of an imported file loses only that field or its message."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.chat.kept import read_kept
from core.errors import UsageError
from core.session_manager import open_session
from core.sessions.export import session_pieces
from core.sessions.importing import Report, import_file
from core.sessions.listing import local_minutes, session_lines
from core.sessions.tree import Tree
from core.store.sqlite.store import SqliteStore

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1e300, float("nan"), float("inf"), float("-inf"), 10 ** 400,
    -10 ** 400, 10 ** 18, "", "x", "\x00", "\ud83d", "\x1b[31mX", "a\u202eb", "../../etc/x", "last",
    "1e999", "9" * 5000, [], [1], [[]], {}, {"a": 1}, [{"type": "text"}])
TRIES = 80       # in one run, of all places with all values


def identity(number: int) -> str:
    return f"{(1_700_000_000_000 << 80 | 0x7 << 76 | number << 64 | 2 << 62 | number):032x}"


def own_form(number: int = 0) -> dict[str, Any]:
    """A session in our format with every kind of part, different for each number."""
    first, second, third = (identity(4 * number + place) for place in (1, 2, 3))
    one = {"shown": True, "state": "complete", "created": 1.76e9}
    call = {"type": "tool_call", "id": "c", "name": "n", "arguments": {}}
    shown = {"name": "n", "origin": "o", "digest": "d", "stamp": 1, "lines": 3, "spans": [[1, 2]]}
    usage = {"input_tokens": 3, "output_tokens": 4, "cached_tokens": 1, "details": {"x": 1}}
    return {
        "format": "stream-chat-session", "version": 2, "id": f"01jds8c000000000000000{number:04}",
        "name": "20261101-0101-aaaa", "title": "t", "model": "demo/demo", "created": 1.76e9,
        "updated": 1.76e9, "parent": None, "pinned": False, "shelf": "open", "tags": ["a"],
        "settings": {"system": "s", "temperature": 0.5, "stop": ["x"], "tools": ["a"],
                     "attached": [{"kind": "file", "name": "n", "root": "/", "without": []}]},
        "messages": [
            {**one, "id": first, "parent": "0" * 32, "role": "user",
             "parts": [{"type": "text", "text": "hello"}]},
            {**one, "id": second, "parent": first, "role": "assistant", "model": "demo/demo",
             "finish": "stop", "usage": usage,
             "parts": [{"type": "thinking", "text": "hm"}, {"type": "text", "text": "yo"}, call]},
            {**one, "id": third, "parent": second, "role": "tool",
             "parts": [{"type": "tool_result", "id": "c", "name": "n", "content": "r",
                        "is_error": False},
                       {"type": "attached", "text": "a", "shown": [shown], "anew": False}]}]}


def chatgpt_form(number: int = 0) -> list[dict[str, Any]]:
    def said(role: str, text: str) -> dict[str, Any]:
        return {"author": {"role": role}, "create_time": 1.7e9, "recipient": "all",
                "content": {"content_type": "text", "parts": [text]}, "metadata": {}}
    return [{"id": f"a{number}", "title": "t", "create_time": 1.7e9, "update_time": 1.7e9,
             "current_node": "m2", "default_model_slug": "gpt", "is_archived": False,
             "mapping": {"m1": {"parent": None, "message": said("user", "hello")},
                         "m2": {"parent": "m1", "message": said("assistant", "yo")}}}]


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inside = (value.items() if isinstance(value, dict)
              else enumerate(value) if isinstance(value, list) else ())
    for name, inner in inside:
        yield (*at, name)
        yield from places(inner, (*at, name))


def replaced(form: Any, at: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(form)
    holder = changed
    for step in at[:-1]:
        holder = holder[step]
    holder[at[-1]] = value
    return changed


def imported(store: SqliteStore, path: Path, form: Any) -> Report | None:
    """None for a file that is rejected completely."""
    path.write_text(json.dumps(form), encoding="utf-8")
    try:
        return import_file(store, str(path))
    except UsageError:
        return None


def use_everything(store: SqliteStore, folder: Path) -> None:
    """List, open, follow and export the imported sessions."""
    assert len(session_lines(store)) == len(store.sessions())
    for row in store.sessions():
        session = open_session(store, str(folder / "spool"), name=row.id)
        assert len(session.messages) <= row.message_count + 1
        read_kept(session.settings)
        Tree(store.load_messages(row.id, hidden=True)).branches()
        for form in ("json", "markdown", "html", "csv"):
            assert "".join(session_pieces(store, row, form))
        session.close()


@pytest.mark.parametrize("form", [own_form, chatgpt_form])
def test_every_field_may_be_anything(form: Callable[[int], Any], tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    every = [(at, value) for at in places(form(0)) for value in ODD]
    store = SqliteStore(str(tmp_path / "s.db"))
    for number, (at, value) in enumerate(chance.sample(every, TRIES)):
        print(at, repr(value)[:60])
        imported(store, tmp_path / "file.json", replaced(form(number), at, value))
    assert len(store.sessions()) > TRIES / 2
    use_everything(store, tmp_path)
    store.close()


@pytest.mark.parametrize(("at", "value"), [
    (("created",), 1e300), (("updated",), float("inf")), (("messages", 1, "created"), 10 ** 400),
    (("messages", 1, "model"), [1]), (("messages", 1, "finish"), {"a": 1}), (("name",), "\ud83d"),
    (("messages", 1, "usage", "input_tokens"), -5), (("tags",), 7), (("parent",), "../x")],
    ids=range(9))
def test_a_field_that_makes_no_sense_costs_no_message(at: tuple[Any, ...], value: Any,
                                                      tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "s.db"))
    report = imported(store, tmp_path / "file.json", replaced(own_form(), at, value))
    assert report is not None and (report.added, report.messages) == (1, 3)
    use_everything(store, tmp_path)
    store.close()


@pytest.mark.parametrize("after", [1, 3])
def test_messages_in_a_circle_are_kept(after: int, tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "s.db"))
    form = replaced(own_form(), ("messages", 0, "parent"), identity(after))
    report = imported(store, tmp_path / "file.json", form)
    theirs = replaced(chatgpt_form(), (0, "mapping", "m1", "parent"), f"m{2 if after > 1 else 1}")
    assert report is not None and report.messages == 3
    report = imported(store, tmp_path / "theirs.json", theirs)
    assert report is not None and report.messages == 2
    use_everything(store, tmp_path)
    store.close()


def test_a_file_that_is_imported_again_leaves_what_was_decided(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "s.db"))
    imported(store, tmp_path / "file.json", own_form())
    row = store.sessions()[0]
    store.update_session(row.id, settings='{"system":"mine"}')
    imported(store, tmp_path / "file.json", own_form())
    assert store.session_settings(row.id) == '{"system":"mine"}'
    store.close()


def test_a_time_that_is_none_does_not_end_a_list() -> None:
    assert local_minutes([1e300, float("inf"), -1.0, float("nan")]) == ["?"] * 4


def claude_form(identities: list[str | None]) -> list[dict[str, Any]]:
    messages = [{**({} if identity is None else {"uuid": identity}),
                 "sender": ("human", "assistant")[place % 2],
                 "content": [{"type": "text", "text": f"text {place}"}]}
                for place, identity in enumerate(identities)]
    return [{"uuid": "c", "name": "n", "created_at": "2024-05-01T10:00:00Z",
             "chat_messages": messages}]


def librechat_form(identities: list[str | None]) -> dict[str, Any]:
    messages = [{**({} if identity is None else {"messageId": identity}),
                 "isCreatedByUser": place % 2 == 0, "text": f"text {place}"}
                for place, identity in enumerate(identities)]
    return {"conversationId": "c", "endpoint": "e", "title": "t", "exportAt": "10:00",
            "messages": messages}


@pytest.mark.parametrize("form", [claude_form, librechat_form])
@pytest.mark.parametrize("identities", [["a", "b", "a", "b"], ["a"] * 4, [None] * 4,
                                        ["a", None, "a", None]], ids=range(4))
def test_messages_that_share_an_identifier_are_all_kept(
        form: Callable[[list[str | None]], Any], identities: list[str | None],
        tmp_path: Path) -> None:
    """Imported twice, without times, they are added once."""
    store = SqliteStore(str(tmp_path / "s.db"))
    report = imported(store, tmp_path / "file.json", form(identities))
    assert report is not None and (report.added, report.messages) == (1, 4)
    report = imported(store, tmp_path / "file.json", form(identities))
    assert report is not None and (report.added, report.known, report.notes) == (0, 1, [])
    (row,) = store.sessions()
    said = [entry.message.text for entry in store.load_messages(row.id, hidden=True)]
    assert sorted(said) == [f"text {place}" for place in range(4)]
    use_everything(store, tmp_path)
    store.close()


def test_the_same_message_twice_is_one(tmp_path: Path) -> None:
    form = claude_form(["a", "b"])
    form[0]["chat_messages"] += copy.deepcopy(form[0]["chat_messages"])
    store = SqliteStore(str(tmp_path / "s.db"))
    report = imported(store, tmp_path / "file.json", form)
    assert report is not None and (report.messages, report.notes) == (2, [])
    store.close()


@pytest.mark.parametrize("value", ["words", 7, ["words"], True, {"other": "words"}])
@pytest.mark.parametrize(("form", "at"), [
    (chatgpt_form(), (0, "mapping", "m1", "message")),
    (claude_form(["a", "b"]), (0, "chat_messages", 0)),
    (librechat_form(["a", "b"]), ("messages", 0))], ids=["chatgpt", "claude", "librechat"])
def test_a_message_that_cannot_be_read_is_reported(form: Any, at: tuple[Any, ...], value: Any,
                                                   tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "s.db"))
    report = imported(store, tmp_path / "file.json", replaced(form, at, value))
    assert report is not None and report.messages == 1
    assert [note for note in report.notes if "cannot be read" in note], report.notes
    store.close()


def test_content_of_an_unknown_kind_is_reported(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "s.db"))
    content = {"content_type": "of_tomorrow", "said": "words"}
    at = (0, "mapping", "m1", "message", "content")
    report = imported(store, tmp_path / "file.json", replaced(chatgpt_form(), at, content))
    assert report is not None and report.notes == ["t: a part of the kind of_tomorrow was left out"]
    store.close()
