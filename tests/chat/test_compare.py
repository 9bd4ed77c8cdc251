"""/compare: two models answer, both answers are kept, and one is added to the conversation."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.chat.comparison import Comparison
from core.chat.conversation import Chat
from core.commands import Compare
from core.commands.compare import compare
from core.config import Settings
from core.errors import UsageError
from core.messages import user_message
from core.model_manager import Providers, parse_target
from core.rendering.columns import side_by_side, wrapped
from core.rendering.widths import text_width
from core.session_manager import Session
from core.store.sqlite.store import SqliteStore
from tests.fake_server import FakeOllama, fake_words
from tests.pseudo_terminal import Terminal

Environment = dict[str, str]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(str(tmp_path / "sessions.db"))
    yield opened
    opened.close()


def open_chat(server: FakeOllama, store: SqliteStore | None) -> Chat:
    settings = Settings({"model": "ollama/words-5", "ollama_host": server.url,
                         "retry_initial_delay": 0.0})
    return Chat(settings, Session(store), Providers(settings), parse_target(settings.model),
                open_session=lambda name: Session(store))


async def compared(chat: Chat, argument: str) -> Comparison:
    outcome = await compare(chat, argument)
    assert isinstance(outcome, Compare)
    await outcome.comparison.run()
    return outcome.comparison


async def say(chat: Chat, text: str) -> None:
    async for _ in chat.turn(user_message(text)):
        pass


def texts(chat: Chat) -> list[str]:
    return [message.text for message in chat.session.messages]


@pytest.mark.parametrize("saved", [True, False])
def test_a_new_question(ollama: FakeOllama, store: SqliteStore, saved: bool) -> None:
    async def run() -> None:
        chat = open_chat(ollama, store if saved else None)
        await say(chat, "first")
        found = await compared(chat, "words-3 echo  why is that?")
        assert [side.text for side in found.sides] == [fake_words(3), "why is that?"]
        assert texts(chat) == ["first",
                               fake_words(5)], ("nothing is in the conversation before it is kept")
        with pytest.raises(UsageError, match="cannot keep '3'"):
            await compare(chat, "keep 3")
        await compare(chat, "keep 2")
        assert texts(chat) == ["first", fake_words(5), "why is that?", "why is that?"]
        await compare(chat, "keep 1")
        assert texts(chat) == ["first", fake_words(5), "why is that?", fake_words(3)]
        await say(chat, "and then")
        with pytest.raises(UsageError, match="has continued"):
            await compare(chat, "keep 2")
        if saved:
            assert ([entry.message for entry in store.load_messages(chat.session.id)]
                    == chat.session.messages)
        await chat.close()
    asyncio.run(run())


def test_the_last_question_again_and_its_branches(ollama: FakeOllama, store: SqliteStore) -> None:
    async def run() -> None:
        chat = open_chat(ollama, store)
        await say(chat, "before")
        await say(chat, "question")
        found = await compared(chat, "echo words-2")
        assert texts(chat) == ["before", fake_words(5), "question", fake_words(5)]
        for side, text in zip(found.sides, ("question", fake_words(2)), strict=True):
            branch = [entry.message.text for entry in store.load_messages(side.session.id)]
            assert branch == ["before", fake_words(5), "question", text]
        listed = {row.id: row.title for row in store.sessions()}
        assert [listed[side.session.id] for side in found.sides] == ["\u21b3 question"] * 2
        parents = {row.id: row.parent for row in store.sessions()}
        assert parents == {chat.session.id: None} | {side.session.id: chat.session.id
                                                     for side in found.sides}
        await compare(chat, "keep 1")
        assert texts(chat) == ["before", fake_words(5), "question", "question"]
        assert chat.session.messages[-1].model == "ollama/echo"
        assert ({(call.model, call.finish) for call in store.calls()}
                == {("words-5", "stop"), ("echo", "stop"), ("words-2", "stop")})
        await chat.close()
    asyncio.run(run())


def test_both_are_asked_at_the_same_time(ollama: FakeOllama) -> None:
    async def run() -> None:
        chat = open_chat(ollama, None)
        outcome = await compare(chat, "slow slow q")
        assert isinstance(outcome, Compare)
        task = asyncio.ensure_future(outcome.comparison.run())
        while not all(side.text for side in outcome.comparison.sides):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for side in outcome.comparison.sides:
            (reply,) = side.replies
            assert reply.finish == "interrupted" and reply.text == side.text
        await compare(chat, "keep 1")
        assert texts(chat)[0] == "q" and texts(chat)[1].startswith("w0")
        await chat.close()
    asyncio.run(run())


def test_one_that_fails_leaves_the_other(ollama: FakeOllama, store: SqliteStore) -> None:
    async def run() -> None:
        chat = open_chat(ollama, store)
        found = await compared(chat, "missing words-7 q")
        assert found.sides[0].error is not None and found.sides[0].error.kind == "model_not_found"
        assert found.sides[1].text == fake_words(7)
        with pytest.raises(UsageError, match="gave no answer"):
            await compare(chat, "keep 1")
        await chat.close()
    asyncio.run(run())


@pytest.mark.parametrize("argument", ["", "one", "keep 1", "echo echo"])
def test_wrong_words(ollama: FakeOllama, argument: str) -> None:
    async def run() -> None:
        chat = open_chat(ollama, None)
        with pytest.raises(UsageError):
            await compare(chat, argument)
        await chat.close()
    asyncio.run(run())


def test_columns() -> None:
    left, right = "short\n\n" + "word " * 30, "\u4e2d" * 40 + "\n\tcode\x1b[31m"
    rows = list(side_by_side(wrapped(left, 29), wrapped(right, 29), 61))
    assert (all(text_width(row) <= 61 for row in rows)
            and all(row[29:32].strip() == "\u2502" for row in rows))
    assert rows[0].startswith("short") and "\x1b" not in "".join(rows)
    assert " ".join(" ".join(row[:29] for row in rows[2:]).split()) == ("word " * 30).strip()
    assert "".join(row[32:] for row in rows).count("\u4e2d") == 40
    assert list(side_by_side([""], [""], 61)) == [" " * 29 + " \u2502"]
    styled, code = "\x1b[1mbold\x1b[m", "\x1b[2mx = \x1b[m" + "1 + " * 9 + "1"
    assert list(side_by_side([styled, code], ["a", "b", "c"], 61)) == [
        f"{styled}{' ' * 25} \u2502 a", f"x = {'1 + ' * 6}1 \u2502 b",
        f"+ 1 + 1 + 1{' ' * 18} \u2502 c"]


def test_side_by_side_in_a_wide_terminal(ollama: FakeOllama, program: list[str],
                                         environment: Environment) -> None:
    with Terminal([*program, "-m", "words-5"], environment, columns=120) as chat:
        shown = chat.ask("/compare words-3 echo **all** `of` it", "keep 1 or keep 2 takes one")
        assert re.search(r"^w0 w1 w2 +\u2502 all of it$", shown, re.M), "formatted like a reply"
        shown = chat.ask("/compare words-3 echo hello you", "keep 1 or keep 2 takes one", 2)
        heads = r"^1  ollama/words-3  [\d.]+ m?s +\u2502 2  ollama/echo  [\d.]+ m?s$"
        assert re.search(heads, shown, re.M)
        assert re.search(r"^w0 w1 w2 +\u2502 hello you$", shown, re.M)
        chat.ask("/compare keep 2", "The answer of ollama/echo is in the conversation now")
        chat.ask("go", "w0 w1 w2 w3 w4")
    sent = [request.json for request in ollama.chats][-1]
    assert [message["content"] for message in sent["messages"]] == ["hello you", "hello you", "go"]


def test_one_after_the_other_in_a_narrow_one_and_ctrl_c(
        ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    with Terminal([*program, "-m", "words-5"], environment, columns=80) as chat:
        chat.say("/compare slow echo hello")
        chat.wait("slow [3-9] words")
        chat.interrupt()
        chat.wait("Stopped. Partial replies saved.")
        chat.wait_prompt()
        assert re.search(r"^1  ollama/slow.*\n+w0 w1", chat.text(), re.M)
        assert re.search(r"^2  ollama/echo.*\n+hello$", chat.text(), re.M)
        chat.ask("/compare keep 1", "is in the conversation now")
        chat.say("/exit")
        assert chat.exit_status() == 0
