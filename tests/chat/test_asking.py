"""Each request of a turn is fitted into the window, and again when a server rejects it; the servers
have small windows.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.chat.comparison import Comparison
from core.chat.conversation import Chat
from core.config import Settings
from core.errors import ContextTooLong
from core.events import Event, MessageAdded, ModelChanged, Notice
from core.messages import Message, Text, ToolCall, ToolResult, tool_message, user_message
from core.model_manager import Providers, build_model_list
from core.session_manager import Session
from core.store.sqlite.store import SqliteStore
from core.tool_executor import Toolbox
from core.tools import make_tool
from core.window.budget import plan_budget
from core.window.compaction import fixed_messages, shorten_results, trim_history
from core.window.tokens import TokenEstimator
from tests.fake_server import (Answer, FakeOllama, Received, chat_line, done_line, json_answer,
                               lines_answer)

WORDS = "several ordinary words stand here so that something is said about it all "


class Small(FakeOllama):
    """Reports a window of `told` tokens and rejects requests of more than `window`; calls `calls`
    tools before it answers.

    `says` is the form of the rejection: with numbers, or only words.
    """

    window = told = 4_096
    calls = 0
    says = "words"

    def sizes(self) -> list[int]:
        return [self.size(request.json) for request in self.chats()]

    def chats(self) -> list[Received]:
        return [request for request in self.requests
                if request.path == "/api/chat" and request.json["messages"]]

    def size(self, body: Any) -> int:
        return sum(len(message["content"]) // 5 + 5 for message in body["messages"])

    def _route(self, request: Received) -> Answer:
        if request.path == "/api/ps":
            return json_answer(
                {"models": [{"name": name, "model": name, "context_length": self.told}
                            for name in self.models]})
        return super()._route(request)

    def _chat(self, body: Any) -> Answer:
        model, messages = body["model"], body["messages"]
        if not messages:
            return json_answer({**done_line(model), "done_reason": "load"})
        size = self.size(body)
        if size > self.window and model != "large":
            return json_answer(self._refusal(size), 400)
        done = done_line(model, prompt_eval_count=size)
        if body.get("tools") and sum(message["role"] == "tool"
                                     for message in messages[self._asked(messages):]) < self.calls:
            call = {"id": f"c{len(messages)}",
                    "function": {"name": "look", "arguments": {"at": str(len(messages))}}}
            message = {"role": "assistant", "content": "", "tool_calls": [call]}
            return lines_answer([{**chat_line(model, ""), "message": message}, done])
        return lines_answer(
            [chat_line(model, f"answer to {messages[self._asked(messages)]['content'][-20:]}"),
             done])

    def _refusal(self, size: int) -> Any:
        if self.says == "words":
            return {"error": "the input length exceeds the context length"}
        return {"error": {"code": 400, "message": "the request exceeds the available context size",
                          "n_prompt_tokens": size,
                          "n_ctx": self.window}}

    def _asked(self, messages: Sequence[Any]) -> int:
        return max(place for place, message in enumerate(messages) if message["role"] == "user")


@pytest.fixture
def small() -> Iterator[Small]:
    with Small(models=("small", "large")) as server:
        yield server


def open_chat(server: Small, store: SqliteStore | None = None, look: Any = None,
              **values: Any) -> Chat:
    settings = Settings({"model": "ollama/small", "ollama_host": server.url,
                         "retry_initial_delay": 0.0, "save": False, **values})
    first, *_ = build_model_list(settings)
    box = Toolbox([make_tool(look)]) if look else None
    return Chat(settings, Session(store), Providers(settings), first,
                open_session=lambda name: Session(store), toolbox=box)


def fill(chat: Chat, turns: int, words: int = 12) -> None:
    """Turns of about 2 * 75 * words characters."""
    for number in range(turns):
        chat.session.add_user(user_message(f"question {number}: " + WORDS * words))
        chat.session.add_reply(Message("assistant", (Text(f"reply {number}: " + WORDS * words),),
                                       "ollama/small", None, "stop"))


async def ask(chat: Chat, text: str) -> list[Event]:
    return [event async for event in chat.turn(user_message(text))]


def notices(events: Sequence[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice)]


# ---- a server that refuses

@pytest.mark.parametrize("says", ["words", "numbers"])
def test_a_request_that_is_refused_is_sent_again_with_less(small: Small, says: str) -> None:
    async def run() -> None:
        # the window is smaller than the server reported
        small.window, small.told, small.says = 2_000, 6_000, says
        chat = open_chat(small)
        fill(chat, 8)
        events = await ask(chat, "the last question")
        assert (isinstance(events[-1], MessageAdded)
                and events[-1].message.text == "answer to the last question")
        told = notices(events)
        assert ("refused this as too long for its window" in told[0]
                and "asked again with less" in told[0])
        assert ("of 2,000 tokens" in told[0]) == (says == "numbers")
        assert "messages were not sent" in told[1]
        sizes = small.sizes()
        assert 2 <= len(sizes) <= 3 and sizes[-1] <= 2_000 < sizes[0]
        assert len(chat.session.messages) == 18
        before = len(sizes)
        events = await ask(chat, "one more")     # the window is known now: nothing is refused again
        assert (len(small.sizes()) == before + 1
                and not any("refused" in text for text in notices(events)))
        await chat.close()
    asyncio.run(run())


def test_at_most_twice_and_then_the_next_model(small: Small) -> None:
    async def run() -> None:
        small.window, small.told = 40, 8_000
        chat = open_chat(small, model_fallbacks=("ollama/large",))
        fill(chat, 8)
        events = await ask(chat, "the last question " + WORDS * 3)
        models = [request.json["model"] for request in small.chats()]
        assert models in (["small"] * 2 + ["large"], ["small"] * 3 + ["large"])
        assert any(isinstance(event, ModelChanged) for event in events)
        assert small.sizes()[-1] == small.sizes()[0], ("the next model gets what the first one got "
                                                       "at first")
        await chat.close()
    asyncio.run(run())


def test_nothing_that_could_be_left_out(small: Small) -> None:
    async def run() -> None:
        small.window, small.told = 40, 8_000
        chat = open_chat(small)
        with pytest.raises(ContextTooLong):
            await ask(chat, WORDS * 10)
        assert len(small.chats()) == 1
        await chat.close()
    asyncio.run(run())


def test_attached_context_gives_way_too(small: Small, tmp_path: Path,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.md").write_text("tides are high\n" * 900, encoding="utf-8")
    (tmp_path / "todo.md").write_text("buy rope\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    async def run() -> None:
        small.window, small.told, small.says = 1_500, 16_000, "numbers"
        chat = open_chat(small)
        await chat.attach("notes.md,todo.md")
        events = await ask(chat, "what is to do?")
        told = notices(events)
        assert (told[0].startswith("context: 2 of 2 files") and "refused" in told[1]
                and "1 in part" in told[2])
        assert ("buy rope" in small.chats()[-1].json["messages"][0]["content"]
                and small.sizes()[-1] <= 1_500)
        await chat.close()
    asyncio.run(run())


def test_what_is_attached_is_reported_when_it_changes(small: Small, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    notes, more = tmp_path / "notes.md", tmp_path / "more.md"
    notes.write_text("tides are high\n", encoding="utf-8")
    more.write_text("ebb is low\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    async def run() -> None:
        chat = open_chat(small)

        async def told(question: str) -> list[str]:
            return [text for text in notices(await ask(chat, question)) if "context:" in text]
        await chat.attach("notes.md")
        assert [text[:23] for text in await told("first")] == ["context: 1 of 1 files, "]
        assert await told("second") == await told("third") == []
        await chat.attach("more.md")
        assert [text[:23] for text in await told("fourth")] == ["context: 2 of 2 files, "]
        assert await told("fifth") == []
        notes.write_text("tides are low today\n", encoding="utf-8")
        assert len(await told("sixth")) == 1 and await told("seventh") == []
        await chat.close()
    asyncio.run(run())


# ---- between the rounds of one turn

def test_tool_results_push_out_the_oldest_turns(small: Small) -> None:
    async def run() -> None:
        def look(at: str) -> str:
            """Look there.

            at: where
            """
            return f"seen at {at}: " + "it is all blue there. " * 160
        small.calls, small.window = 2, 4_096
        chat = open_chat(small, look=look)
        fill(chat, 9)
        events = await ask(chat, "the last question")
        assert (isinstance(events[-1], MessageAdded)
                and events[-1].message.text == "answer to the last question")
        sizes, told = small.sizes(), notices(events)
        assert len(sizes) == 3 and max(sizes) <= 4_096, sizes
        assert (any("messages were not sent" in text for text in told)
                and not any("refused" in text for text in told))
        assert len(told) == len(set(told))
        last = small.chats()[-1].json["messages"]
        assert sum(message["role"] == "tool"
                   for message in last) == 2, "nothing of the turn itself is left out"
        assert not any("left out" in message["content"] for message in last)
        assert len(chat.session.messages) == 18 + 6
        await chat.close()
    asyncio.run(run())


def test_what_still_fits_is_sent_as_it_was(small: Small, tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.md").write_text("tides are high\n" * 20, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    async def run() -> None:
        def look(at: str) -> str:
            """Look there.

            at: where
            """
            (tmp_path / "notes.md").write_text("changed\n", encoding="utf-8")
            return f"seen at {at}"
        small.calls = 2
        chat = open_chat(small, look=look)
        await chat.attach("notes.md")
        events = await ask(chat, "what is to do?")
        beginnings = [request.json["messages"][0] for request in small.chats()]
        assert len(beginnings) == 3 and beginnings[0] == beginnings[1] == beginnings[2]
        assert len([text for text in notices(events) if text.startswith("context:")]) == 1
        assert chat.toolbox is not None and chat.toolbox.private
        await chat.close()
    asyncio.run(run())


def test_a_result_larger_than_the_window(small: Small, tmp_path: Path) -> None:
    async def run() -> None:
        def look(at: str) -> str:
            """Look there.

            at: where
            """
            return "BEGIN " + "it is all blue there. " * 3_000 + " END"
        small.calls = 1
        store = SqliteStore(str(tmp_path / "sessions.db"))
        chat = open_chat(small, store, look=look)
        events = await ask(chat, "the last question")
        assert (isinstance(events[-1], MessageAdded)
                and events[-1].message.text == "answer to the last question")
        assert any("characters of what look gave were not sent" in text
                   for text in notices(events)), notices(events)
        last = small.chats()[-1].json["messages"][-1]["content"]
        assert (last.startswith("BEGIN ") and last.endswith("another part.]")
                and "characters left out: they do not fit" in last)
        kept = next(message for message in chat.session.messages if message.tool_results)
        stored = next(entry.message for entry in store.load_messages(chat.session.id)
                      if entry.message.tool_results)
        assert stored == kept and len(kept.tool_results[0].content) > 50_000
        await chat.close()
        store.close()
    asyncio.run(run())


# ---- two models at once

def test_a_comparison_sends_what_a_turn_sends(small: Small, tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.md").write_text("tides are high\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    async def run() -> None:
        chat = open_chat(small)
        fill(chat, 12)
        await chat.attach("notes.md")
        comparison = Comparison(chat,
                                build_model_list(Settings({"model": "ollama/small",
                                                           "model_fallbacks": ["ollama/large"]})),
                                user_message("the last question"), new=True)
        await comparison.run()
        assert [side.error for side in comparison.sides] == [None, None]
        compared = small.chats()[-2:]
        assert {request.json["model"] for request in compared} == {"small", "large"}
        await ask(chat, "the last question")
        turn = small.chats()[-1].json["messages"]
        assert [request.json["messages"] for request in compared] == [turn, turn]
        assert "tides are high" in turn[-1]["content"] and len(turn) < 20
        for side in comparison.sides:
            assert (side.notes[0].startswith("context: 1 of 1 files")
                    and "messages were not sent" in side.notes[1])
        await chat.close()
    asyncio.run(run())


def test_a_comparison_asks_nobody_elsewhere_with_local_only(small: Small) -> None:
    async def run() -> None:
        chat = open_chat(small, local_only=True)
        targets = build_model_list(
            Settings({"model": "ollama/small", "model_fallbacks": ["ollama/gpt-oss:120b-cloud"]}))
        comparison = Comparison(chat, targets, user_message("hello"), new=True)
        await comparison.run()
        assert comparison.sides[0].error is None and "local-only" in str(comparison.sides[1].error)
        assert [request.json["model"] for request in small.chats()] == ["small"]
        await chat.close()
    asyncio.run(run())


# ---- the parts

def count(messages: Sequence[Message]) -> int:
    return TokenEstimator().messages(messages)


def results(*contents: str) -> tuple[Message, ...]:
    calls = tuple(ToolCall(str(number), "look", {}) for number, _ in enumerate(contents))
    return (user_message("q"), Message("assistant", calls, "m", None, "tool_calls"),
            tool_message(tuple(ToolResult(str(number), "look", text)
                               for number, text in enumerate(contents))))


def test_only_long_results_are_shortened() -> None:
    messages = results("short", "x y " * 5_000, "z w " * 300)
    whole = count(messages)
    assert shorten_results(messages, whole, count).messages == messages
    cut = shorten_results(messages, whole // 4, count)
    one, two, three = (result.content for result in cut.messages[-1].tool_results)
    assert (one == "short" and len(two) < 20_000 and two.startswith("x y") and two.endswith("x y ")
            and three == "z w " * 300)
    assert whole // 8 < count(cut.messages) <= whole // 4
    assert (cut.characters == 20_000 - len(two) and f"{cut.characters:,} characters of what "
            "look gave" in cut.notice)


def test_however_small_the_room_a_little_is_sent() -> None:
    cut = shorten_results(results("a b " * 1_000, "c d " * 1_000), 0, count)
    assert ([len(result.content) for result in cut.messages[-1].tool_results]
            == pytest.approx([400, 400], abs=20))
    assert shorten_results((user_message("x " * 500),), 10, count).notice == ""


def test_however_long_the_results_are_all_of_them_stay_and_fit() -> None:
    seed = int(os.environ.get("STREAM_CHAT_TEST_SEED") or random.randrange(1 << 30))
    print("seed", seed)
    chance = random.Random(seed)
    for _ in range(200):
        sizes = [chance.choice([0, 5, 300, 4_000]) for _ in range(chance.randint(1, 5))]
        contents = ["".join(chance.choices("abc de\n\u4e2d7,", k=size)) for size in sizes]
        messages, room = results(*contents), chance.randint(0, 4_000)
        cut = shorten_results(messages, room, count)
        after = [result.content for result in cut.messages[-1].tool_results]
        assert (len(cut.messages) == len(messages) and cut.messages[:-1] == messages[:-1]
                and len(after) == len(contents))
        assert all(len(new) <= len(old) and (new == old or "left out" in new)
                   for new, old in zip(after, contents, strict=True))
        assert count(cut.messages) <= room * 1.1 or all(len(text) <= 400 for text in after)
        assert (cut.characters == sum(map(len, contents)) - sum(map(len, after))
                and bool(cut.notice) == bool(cut.characters))


def test_the_turn_that_goes_on_pushes_context_out() -> None:
    turns = (user_message("a"), Message("assistant", (Text("b"),), "m", None, "stop"),
             *results("x " * 2_000))
    assert (fixed_messages(turns) == turns[2:] and fixed_messages(turns, [1]) == turns
            and fixed_messages(()) == ())
    assert trim_history(turns, 0, count).messages == fixed_messages(turns)
    room = plan_budget(4_000, history=100, fixed=100)
    tight = plan_budget(4_000, history=2_500, fixed=2_500)
    assert room.for_context > 2_000 and 0 < tight.for_context < 400
