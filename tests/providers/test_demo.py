"""The demo provider says what it is, always replies the same, and shows every kind of turn."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest

from core.chat.joining import continuation
from core.errors import Overloaded, ProviderError, StreamBroken
from core.events import Delta, Finished, TextDelta, ThinkingDelta, ToolCallDelta
from core.messages import Message, Text, ToolCall, ToolResult, Usage, tool_message, user_message
from core.providers import Endpoint, Options, Request, ToolSpec, load_dialect
from core.providers.demo import TABLE, THOUGHT, Demo, guessed_arguments, long_text

FAST = Endpoint("", host="demo", quirks={"delay": 0})
CLOCK = ToolSpec("get_current_time", "the time", {"type": "object", "properties": {}})
SEARCH = ToolSpec("web_search", "search",
                  {"type": "object", "properties": {"query": {"type": "string"}},
                   "required": ["query"]})
CALCULATE = ToolSpec("calculate", "sums",
                     {"type": "object", "properties": {"expression": {"type": "string"}},
                      "required": ["expression"]})


def ask(said: str, *, tools: tuple[ToolSpec, ...] = (), before: tuple[Message, ...] = (),
        after: tuple[Message, ...] = (),
        endpoint: Endpoint = FAST, got: list[Delta] | None = None, **options: Any) -> list[Delta]:
    deltas: list[Delta] = [] if got is None else got

    async def gather() -> None:
        request = Request("demo", (*before, user_message(said), *after), tools=tools,
                          options=Options(**options))
        async with contextlib.aclosing(Demo(endpoint).stream(request)) as stream:
            async for delta in stream:
                deltas.append(delta)

    asyncio.run(gather())
    return deltas


def words(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


def thoughts(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, ThinkingDelta))


def calls(deltas: list[Delta]) -> list[tuple[str, Any]]:
    return [(delta.name, json.loads(delta.arguments))
            for delta in deltas if isinstance(delta, ToolCallDelta)]


def test_it_is_found_by_name() -> None:
    assert load_dialect("demo") is Demo


def test_the_first_reply_says_that_it_is_scripted() -> None:
    deltas = ask("hello")
    assert "scripted reply, no model" in words(deltas)
    assert (isinstance(deltas[-2], Usage) and deltas[-2].output_tokens
            and deltas[-1] == Finished("stop"))


def test_later_replies_say_it_too() -> None:
    said = words(ask("and now?",
                     before=(user_message("hello"), Message("assistant", (Text("hi"),)))))
    assert "scripted" in said and "and now?" in said


def test_the_same_question_gets_the_same_answer() -> None:
    assert ask("markdown") == ask("markdown")


@pytest.mark.parametrize(("said", "expected"), [
    ("a table, please", TABLE), ("echo fail  \n table ", "fail  \n table "), ("empty", ""),
    ("long 250", long_text(250))])
def test_words_that_steer_it(said: str, expected: str) -> None:
    deltas = ask(said)
    assert words(deltas) == expected and deltas[-1] == Finished("stop")


@pytest.mark.parametrize(("said", "mark"),
                         [("code", "```python"), ("list", "1. "), ("markdown", "# Markdown")])
def test_kinds_of_markdown(said: str, mark: str) -> None:
    assert mark in words(ask(said))


def test_long_has_that_many_words() -> None:
    assert len(long_text(5000).split()) == 5000 and long_text(0) == ""


@pytest.mark.parametrize(("said", "think", "expected"), [
    ("hello", True, THOUGHT), ("hello", "high", THOUGHT), ("think", None, THOUGHT),
    ("think", False, ""), ("hello", None, "")])
def test_thinking(said: str, think: bool | str | None, expected: str) -> None:
    assert thoughts(ask(said, think=think)) == expected


def test_the_limit() -> None:
    assert ask("length")[-1] == Finished("length")


@pytest.mark.parametrize(("said", "kind"), [("fail", ProviderError), ("busy", Overloaded)])
def test_failing_before_the_answer(said: str, kind: type[ProviderError]) -> None:
    got: list[Delta] = []
    with pytest.raises(kind):
        ask(said, got=got)
    assert got == []


def test_breaking_off_in_the_answer() -> None:
    got: list[Delta] = []
    with pytest.raises(StreamBroken):
        ask("cut", got=got)
    assert words(got) and not any(isinstance(delta, Finished) for delta in got)


def test_it_goes_on_where_it_broke_off() -> None:
    half: list[Delta] = []
    with pytest.raises(StreamBroken):
        ask("cut long 40", got=half)
    broken = Message("assistant", (Text(words(half)),), finish="truncated")
    rest = ask(continuation(broken).text, before=(user_message("cut long 40"), broken))
    assert words(half) + words(rest) == long_text(40) and rest[-1] == Finished("stop")


@pytest.mark.parametrize("said",
                         ["Please read this: the list of code that we cut is long 30 and slow "
                          "to fail", "I think so"])
def test_words_in_a_text_command_nothing(said: str) -> None:
    assert (said in words(ask(said, before=(user_message("x"), Message("assistant", (Text("y"),)))))
            and not thoughts(ask(said)))


@pytest.mark.parametrize(("said", "expected"), [
    ("what time is it?", [("get_current_time", {})]),
    ("search the web for owls", [("web_search", {"query": "search the web for owls"})]),
    ("what is 2 + 3*4?", [("calculate", {"expression": "2 + 3*4"})]),
    ('tool web_search {"query": "owls"}', [("web_search", {"query": "owls"})]),
    ("tool web_search {oops", [("web_search", {"query": "tool web_search {oops"})]),
    ("tool nothing {}", []), ("hello", []),
])
def test_tools_that_are_offered_are_called(said: str, expected: list[tuple[str, Any]]) -> None:
    deltas = ask(said, tools=(CLOCK, SEARCH, CALCULATE))
    assert calls(deltas) == expected
    assert deltas[-1] == Finished("tool_calls" if expected else "stop")


def test_no_tools_no_calls() -> None:
    assert calls(ask("what time is it?")) == []


def test_the_answer_quotes_the_result_and_calls_nothing_again() -> None:
    after = (Message("assistant", (ToolCall("call_0", "get_current_time", {}),)),
             tool_message((ToolResult("call_0", "get_current_time", "12:00"),
                           ToolResult("call_1", "x", "boom", True))))
    deltas = ask("what time is it?", tools=(CLOCK,), after=after)
    assert words(deltas) == "The tool `get_current_time` said: 12:00\nThe tool `x` failed: boom"
    assert calls(deltas) == [] and deltas[-1] == Finished("stop")


def test_arguments_fit_the_schema() -> None:
    schema = {"properties": {"path": {"type": "string"}, "count": {"type": "integer"},
                             "deep": {"type": "boolean"},
                             "kind": {"enum": ["a", "b"]}, "free": {}, "other": {"type": "string"}},
              "required": ["path", "count", "deep", "kind", "free"]}
    assert guessed_arguments(ToolSpec("read", "", schema), "read 3 lines of notes/a.json") == {
        "path": "notes/a.json", "count": 3, "deep": True, "kind": "a", "free": "notes/a.json"}


def test_the_pace_comes_from_the_endpoint() -> None:
    deltas = ask("echo a b c d", endpoint=Endpoint("", quirks={"delay": 0.05}))
    assert [delta.text for delta in deltas if isinstance(delta, TextDelta)] == ["a", " b", " c",
                                                                                " d"]
    deltas = ask("echo a b c d", endpoint=Endpoint("", quirks={"delay": 0.015}))
    assert [delta.text for delta in deltas if isinstance(delta, TextDelta)] == ["a b", " c d"]


def test_models_and_check() -> None:
    assert [model.name for model in asyncio.run(Demo(FAST).models())] == ["demo"]
    assert "no model" in asyncio.run(Demo(FAST).check())
    asyncio.run(Demo(FAST).close())
