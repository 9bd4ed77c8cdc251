"""A long session is opened with its newest messages only; everything works as if all were loaded.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.chat.conversation import Chat
from core.config import Settings
from core.dataclass import replace
from core.errors import ChatError
from core.events import Notice
from core.messages import (
    Attached,
    Image,
    Message,
    Part,
    Text,
    ToolCall,
    ToolResult,
    Usage,
    tool_message,
    user_message,
)
from core.model_manager import Providers, parse_target
from core.session_manager import Session, open_session
from core.sessions.summary import pin
from core.store.identity import new_message_ids
from core.store.rows import SessionRow, StoredMessage
from core.window.compaction import Plan
from db import Store, open_store
from tests import postgres
from tests.fake_server import (
    Answer,
    FakeOllama,
    Received,
    chat_line,
    done_line,
    json_answer,
    lines_answer,
)
from tests.pseudo_terminal import Terminal

WORDS = "several ordinary words stand here so that something is said about it all " * 4
Open = Callable[[], Store]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.processes)])
def open_one(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same, at first empty, database each time."""
    opened: list[Store] = []
    url = (
        str(tmp_path / "s.db")
        if request.param == "sqlite"
        else postgres.new_database(request.getfixturevalue("postgres_url"))
    )

    def open_it() -> Store:
        opened.append(open_store(url))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


def turns(count: int, dice: random.Random) -> list[Message]:
    """Some with a tool's call and result; each of 300 to 1,200 characters."""
    said: list[Message] = []
    for number in range(count):
        said.append(user_message(f"question {number}: " + WORDS * dice.randrange(1, 5)))
        if dice.random() < 0.2:
            said += called(number, WORDS)
        said.append(reply(f"reply {number}: " + WORDS * dice.randrange(1, 5)))
    return said


def reply(text: str) -> Message:
    return Message("assistant", (Text(text),), "ollama/m", None, "stop")


def called(number: int, result: str) -> tuple[Message, Message]:
    """A tool call and its result."""
    call = Message(
        "assistant", (ToolCall(f"c{number}", "look", {}),), "ollama/m", None, "tool_calls"
    )
    return call, tool_message((ToolResult(f"c{number}", "look", result),))


def keep(
    store: Store, name: str, said: list[Message], hidden: frozenset[int] = frozenset()
) -> None:
    """Store a conversation in which these places are not shown."""
    identities, entries, parent = new_message_ids(len(said)), [], 0
    for place, (identity, message) in enumerate(zip(identities, said)):
        shown = place not in hidden
        entries.append(StoredMessage(identity, message, "complete", shown, time.time(), "", parent))
        parent = identity if shown else parent
    now = time.time()
    store.import_session(
        SessionRow(name, name, "long", "ollama/m", now, now, len(said)), "", entries
    )


def texts(session: Session) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in session.messages]


def opened(store: Store, name: str = "long") -> Session:
    session = open_session(store, name=name)
    assert session.waiting > 100 and session.recent[0].role == "user"
    return session


def test_the_newest_are_loaded_and_the_others_when_they_are_looked_at(open_one: Open) -> None:
    store, said = open_one(), turns(200, random.Random(1))
    hidden = frozenset({1, 2, 500, len(said) - 1})
    keep(store, "long", said, hidden)
    whole = [message for place, message in enumerate(said) if place not in hidden]
    session = opened(store)
    recent, waiting = session.recent, session.waiting
    assert waiting + len(recent) == len(whole) and list(recent) == whole[waiting:]
    before = session.before(recent[0])
    assert list(before) == whole[
        waiting - len(before):waiting
    ] and session.waiting == waiting - len(before)
    assert session.messages == whole and session.waiting == 0
    assert list(session.ids) == [entry.id for entry in store.load_messages("long")]
    assert session.before(session.messages[0]) == ()


def test_a_fork_loads_nothing_and_has_everything(open_one: Open) -> None:
    store, said = open_one(), turns(200, random.Random(11))
    keep(store, "long", said, frozenset({3}))
    session = opened(store)
    waiting = session.waiting
    fork = session.fork(session.exchange_end(None))
    assert session.waiting == waiting == fork.waiting and fork.recent == session.recent
    assert fork.messages == session.messages and fork.count == len(said) - 1
    assert not set(fork.ids) & set(session.ids)
    part = opened(store).fork(7)
    assert part.messages == session.messages[:7]
    fork.add_user(user_message("only here"))
    fork.close()
    part.close()
    assert session.look() is None and "only here" not in session.messages[-1].text
    again = open_session(store, name=fork.id)
    assert [text for _, text in texts(again)] == [
        *(message.text for message in session.messages), "only here"]


def test_a_short_session_is_loaded_whole(open_one: Open) -> None:
    store, said = open_one(), turns(20, random.Random(2))
    keep(store, "short", said)
    session = open_session(store, name="short")
    assert session.waiting == 0 and list(session.recent) == said


def test_one_turn_of_many_messages_is_loaded_whole(open_one: Open) -> None:
    said = [user_message("go")]
    for number in range(80):
        said += called(number, WORDS * 3)
    store = open_one()
    keep(store, "one", said)
    assert list(open_session(store, name="one").recent) == said


def change(session: Session, act: str, place: int) -> object:
    """Run one command, and answer it if it asks a question."""
    match act:
        case "undo" | "retry":
            getattr(session, act)()
            session.add_user(user_message("again"))
            return session.add_reply(reply("anew"))
        case "redo":
            session.undo()
            return session.redo()
        case "rewind":
            return session.rewind(session.question_place(4))
        case "fork":
            return session.fork(place).messages
        case "branch":
            return session.branch("b", "ollama/m", place).messages
        case "pin":
            return session.pin(place)
        case "compact":
            hidden = tuple(range(session.question_place(5)))
            session.compact(
                Plan(hidden, 10, tuple(session.messages[: len(hidden)])), reply("short")
            )
            return None
        case "uncompact":
            change(session, "compact", place)
            return session.uncompact()
        case "switch":
            session.rewind(session.question_place(3))
            return session.show(session.branches()[0].end)
    raise AssertionError(act)


ACTS = "undo retry redo rewind fork branch pin compact uncompact switch".split()


@pytest.mark.parametrize("act", ACTS)
def test_a_change_of_a_session_is_the_same_when_not_all_was_loaded(
    open_one: Open, act: str
) -> None:
    store, said = open_one(), turns(200, random.Random(act))
    place = [at for at, message in enumerate(said) if message.role == "user"][3]
    for name in ("long", "whole"):
        keep(store, name, said)
    part, whole = opened(store), opened(store, "whole")
    assert whole.messages == said
    answers = [change(session, act, place) for session in (part, whole)]
    assert answers[0] == answers[1] and texts(part) == texts(whole)
    stored = [
        [(entry.message.text, entry.active) for entry in store.load_messages(name, hidden=True)]
        for name in ("long", "whole")
    ]
    assert stored[0] == stored[1]
    tree = part.tree()
    assert [tree.entries[identity].message.text for identity in tree.path(tree.end)][:1] == [
        said[0].text
    ] or act == "compact"


@pytest.mark.parametrize("act", ["add", "undo", "rewind", "compact"])
def test_what_another_program_does_is_taken_in(open_one: Open, act: str) -> None:
    store, said = open_one(), turns(200, random.Random(3))
    keep(store, "long", said)
    mine, other = opened(store), opened(open_one())
    if act == "add":
        other.add_user(user_message("from elsewhere"))
        other.add_reply(reply("heard"))
        other.end_turn()
    else:
        change(other, act, 6)
        other.end_turn()
    news = mine.look()
    assert news is not None and news.changed == (act != "add")
    if act == "add":
        assert [message.text for message in news.messages] == ["from elsewhere", "heard"]
    assert texts(mine) == texts(other) and mine.look() is None


def test_what_a_store_lost_is_written_whole(tmp_path: Path) -> None:
    path, said = str(tmp_path / "s.db"), turns(200, random.Random(4))
    store = open_store(path)
    keep(store, "long", said)
    session = open_session(store, str(tmp_path / "spool"), name="long")
    assert session.waiting
    for end in ("", "-wal", "-shm"):
        os.remove(path + end)
    session.add_user(user_message("still here?"))
    session.end_turn()
    session.add_reply(reply("yes"))
    session.close()
    again = open_store(path)
    expected = [*(message.text for message in said), "still here?", "yes"]
    assert [entry.message.text for entry in again.load_messages("long")] == expected
    store.close()
    again.close()


def test_what_was_deleted_meanwhile_is_reported(open_one: Open) -> None:
    store, said = open_one(), turns(200, random.Random(5))
    keep(store, "long", said)
    session = opened(store)
    waiting, recent = session.waiting, session.recent
    open_one().delete_session("long")
    assert tuple(session.messages) == recent
    assert any(
        f"The first {waiting:,} messages" in text and "not stored any more" in text
        for text in session.take_news()
    )


def test_an_earlier_message_that_cannot_be_read_is_reported_when_it_is_loaded(
    open_one: Open,
) -> None:
    store, said = open_one(), turns(200, random.Random(6))
    keep(store, "long", said)
    first = store.load_messages("long")[0].id
    from core.store.database import Statement

    database: Any = store
    database.database.write(
        [
            Statement(
                "UPDATE messages SET parts = '{damaged' WHERE id = ?",
                (database.database.key(first),),
            )
        ]
    )
    session = opened(store)
    assert session.take_news() == []
    assert session.messages == said[1:]
    assert "1 message of this session cannot be read" in session.take_news()[0]


def test_a_store_that_fails_meanwhile_ends_no_turn(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "s.db"))
    keep(store, "long", turns(200, random.Random(7)))
    session = opened(store)
    store.close()
    assert session.before(session.recent[0]) == ()
    assert "are not sent, because they cannot be loaded" in session.take_news()[0]


@pytest.mark.parametrize("kept", [0, 30])
def test_what_is_shown_of_a_whole_conversation_loads_none_of_it(open_one: Open, kept: int) -> None:
    """How long it is, what its replies used, and its newest messages."""
    store, said = open_one(), turns(200, random.Random(8))
    said = [
        replace(message, usage=Usage(place, 2)) if message.role == "assistant" else message
        for place, message in enumerate(said)
    ]
    keep(store, "long", said)
    session = opened(store)
    waiting = session.waiting
    for _ in range(kept):
        session.add_user(user_message("more"))
        session.add_reply(reply("and more"))
    session.end_turn()
    replies = [message for message in session.recent if message.role == "assistant"]
    wanted = [message for message in said[:waiting] if message.role == "assistant"]
    assert session.count == len(said) + 2 * kept
    assert [(message.model, message.usage, message.finish) for message in session.replies] == [
        (message.model, message.usage, message.finish) for message in (*wanted, *replies)
    ]
    assert session.newest(10) == list(session.recent[-10:]) and session.waiting == waiting
    whole = session.newest(len(said) - 5 + 2 * kept)
    assert session.waiting == 0 and whole[: len(said) - 5] == said[5:]
    replies = [message for message in session.messages if message.role == "assistant"]
    assert session.replies == replies


def test_replies_that_cannot_be_read_are_missing(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "s.db"))
    keep(store, "long", turns(200, random.Random(9)))
    session = opened(store)
    store.close()
    replies = [message for message in session.recent if message.role == "assistant"]
    assert session.replies == replies
    assert session.count == session.waiting + len(session.recent)


def test_a_chat_in_a_terminal_starts_with_the_newest_messages(
    program: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    """A damaged earlier message is found only when it is read."""
    path = str(tmp_path / "s.db")
    with closing(open_store(path)) as store:
        said = turns(200, random.Random(10))
        keep(store, "long", said)
        first = store.load_messages("long")[0].id
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE messages SET parts = '{' WHERE id = ?", (f"{first:032x}",))
        connection.commit()
    command = [*program, "-p", "demo", "--database-url", path, "--session", "long"]
    with Terminal(command, environment | {"STREAM_CHAT_STATUS": "on"}) as chat:
        chat.wait_prompt()
        assert f"Resumed: long, {len(said)} messages." in chat.text()
        chat.ask("hello", "You said: hello")
        chat.ask("/history 2", "You said: hello", 2)
        assert "cannot be read" not in chat.text()


# ---- what is sent


class Windowed(FakeOllama):
    """Reports its window (0: unknown) and rejects more than `most` characters."""

    window, most = 4_096, 1 << 40

    def _route(self, request: Received) -> Answer:
        if request.path == "/api/ps":
            loaded = [
                {
                    "name": name,
                    "model": name,
                    **({"context_length": self.window} if self.window else {}),
                }
                for name in self.models
            ]
            return json_answer({"models": loaded})
        return super()._route(request)

    def _chat(self, body: Any) -> Answer:
        if sum(len(message["content"]) for message in body["messages"]) > self.most:
            return json_answer({"error": "the input length exceeds the context length"}, 400)
        return lines_answer([chat_line(body["model"], "fine"), done_line(body["model"])])

    def sent(self) -> list[Any]:
        found = [
            request.json["messages"] for request in self.requests if request.path == "/api/chat"
        ]
        self.requests.clear()
        return [messages for messages in found if messages]


SPECIAL: dict[str, Part] = {
    "attached": Attached("what was attached"),
    "image": Image("image/png", "AAAA", "a.png"),
}


WINDOWS = [(2_048, 0), (4_096, 0), (32_768, 0), (1 << 20, 0), (0, 0), (65_536, 9_000), (0, 9_000)]


@pytest.mark.parametrize(
    "window,most,special",
    [
        *((*each, "") for each in WINDOWS),
        *((4_096, 0, special) for special in ("pinned", "attached", "image")),
    ],
)
def test_the_same_is_sent_when_not_all_was_loaded(
    tmp_path: Path, window: int, most: int, special: str
) -> None:
    """The same is reported, also for a second question and after a rejection."""
    said = turns(200, random.Random(window + most))
    if special == "pinned":
        said[0] = pin(said[0])
    elif special:
        said[0] = Message("user", (SPECIAL[special], *said[0].parts))
    with Windowed(models=("m",)) as server:
        server.window, server.most = window, most or server.most
        found = [
            asyncio.run(asked(server, str(tmp_path / f"{whole}.db"), said, whole=whole))
            for whole in (False, True)
        ]
    (part, part_notices), (all_of_it, notices) = found
    assert part_notices == notices
    assert part == all_of_it and len(part) >= 2


async def asked(
    server: Windowed, path: str, said: list[Message], *, whole: bool
) -> tuple[list[Any], list[str]]:
    store = open_store(path)
    keep(store, "long", said)
    session = open_session(store, name="long")
    assert not whole or len(session.messages) == len(said)
    settings = Settings(
        {"model": "ollama/m", "ollama_host": server.url, "retry_initial_delay": 0.0, "save": False}
    )
    chat = Chat(
        settings,
        session,
        Providers(settings),
        parse_target("ollama/m"),
        open_session=lambda name: Session(store),
    )
    notices = []
    for question in ("first", "second"):
        try:
            events = [event async for event in chat.turn(user_message(question))]
            notices += [event.text for event in events if isinstance(event, Notice)]
        except ChatError as error:
            notices.append(error.message)
    assert [message.text for message in session.messages[: len(said)]] == [
        message.text for message in said
    ]
    await chat.close()
    store.close()
    return server.sent(), notices
