"""The beginning of a conversation is converted only once; the request is the same as if it were
converted each time.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from core.messages import Image, Message, Text, Thinking, ToolCall, ToolResult, user_message
from core.providers import Request
from core.providers.written import (LONG, Beginnings, Convert, Entry, Written, as_json,
                                    settled_messages)
from tests.make_exchange import body_of

DIALECTS = ("ollama", "openai", "openai-responses", "anthropic", "gemini", "mistral", "cohere",
            "deepseek", "openrouter")
WORDS = ("one", "two \N{GRINNING FACE}", "nul \x00", "half \ud83d", "\u2028 \\u0000 \\\\", "三")
OWN: dict[str, Any] = {"anthropic": {"signature": "s"}, "gemini": {"thoughtSignature": "t"},
                       "deepseek": {"from": "deepseek/m"}, "openai": {"from": "openai/m"}}


class InOneGo(Beginnings):
    """Caches nothing and splits nothing."""

    def entries(self, messages: Sequence[Message], convert: Convert, key: object = None) -> Written:
        return Written(convert(messages, (), True))


def some_turn(chance: random.Random) -> list[Message]:
    """A question, perhaps rounds of tools with ids that repeat, and an answer of any sort."""
    question = user_message(chance.choice(WORDS) if chance.random() < 0.9 else " ")
    if chance.random() < 0.1:
        question = Message("user", (*question.parts, Image("image/png", "bWFya2Vk")))
    turn = [question]
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        calls = tuple(ToolCall(chance.choice(("call_1", "a b", "c" * 70)), "find",
                               {"x": chance.randrange(9)}) for _ in range(chance.randint(1, 2)))
        turn.append(Message("assistant", (Thinking("hm", OWN), Text("I look."), *calls), "o/m",
                            None, "tool_calls"))
        turn.append(Message("tool", tuple(ToolResult(call.id, call.name, chance.choice(WORDS))
                                          for call in calls)))
    answer: tuple[Any, ...] = (Text(chance.choice((*WORDS, "", " "))),)
    if chance.random() < 0.3:
        answer = (Thinking("because", OWN), *answer)
    if chance.random() < 0.9:
        turn.append(Message("assistant", answer, "ollama/m", None, "stop"))
    return turn


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_remembered_changes_no_request(dialect: str) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance, beginnings = random.Random(seed), Beginnings()
    messages: list[Message] = []
    for number in range(40):
        messages += some_turn(chance)
        if chance.random() < 0.05:      # undone and asked again
            messages = messages[:chance.randrange(len(messages))]
        asked = [*messages, user_message(f"and now {number}?")]
        request = Request("m", tuple(asked), chance.choice(("", "Be brief.")))
        whole, grown = body_of(dialect, request, InOneGo()), body_of(dialect, request, beginnings)
        assert grown == whole
        assert json.loads(as_json(grown)) == json.loads(as_json(whole))


def test_a_long_conversation_is_converted_once() -> None:
    converted: list[Message] = []

    def convert(messages: Sequence[Message], before: Sequence[Entry], last: bool) -> list[Entry]:
        converted.extend(messages)
        return [{"role": message.role, "content": message.text} for message in messages]
    messages = [message for number in range(LONG) for message in (
        user_message(f"question {number}"), Message("assistant", (Text(f"answer {number}"),)))]
    beginnings, sent = Beginnings(), b""
    for number in range(5):
        messages.append(user_message("more"))
        entries = beginnings.entries(messages, convert)
        assert len(converted) == len(messages) if not number else len(converted) <= 6
        written = as_json({"messages": entries})
        assert json.loads(written) == {"messages": [
            {"role": message.role, "content": message.text} for message in messages]}
        assert written.startswith(sent[:-2]), "the beginning stays as it was, byte for byte"
        converted.clear()
        sent = written
        messages.append(Message("assistant", (Text("yes"),)))


def test_a_long_conversation_is_serialized_once() -> None:
    read: list[str] = []

    class Read(dict[str, Any]):
        """An entry that notes when the encoder reads it."""

        def items(self) -> Any:
            read.append(self["content"])
            return super().items()

    def convert(messages: Sequence[Message], before: Sequence[Entry], last: bool) -> list[Entry]:
        return [Read(role=message.role, content=message.text) for message in messages]

    beginnings = Beginnings()
    messages: list[Message] = []
    for number in range(LONG):
        messages += [user_message(f"q{number}"), Message("assistant", (Text(f"a{number}"),))]
    for question in ("first", "second"):
        read.clear()
        messages.append(user_message(question))
        sent = beginnings.entries(messages, convert)
        assert json.loads(as_json({"messages": sent}))["messages"] == sent
        messages.append(Message("assistant", (Text("yes"),)))
    assert "second" in read and len(read) < 8, read


def test_an_entry_that_is_changed_is_written_anew() -> None:
    messages = [message for number in range(LONG) for message in (
        user_message(f"question {number}"), Message("assistant", (Text(f"answer {number}"),)))]
    entries = Beginnings().entries(messages, lambda part, before, last: [
        {"content": message.text} for message in part])
    behind = entries.after({"content": "system"})
    entries[3] = {"content": "changed"}
    assert json.loads(as_json({"m": entries}))["m"][3] == {"content": "changed"}
    assert json.loads(as_json({"m": behind}))["m"] == [
        {"content": "system"}, *({"content": message.text} for message in messages)]


def test_however_entries_are_changed_they_are_sent_as_they_are() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    changes: list[Callable[[list[Entry], int], object]] = [
        lambda entries, at: entries.insert(at, {"content": "put in"}),
        lambda entries, at: entries.pop(at), lambda entries, at: entries.reverse(),
        lambda entries, at: entries.append({"content": "behind"}),
        lambda entries, at: entries.__setitem__(slice(at, at + 3), [{"content": "for three"}]),
        lambda entries, at: entries.__delitem__(slice(at, at + 2)),
        lambda entries, at: entries.__setitem__(at, {**entries[at], "more": True}),
        lambda entries, at: entries.sort(key=lambda entry: str(entry["content"])),
        lambda entries, at: entries.extend([{"content": "two"}, {"content": "more"}]),
        lambda entries, at: entries.__imul__(2)]
    beginnings = Beginnings()
    for _ in range(200):
        messages = [message for number in range(LONG) for message in (
            user_message(f"question {number}"),
            Message("assistant", (Text(f"answer {number}"),)))]
        entries = beginnings.entries(messages, lambda part, before, last: [
            {"content": message.text} for message in part]).after({"content": "system"})
        for _ in range(chance.randint(0, 3)):
            chance.choice(changes)(entries, chance.randrange(len(entries)))
        assert json.loads(as_json({"m": entries})) == {"m": list(entries)}
    entries.clear()
    assert as_json({"m": entries}) == b'{"m":[]}'


def test_rounds_of_tools_are_not_parted() -> None:
    call = ToolCall("c", "find", {})
    messages = [user_message("a"), Message("assistant", (Text("b"),)), user_message("c"),
                Message("assistant", (Text("d"), call)), Message("tool", (ToolResult("c", "find",
                                                                                     "e"),)),
                user_message("f"), Message("assistant", (Text("g"),)), user_message("h")]
    assert settled_messages(messages) == 2, "before f stands a result, before c an answer"
    assert settled_messages(messages[:1]) == settled_messages(()) == 0
