"""400 generated sessions with everything that is nasty in them go through every way out and in,
and every command; make prove ONLY=copies does it with 2,000 and more.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, cast

import pytest

from core.errors import UsageError
from core.messages import (
    Attached,
    Finish,
    Image,
    Message,
    Part,
    Role,
    Shown,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Usage,
)
from core.session_manager import Session, open_session
from core.sessions.export import EXPORTERS, export_many, export_session
from core.sessions.importing import import_file
from core.sessions.sharing import held_back
from core.sessions.listing import format_session_lines, list_sessions
from core.sessions.search import search
from core.sessions.shelves import find_in_trash
from core.setup.database_care import move, open_care
from core.store.identity import new_message_id, new_session_id
from core.store.rows import SessionRow, StoredMessage
from db import Store, open_store
from tests import postgres

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.store.rows import Shelf, State

COUNT = int(os.environ.get("STREAM_CHAT_TEST_NASTY", "") or 400)
PIECES = (
    "",
    " ",
    "\n",
    "\r\n",
    "\0",
    "\x1a",
    "\x1aD800",
    "\x1a\x1a",
    "\ud800",
    "\udfff",
    "\ud83d\ude00",
    "\ude00\ud83d",
    "\U0001f600",
    "\ufeff",
    "\ufffe",
    "\uffff",
    "\U0010ffff",
    "\u2028",
    "\u202e\u2066",
    "\u200d",
    "e\u0301",
    "\u4e2d\u6587",
    "\uac00",
    "\u0e01\u0e33",
    "```\n",
    "````python\n",
    "</script><script>alert(1)</script>",
    "<!--",
    "]]>",
    "&amp;",
    "' OR 1=1 --",
    '"',
    "\\",
    "\\u0000",
    "$1",
    "%s",
    "{}",
    "=cmd|' /C calc'!A0",
    "+1",
    "@SUM(A1)",
    "\t",
    "\x1b[31mred\x1b]0;title\x07",
    "\x9b2J",
    "# head",
    "- [ ] x",
    "| a | b |",
    "NEAR(",
    "*",
    "AND OR NOT",
    "C++",
    "/etc/passwd",
    "a" * 300,
    "word ",
    "x" * 5000,
    "\u00e9\u00df\u0130\u0131",
    "3.11",
    "a" * 70_000,
)
STATES: tuple[State, ...] = ("complete", "interrupted", "truncated", "failed")
SHELVES: tuple[Shelf, ...] = ("open", "open", "open", "archived", "trash")


def whole(text: str) -> str:
    """Without adjacent halves of a character, which JSON joins in names and titles."""
    return re.sub("[\ud800-\udbff]+[\udc00-\udfff]+", "", text)


class Maker:
    """Generates sessions from a seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def text(self) -> str:
        return ("".join(self.chance.choices(PIECES[:-1], k=self.chance.choice((0, 1, 1, 2, 3, 8))))
                or (
            PIECES[-1] if self.chance.random() < 0.01 else ""
        ))

    def extra(self) -> dict[str, Any] | None:
        return (
            {"anthropic": {"signature": self.text(), "n": [1, None, 2.5, {}]}}
            if self.chance.random() < 0.2
            else None
        )

    def value(self) -> Any:
        return self.chance.choice(
            (None, True, 0, -1, 2**70, 1e300, -0.0, self.text(), [], {}, [[self.text()]],
             {self.text(): 1})
        )

    def part(self) -> Part:
        chance = self.chance
        match chance.randrange(7):
            case 0 | 1:
                return Text(self.text(), self.extra())
            case 2:
                return Thinking(self.text(), self.extra())
            case 3:
                broken = self.text() if chance.random() < 0.2 else None
                return ToolCall(
                    self.text(),
                    self.text(),
                    {} if broken is not None else {self.text(): self.value()},
                    broken,
                    self.extra(),
                )
            case 4:
                return ToolResult(self.text(), self.text(), self.text(), chance.random() < 0.5)
            case 5:
                return Image("image/png", "AAAA", self.text())
        shown = Shown(self.text(), self.text(), "d" * 8, chance.randrange(1 << 62), 9,
                      ((1, 2), (5, 9)), chance.choice(((), ((4, 10, 90),))))
        return Attached(self.text(), (shown,), chance.random() < 0.5)

    def message(self) -> Message:
        chance = self.chance
        usage = (
            Usage(chance.choice((None, 0, 7)), 3, None, {"seconds": 0.5, self.text(): self.value()})
            if chance.random() < 0.3
            else None
        )
        finish = chance.choice((None, "stop", "length", "interrupted", "error",
                                "of a newer version"))
        return Message(
            cast(Role, chance.choice(("system", "user", "user", "assistant", "assistant", "tool"))),
            tuple(self.part() for _ in range(chance.choice((0, 1, 1, 1, 2, 5)))),
            chance.choice((None, "demo/x", self.text())),
            usage,
            cast(Finish | None, finish),
        )

    def session(self, number: int) -> tuple[SessionRow, str, list[StoredMessage]]:
        """With branches: each message hangs under any earlier one, and one path is shown."""
        chance = self.chance
        messages: list[StoredMessage] = []
        for _ in range(chance.choice((0, 1, 2, 5, 9))):
            parent = (
                chance.choice([0, *[entry.id for entry in messages[-3:]]])
                if chance.random() < 0.3
                else messages[-1].id if messages else 0
            )
            messages.append(
                StoredMessage(
                    new_message_id(),
                    self.message(),
                    chance.choice(STATES),
                    False,
                    chance.choice((0.0, 1e9 + number, 4e9, 1.5)),
                    "",
                    parent,
                )
            )
        by_id = {entry.id: entry for entry in messages}
        at = messages[-1].id if messages else 0
        while at:
            by_id[at].active = True
            at = by_id[at].parent or 0
        title = " ".join(whole(self.text()).split()) or "(no text)"
        row = SessionRow(
            new_session_id(),
            f"n-{number}",
            title,
            chance.choice(("demo/x", "", whole(self.text()))),
            1e9 + number,
            2e9 + number,
            0,
            None,
            chance.randrange(2),
            chance.choice(SHELVES),
            chance.choice(("", "a", "a b")),
        )
        return row, chance.choice(("", '{"system": "s"}', '{"x": "\\u0000"}')), messages


@pytest.fixture(scope="module")
def seed() -> int:
    made = int(os.environ.get("STREAM_CHAT_TEST_SEED") or random.randrange(1 << 32))
    return made


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """In memory where that is possible: hundreds of durable writes are not what is tested."""
    made = tempfile.mkdtemp(
        prefix="stream-chat-nasty-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None
    )
    yield Path(made)
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def place(scratch: Path, seed: int) -> str:
    path, maker = str(scratch / "all.db"), Maker(seed)
    with closing(open_store(path)) as store:
        for number in range(COUNT):
            store.import_session(*maker.session(number))
    return path


@pytest.fixture(autouse=True)
def tell(seed: int) -> None:
    print("STREAM_CHAT_TEST_SEED", seed)


def everything(store: Store) -> list[SessionRow]:
    shelves: tuple[Shelf, ...] = ("open", "archived", "trash")
    return sorted((row for shelf in shelves for row in store.sessions(shelf=shelf)),
                  key=lambda row: row.id)


def as_imported(found: dict[str, Any]) -> dict[str, Any]:
    """The same, with settings that need approval under `offered`."""
    return {name: (row, held_back(settings), messages)
            for name, (row, settings, messages) in found.items()}


def held(store: Store) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for row in everything(store):
        messages = [
            (
                entry.id,
                entry.parent,
                entry.message,
                entry.state,
                entry.active,
                entry.created,
                entry.unreadable,
            )
            for entry in store.load_messages(row.id, hidden=True)
        ]
        found[row.id] = row, store.session_settings(row.id), messages
    return found


def without_empty(found: dict[str, Any]) -> dict[str, Any]:
    """A session without messages is not imported, which is reported."""
    return {session: value for session, value in found.items() if value[2]}


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for session, value in one.items():
        assert other[session] == value, session


def test_as_one_file_of_lines(place: str, scratch: Path) -> None:
    path = str(scratch / "all.jsonl")
    with (closing(open_store(place)) as store,
          closing(open_store(str(scratch / "lines.db"))) as target):
        before = held(store)
        export_many(store, everything(store), "jsonl", path)
        first = import_file(target, path)
        again = import_file(target, path)
        wanted = without_empty(before)
        assert first.added == len(wanted) and again.added == 0 and again.known == len(wanted)
        assert not [note for note in first.notes if "no messages" not in note]
        assert_same(as_imported(wanted), held(target))
    os.unlink(path)
    print(f"\ncounted: {COUNT} sessions")


def test_each_as_a_file_of_its_own(place: str, scratch: Path) -> None:
    with (closing(open_store(place)) as store,
          closing(open_store(str(scratch / "files.db"))) as target):
        before = without_empty(held(store))
        for session in list(before)[:300]:
            path = str(scratch / "one.json")
            export_session(store, session, "json", path)
            assert import_file(target, path).notes == []
        assert_same(as_imported(dict(list(before.items())[:300])), held(target))


def test_through_a_backup_and_a_repair(place: str, scratch: Path) -> None:
    copy = str(scratch / "copy.db")
    open_care(place).backup(copy)
    with closing(open_store(place)) as store, closing(open_store(copy)) as target:
        before = held(store)
        assert_same(before, held(target))
    with open(copy, "r+b") as file:
        file.write(bytes(100))
    assert "Recovered" in open_care(copy).repair()[0]
    with closing(open_store(copy)) as target:
        assert_same(before, held(target))
    assert ([problem for problem in open_care(copy).check().problems
             if problem.kind != "unreadable"] == [])


def test_through_the_other_database(place: str, scratch: Path, postgres_url: str) -> None:
    url, back = postgres.new_database(postgres_url), str(scratch / "back.db")
    move(place, url)
    with closing(open_store(place)) as store, closing(open_store(url)) as target:
        before = held(store)
        assert_same(before, held(target))
    move(url, back)
    with closing(open_store(back)) as target:
        assert_same(before, held(target))


def test_every_format_writes_every_session(place: str, scratch: Path) -> None:
    with closing(open_store(place)) as store:
        for format in EXPORTERS:
            for row in everything(store)[:400]:
                pieces: list[str] = []
                export_session(store, row.id, format, "-", write=pieces.append)
                text = "".join(pieces)
                text.encode()
                if format == "html":
                    assert "<script" not in text.lower()
                if format == "sql" and len(text) < 100_000:
                    with closing(sqlite3.connect(":memory:")) as connection:
                        connection.executescript(text)


def test_lists_are_safe_and_searches_find(place: str) -> None:
    control = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
    with closing(open_store(place)) as store:
        lines = format_session_lines(list_sessions(store))
        assert not any(control.search(line) for line in lines)
        for piece in PIECES:
            with suppress(UsageError):  # a filter that is written wrongly
                for found in search(store, piece[:80]):
                    assert found.session.id
                store.sessions(20, piece[:80])
        assert search(store, "C++") and search(store, "\u4e2d\u6587") and search(store,
                                                                                 "/etc/passwd")


def test_every_change_of_every_kind_of_session(place: str, scratch: Path) -> None:
    copy = str(scratch / "changed.db")
    open_care(place).backup(copy)
    begun = time.monotonic()
    with closing(open_store(copy)) as store:
        for row in everything(store)[:500]:
            if row.shelf == "trash":
                assert find_in_trash(store, row.name).id == row.id
                store.shelve_session(row.id, "open")
            change(open_session(store, str(scratch / "spool"), name=row.id), store)
            messages = store.load_messages(row.id, hidden=True)
            assert len({entry.id for entry in messages}) == len(messages)
    print(f"{time.monotonic() - begun:.0f} s")
    assert ([problem for problem in open_care(copy).check().problems
             if problem.kind != "unreadable"] == [])


def change(session: Session, store: Store) -> None:
    before = len(store.load_messages(session.id, hidden=True))
    for act in (session.undo, session.redo, session.retry,
                lambda: session.rewind(session.question_place())):
        with suppress(UsageError):
            act()
    branches = session.branches()
    for branch in branches:
        session.show(branch.end)
    fork = session.fork(len(session.messages))
    assert fork.messages == session.messages
    session.set_title("another")
    assert len(store.load_messages(session.id, hidden=True)) == before
    fork.close()
    session.close()
