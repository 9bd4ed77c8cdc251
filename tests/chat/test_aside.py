"""/aside: answered from the conversation, saved separately, added only on request."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from core.chat.aside import Aside
from core.chat.conversation import Chat
from core.commands import Beside, run_command
from core.config import Settings
from core.errors import ChatError, UsageError
from core.events import TextDelta
from core.messages import user_message
from core.model_manager import Providers, Target
from core.session_manager import Session
from core.store.sqlite.store import SqliteStore
from tests.fake_server import Answer, FakeOllama, FakeServer, Received, fake_words, json_answer
from tests.faulty_proxy import DIALECTS, whole_answer, wire
from tests.pseudo_terminal import Terminal

SEED = int(os.environ.get("STREAM_CHAT_TEST_SEED", "") or random.randrange(1 << 32))
Environment = dict[str, str]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(str(tmp_path / "sessions.db"))
    yield opened
    opened.close()


def open_chat(provider: str, url: str, store: SqliteStore | None, model: str = "m") -> Chat:
    settings = Settings({"retry_initial_delay": 0.0, "retry_max_attempts": 1, "resume": False},
                        providers={provider: {"base_url": url}})
    return Chat(settings, Session(store), Providers(settings), Target(provider, model),
                open_session=lambda name: Session(store))


async def say(chat: Chat, text: str) -> None:
    async with aclosing(chat.turn(user_message(text))) as events:
        async for _ in events:
            pass


async def ask_aside(chat: Chat, question: str, stop_after: int = 0) -> Aside:
    outcome = await run_command(chat, f"/aside {question}")
    assert isinstance(outcome, Beside)
    async with aclosing(outcome.aside.answer()) as events:
        async for event in events:
            if isinstance(event, TextDelta) and stop_after:
                break
    return outcome.aside


def texts(chat: Chat) -> list[str]:
    return [message.text for message in chat.session.messages]


class Model:
    """Gives a different answer each time; an aside on "fail" is rejected."""

    def __init__(self, dialect: str) -> None:
        self.dialect = dialect
        self.bodies: list[bytes] = []     # of the turns
        self.asides = 0

    def __call__(self, request: Received) -> Answer:
        if request.method == "GET":
            return json_answer({"models": []})
        if b"ASIDE" in request.body:
            self.asides += 1
            if b"ASIDE fail" in request.body:
                return json_answer({"error": {"message": "no"}}, 400)
            return whole_answer(self.dialect, wire(self.dialect, "by the way: " * 40))
        if b'"messages":[]' not in request.body:     # Ollama's way to ask for the window
            self.bodies.append(request.body)
        return whole_answer(self.dialect, wire(self.dialect, f"answer {len(self.bodies)}"))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_next_request_is_the_same_to_the_byte(dialect: str, tmp_path: Path) -> None:
    """Random conversations, each once with and once without asides: answered, stopped, refused."""
    print(f"STREAM_CHAT_TEST_SEED={SEED}")
    chance = random.Random(SEED)

    async def talk(model: Model, url: str, plan: list[str], name: str) -> None:
        store = SqliteStore(str(tmp_path / f"{name}.db"))
        chat = open_chat(dialect, url, store)
        for text in plan:
            if not text.startswith("ASIDE"):
                await say(chat, text)
                continue
            try:
                await ask_aside(chat, text, stop_after=chance.choice((0, 0, 1)))
            except ChatError:
                assert text.startswith("ASIDE fail")
        await chat.close()
        store.close()
    for number in range(4):
        turns = [f"question {place} " * chance.randint(1, 400)
                 for place in range(chance.randint(2, 5))]
        mixed = [text for turn in turns for text in (
            *(chance.choice(("ASIDE why", "ASIDE fail", f"ASIDE {turn}"))
              for _ in range(chance.randint(0, 2))), turn)]
        bodies = []
        for plan in (turns, mixed):
            model = Model(dialect)
            with FakeServer(model) as server:
                asyncio.run(talk(model, server.url, plan, f"{number}-{len(bodies)}"))
            assert model.asides == sum(text.startswith("ASIDE") for text in plan)
            bodies.append(model.bodies)
        assert bodies[0] == bodies[1]
        print(f"\ncounted: {len(bodies[0])} requests")


def test_an_aside_knows_the_conversation_and_is_saved_apart(store: SqliteStore) -> None:
    async def run() -> None:
        with FakeOllama() as server:
            chat = open_chat("ollama", server.url, store, "words-3")
            await say(chat, "first")
            aside = await ask_aside(chat, "and why?")
            assert [reply.text for reply in aside.replies] == [fake_words(3)]
            sent = [message["content"] for message in server.chats[-1].json["messages"]]
            assert sent == ["first", fake_words(3), "and why?"]
            assert texts(chat) == ["first", fake_words(3)]
            kept = [entry.message.text for entry in store.load_messages(aside.session.id)]
            assert kept == ["first", fake_words(3), "and why?", fake_words(3)]
            parents = {row.id: row.parent for row in store.sessions()}
            assert parents[aside.session.id] == chat.session.id
            await chat.close()
    asyncio.run(run())


@pytest.mark.parametrize("saved", [True, False])
def test_keep_takes_it_in_at_the_end(store: SqliteStore, saved: bool) -> None:
    async def run() -> None:
        with FakeOllama() as server:
            chat = open_chat("ollama", server.url, store if saved else None, "echo")
            with pytest.raises(UsageError, match="no aside"):
                await run_command(chat, "/aside keep")
            await ask_aside(chat, "by the way")
            await say(chat, "meanwhile")
            await run_command(chat, "/aside keep")
            assert texts(chat) == ["meanwhile", "meanwhile", "by the way", "by the way"]
            with pytest.raises(UsageError, match="already"):
                await run_command(chat, "/aside keep")
            if saved:
                kept = [entry.message for entry in store.load_messages(chat.session.id)]
                assert kept == chat.session.messages
            with pytest.raises(UsageError, match="needs a question"):
                await run_command(chat, "/aside")
            await chat.close()
    asyncio.run(run())


def test_an_aside_of_another_session_is_not_taken_in(store: SqliteStore) -> None:
    async def run() -> None:
        with FakeOllama() as server:
            chat = open_chat("ollama", server.url, store, "echo")
            await ask_aside(chat, "by the way")
            chat.enter(Session(store))
            with pytest.raises(UsageError, match="another session"):
                await run_command(chat, "/aside keep")
            await chat.close()
    asyncio.run(run())


@pytest.mark.processes
def test_in_a_terminal(program: list[str], environment: Environment) -> None:
    with FakeOllama() as server:
        environment["OLLAMA_HOST"] = server.url
        with Terminal([*program, "-m", "echo"], environment) as person:
            person.say("one")
            person.wait_prompt()
            person.say("/aside two")
            person.wait("^two$")
            person.wait("An aside: it is not part of the conversation")
            person.wait_prompt()
            person.say("three")
            person.wait("^three$")
            person.wait_prompt()
        sent = [message["content"] for message in server.chats[-1].json["messages"]]
        assert sent == ["one", "one", "three"]
