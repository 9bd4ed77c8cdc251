"""Two programs in one session: nothing is lost or repeated, and no reply is mixed up, whatever they
do and whenever one is killed.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncGenerator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from core.errors import UsageError
from core.events import Event, MessageAdded, OthersSaid, TextDelta
from core.messages import Message, Text, user_message
from core.session_manager import Session, open_session
from core.sessions.tree import Tree
from core.store.sqlite.store import SqliteStore
from db import Store, open_store
from tests import postgres

STEPS = 2_000


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.processes)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "s.db")
    else:
        yield postgres.new_database(request.getfixturevalue("postgres_url"))


async def answer(question: str) -> AsyncGenerator[Event, None]:
    yield TextDelta("re: ")
    yield TextDelta(question)
    yield MessageAdded(Message("assistant", (Text(f"re: {question}"),), "demo/x", None, "stop"))


async def exchange(session: Session, text: str) -> AsyncGenerator[Event, None]:
    """A turn, as a chat drives it."""
    try:
        async for notice in session.begin_turn():
            yield notice
        session.add_user(user_message(text))
        yield MessageAdded(user_message(text))
        async for event in session.record(answer(text)):
            yield event
    finally:
        session.end_turn()


def ask(session: Session, text: str) -> list[Event]:
    async def run() -> list[Event]:
        return [event async for event in exchange(session, text)]
    return asyncio.run(run())


def texts(session: Session) -> list[str]:
    return [message.text for message in session.messages]


class Writer:
    """A program with the session open. It can die at any moment and start again."""

    def __init__(self, place: str, name: str, spool: str) -> None:
        self._place, self._name, self._spool = place, name, spool
        self.turn: AsyncGenerator[Event, None] | None = None
        # kept, because closing them would still write something
        self._dead: list[AsyncGenerator[Event, None]] = []
        self.open(new=True)

    def open(self, *, new: bool = False) -> None:
        self.store: Store = open_store(self._place)
        self.session = (Session(self.store, self._spool) if new
                        else open_session(self.store, self._spool, name=self._name))

    def die(self) -> None:
        """As with kill -9: the database releases the locks, and the session does not close
        anything.
        """
        self.store.close()
        if self.turn is not None:
            self._dead.append(self.turn)
            self.turn = None
        self.open()


class World:
    """The two writers, and the expected texts."""

    def __init__(self, place: str, tmp_path: Path, seed: int) -> None:
        self.random = random.Random(seed)
        with_first = open_store(place)
        first = Session(with_first, str(tmp_path / "spool"))
        ask(first, "q0")
        self.id = first.id
        first.close()
        with_first.close()
        self.reader = open_store(place)
        self.said = {"q0", "re: q0"}
        self.writers = [Writer(place, self.id, str(tmp_path / f"spool{number}"))
                        for number in (1, 2)]
        for writer in self.writers:
            writer.store.close()
            writer.open()
        self.count = 0

    async def step(self) -> None:
        writer = self.random.choice(self.writers)
        if writer.turn is not None:
            if self.random.random() < 0.03:
                writer.die()
            else:
                await self.advance(writer)
            return
        act = self.random.choices([self.begin, self.undo, self.redo, self.edit, self.retry,
                                   self.switch, self.look, Writer.die],
                                  [8, 2, 2, 2, 2, 1, 4, 1])[0]
        try:
            act(writer)
        except UsageError:
            pass    # another's turn, or another's news: nothing was changed

    def begin(self, writer: Writer) -> None:
        self.count += 1
        writer.turn = exchange(writer.session, f"q{self.count}")

    async def advance(self, writer: Writer) -> None:
        """Advance by one event; a writer that waits for the other one keeps waiting."""
        assert writer.turn is not None
        step = asyncio.ensure_future(anext(writer.turn, None))
        done, _ = await asyncio.wait({step}, timeout=0.001 if self.others_turn(writer) else None)
        if not done:
            step.cancel()
            await asyncio.wait({step})
            writer.turn = None
            return
        event = step.result()
        if event is None:
            writer.turn = None
        if isinstance(event, MessageAdded):
            self.said.add(event.message.text)

    def others_turn(self, writer: Writer) -> bool:
        return any(other.turn is not None for other in self.writers if other is not writer)

    def undo(self, writer: Writer) -> None:
        writer.session.undo()

    def redo(self, writer: Writer) -> None:
        writer.session.redo()

    def edit(self, writer: Writer) -> None:
        session = writer.session
        session.rewind(
            session.question_place(self.random.randint(1, max(1, len(session.messages) // 2))))
        self.begin(writer)

    def retry(self, writer: Writer) -> None:
        writer.session.retry()

    def switch(self, writer: Writer) -> None:
        branches = writer.session.branches()
        if branches:
            writer.session.show(self.random.choice(branches).end)

    def look(self, writer: Writer) -> None:
        writer.session.look()
        if not self.others_turn(writer):
            shown = [entry.message.text for entry in self.reader.load_messages(self.id)
                     if entry.state != "streaming"]
            assert texts(writer.session) == shown

    def check(self) -> None:
        entries = self.reader.load_messages(self.id, hidden=True)
        tree = Tree(entries)
        whole = [entry.message.text for entry in entries if entry.state == "complete"]
        assert len(whole) == len(set(whole)), "something was doubled"
        assert self.said <= set(whole), "something was lost"
        for entry in entries:
            if entry.message.role == "assistant" and entry.state == "complete":
                question = tree.entries[entry.parent or 0].message.text
                assert entry.message.text == f"re: {question}", ("an answer stands after another "
                                                                 "question")
        last = 0
        for entry in (entry for entry in entries if entry.active):
            assert entry.parent == last, "the shown branch is not one path"
            last = entry.id


def test_two_writers_lose_nothing(place: str, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    world = World(place, tmp_path, seed)

    async def live() -> None:
        for step in range(STEPS):
            await world.step()
            if step % 20 == 0:
                world.check()
        world.check()
    asyncio.run(live())
    assert world.count > STEPS // 20
    for writer in world.writers:
        writer.store.close()
    world.reader.close()


def two(place: str, tmp_path: Path) -> tuple[Session, Session]:
    first = Session(open_store(place), str(tmp_path / "one"))
    ask(first, "one")
    return first, open_session(open_store(place), str(tmp_path / "two"), newest=True)


def close(*sessions: Session) -> None:
    for session in sessions:
        store = session.store
        session.close()
        if store is not None:
            store.close()


def test_a_look_shows_what_the_other_wrote_once(place: str, tmp_path: Path) -> None:
    first, second = two(place, tmp_path)
    assert second.look() is None
    ask(first, "two")
    others = second.look()
    assert (others is not None and [message.text for message in others.messages]
            == ["two", "re: two"] and not others.changed)
    assert second.look() is None and texts(second) == texts(first)
    first.undo()
    others = second.look()
    assert (others is not None and others.changed
            and [message.text for message in others.messages] == ["one", "re: one"])
    close(first, second)


def test_a_question_is_seen_before_its_answer(place: str, tmp_path: Path) -> None:
    first, second = two(place, tmp_path)

    async def run() -> None:
        turn = exchange(first, "two")
        await anext(turn)
        await anext(turn)
        others = second.look()
        assert others is not None and [message.text for message in others.messages] == ["two"]
        assert second.look() is None
        async for _ in turn:
            pass
        others = second.look()
        assert others is not None and [message.text for message in others.messages] == ["re: two"]
    asyncio.run(run())
    close(first, second)


def test_a_change_of_what_was_not_seen_is_refused(place: str, tmp_path: Path) -> None:
    """Undoing the last exchange must not undo another one that the other program has just added."""
    first, second = two(place, tmp_path)
    ask(first, "two")
    with pytest.raises(UsageError, match="just written"):
        second.undo()
    others = second.look()
    assert others is not None and len(others.messages) == 2
    assert second.undo().text == "two"
    assert texts(second) == ["one", "re: one"]
    close(first, second)


def test_a_deleted_session_is_not_forgotten_by_a_look(place: str, tmp_path: Path) -> None:
    first, second = two(place, tmp_path)
    store = first.store
    assert store is not None
    store.delete_session(first.id)
    assert second.look() is None and texts(second) == ["one", "re: one"]
    close(first, second)


def test_a_turn_says_what_others_wrote_before_it(place: str, tmp_path: Path) -> None:
    first, second = two(place, tmp_path)
    ask(first, "two")
    events = ask(second, "three")
    assert [event.text for event in events if isinstance(event, OthersSaid)] == [
        "Another program added 2 messages to this conversation."]
    assert texts(second) == ["one", "re: one", "two", "re: two", "three", "re: three"]
    close(first, second)


@pytest.mark.parametrize("waiting", [False, True], ids=["nothing waits", "a reply waits"])
@pytest.mark.parametrize("how", ["look", "close"])
def test_a_turn_that_ended_while_the_database_was_locked_is_given_back(
        how: str, waiting: bool, tmp_path: Path) -> None:
    """The program stays at its prompt, and others must not wait for it."""
    path = str(tmp_path / "s.db")
    with closing(SqliteStore(path, busy_seconds=0.01)) as store, closing(open_store(path)) as other:
        session = Session(store, str(tmp_path / "spool"))
        ask(session, "one")
        with closing(sqlite3.connect(path, isolation_level=None)) as program:
            if waiting:
                asyncio.run(end_locked(session, program))
            else:
                assert not session.is_answered_elsewhere()
                asyncio.run(begin(session))
                program.execute("BEGIN IMMEDIATE")
                session.end_turn()
            assert not other.begin_turn(session.id)
        session.look() if how == "look" else session.close()
        assert other.begin_turn(session.id)
        assert [message.text for message in open_session(other, name=session.id).messages] == [
            "one", "re: one", *(["two", "re: two"] if waiting else [])]
        session.close()


async def begin(session: Session) -> None:
    assert [notice async for notice in session.begin_turn()] == []


async def end_locked(session: Session, program: sqlite3.Connection) -> None:
    """A turn during which another program locks the database and keeps it locked."""
    await begin(session)
    session.add_user(user_message("two"))
    async for _ in session.record(answer("two")):
        if not program.in_transaction:
            program.execute("BEGIN IMMEDIATE")
    session.end_turn()
    assert session.last_words
