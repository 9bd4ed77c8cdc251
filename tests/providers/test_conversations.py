"""One table of conversations for every dialect: requests, and the events of replies.

The expected requests are in tests/expected/<dialect>/<case>.json. STREAM_CHAT_TEST_WRITE=1 rewrites
these files; read the difference before you commit it. A new dialect needs a row in
tests/scripted_answers.py and its files.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.chat.turn import run_chat_turn
from core.events import to_dict
from core.messages import (Image, Message, Text, Thinking, ToolCall, ToolResult, tool_message,
                           user_message)
from core.providers import Options, Request, ToolSpec
from core.providers.hosts import hosts
from tests.dialects import ask, provider_at, reply_of
from tests.fake_server import FakeServer
from tests.one_model import one_model
from tests.proof.accepted import why_refused
from tests.scripted_answers import SCRIPTED, Call, Script

EXPECTED = Path(__file__).parent / "expected"
DIALECTS = sorted(SCRIPTED)
MODELS = {"anthropic": "claude-haiku-4-5", "gemini": "gemini-3-pro-preview"}
TOOLS = (ToolSpec("weather", "The weather somewhere",
                  {"type": "object", "properties": {"city": {"type": "string"}},
                   "required": ["city"]}),
         ToolSpec("clock", "The time", {"type": "object", "properties": {}}))
GREETING = Script("Grüß Gott 🙂")
LOOKING = Script("", "Two things to look up.",
                 (Call("weather01", "weather", {"city": "Wien"}), Call("clocktime", "clock", {})))
QUESTION = user_message("How is the weather in Wien, and what time is it?")
CALL_WEATHER = ToolCall("weather01", "weather", {"city": "Wien"})
CALL_CLOCK = ToolCall("clocktime", "clock", {})
RESULTS = tool_message((ToolResult("weather01", "weather", "rain"),
                        ToolResult("clocktime", "clock", "12:00")))
IMAGE = Image("image/png", "aWNvbg==", "icon.png")


def assistant(*parts: Any, **more: Any) -> Message:
    return Message("assistant", parts, "test/model", **more)


CASES: dict[str, Request] = {
    "plain": Request("", (user_message("Hello"),)),
    "several_turns": Request("",
                             (user_message("Hello"), assistant(Text("Hi. What is it?")),
                              user_message("Name a colour.")),
                             system="Answer in one word.",
                             options=Options(temperature=0.5, max_tokens=100)),
    "image": Request("", (user_message("What is this?", (IMAGE,)),)),
    "one_tool_call": Request("",
                             (QUESTION, assistant(Text("I look."), CALL_WEATHER),
                              tool_message(RESULTS.tool_results[:1])),
                             tools=TOOLS),
    "parallel_calls": Request("",
                              (QUESTION, assistant(CALL_WEATHER, CALL_CLOCK), RESULTS,
                               assistant(Text("Rain at noon.")),
                               user_message("And tomorrow?")), tools=TOOLS),
    "refused_tool": Request("", (QUESTION, assistant(CALL_WEATHER), tool_message((
        ToolResult("weather01", "weather", "The person did not allow this.", True),))),
                            tools=TOOLS),
    "interrupted_reply": Request("",
                                 (user_message("Tell me a story."),
                                  assistant(Text("Once upon a"), finish="interrupted"),
                                  user_message("A shorter one."), assistant(finish="truncated"),
                                  user_message("Well?"))),
    "foreign_history": Request("", (
        QUESTION,
        assistant(Thinking("Let me see.", {"elsewhere": {"signature": "foreign"}}),
                  Text("I look.", {"elsewhere": {"id": "foreign"}}),
                  ToolCall("functions.weather:0", "weather", {"city": "Wien"}, None,
                           {"elsewhere": {"id": "foreign"}}),
                  ToolCall("functions.clock:1", "clock", {})),
        tool_message((ToolResult("functions.weather:0", "weather", "rain"),
                      ToolResult("functions.clock:1", "clock", "12:00"))),
        user_message("Thanks.")), tools=TOOLS),
}


def model_of(dialect: str) -> str:
    return MODELS.get(dialect, "test-model")


def with_model(request: Request, dialect: str) -> Request:
    return Request(model_of(dialect), request.messages, request.system, request.tools,
                   request.options)


def sent(dialect: str, request: Request) -> dict[str, Any]:
    with FakeServer(SCRIPTED[dialect](GREETING)) as server:
        _, error = ask(dialect, server.url, with_model(request, dialect))
        assert error is None
        return {"path": server.requests[0].path, "body": server.requests[0].json}


def compare(dialect: str, case: str, found: dict[str, Any]) -> None:
    path = EXPECTED / dialect / f"{case}.json"
    if os.environ.get("STREAM_CHAT_TEST_WRITE"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert found == json.loads(path.read_text(encoding="utf-8"))


def test_every_dialect_of_a_host_has_its_answers() -> None:
    assert {host.dialect for host in hosts()} - {"demo", "local"} == set(SCRIPTED)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_sent(dialect: str, case: str) -> None:
    compare(dialect, case, sent(dialect, CASES[case]))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_provider_accepts_it(dialect: str, case: str) -> None:
    assert why_refused(dialect, kept(dialect, case)) == ""


@pytest.mark.parametrize("case", ["parallel_calls", "foreign_history", "one_tool_call"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_result_that_is_missing_is_refused(dialect: str, case: str) -> None:
    body = kept(dialect, case)
    items = next(body[name] for name in ("messages", "input", "contents") if name in body)
    place = max(number for number, item in enumerate(items) if is_result(item))
    del items[place]
    assert why_refused(dialect, body)


def kept(dialect: str, case: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (EXPECTED / dialect / f"{case}.json").read_text(encoding="utf-8"))["body"]
    return found


def is_result(item: dict[str, Any]) -> bool:
    words = json.dumps(item)
    return any(mark in words for mark in ('"role": "tool"', "function_call_output", "tool_result",
                                          "functionResponse"))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_reply_that_thinks_and_calls_goes_back_with_its_results(dialect: str) -> None:
    with FakeServer(SCRIPTED[dialect](LOOKING)) as server:
        deltas, error = ask(dialect, server.url,
                            Request(model_of(dialect), (QUESTION,), tools=TOOLS))
    assert error is None
    compare(dialect, "thinking_with_tools",
            sent(dialect, Request("", (QUESTION, reply_of(deltas), RESULTS), tools=TOOLS)))


# ---- the events of an answer: the same in all dialects

EVENTS: dict[str, tuple[Script, list[dict[str, Any]]]] = {
    "text": (GREETING, [
        {"event": "text", "text": "Grüß Gott 🙂"},
        {"event": "usage", "input_tokens": 5, "output_tokens": 3},
        {"event": "message", "role": "assistant", "text": "Grüß Gott 🙂", "model": "test/model",
         "finish": "stop"}]),
    "thinking": (Script("Rain.", "Clouds, so"), [
        {"event": "thinking", "text": "Clouds, so"}, {"event": "text", "text": "Rain."},
        {"event": "usage", "input_tokens": 5, "output_tokens": 3},
        {"event": "message", "role": "assistant", "text": "Rain.", "model": "test/model",
         "finish": "stop"}]),
    "calls": (LOOKING, [
        {"event": "thinking", "text": "Two things to look up."},
        {"event": "usage", "input_tokens": 5, "output_tokens": 3},
        {"event": "message", "role": "assistant", "text": "", "model": "test/model",
         "finish": "tool_calls"},
        {"event": "tool_call", "id": "weather01", "name": "weather", "arguments": {"city": "Wien"}},
        {"event": "tool_call", "id": "clocktime", "name": "clock", "arguments": {}}]),
}


async def events_of(dialect: str, url: str) -> list[dict[str, Any]]:
    provider = provider_at(dialect, url)
    try:
        request = Request(model_of(dialect), (QUESTION,), tools=TOOLS)
        async with aclosing(run_chat_turn(one_model(provider.stream), request, model="test/model",
                                          rounds=0)) as events:
            return [shown for event in [event async for event in events]
                    if (shown := to_dict(event)) is not None]
    finally:
        await provider.close()


@pytest.mark.parametrize("case", EVENTS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_comes_of_an_answer(dialect: str, case: str) -> None:
    script, expected = EVENTS[case]
    with FakeServer(SCRIPTED[dialect](script)) as server:
        assert asyncio.run(events_of(dialect, server.url)) == expected


# ---- a conversation that wanders

# what a Script calls its mark has to go back to these, when there are calls
MARKED = ("anthropic", "gemini", "openai-responses")
WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)


def strings(value: Any) -> Iterator[str]:
    """Every string of a JSON value in its order, those inside of arguments written as JSON too."""
    if isinstance(value, dict):
        for entry in value.values():
            yield from strings(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from strings(entry)
    elif isinstance(value, str):
        yield from (strings(json.loads(value)) if value.startswith("{") and value.endswith("}")
                    else (value,))


def assert_in_order(wanted: Sequence[str], held: Sequence[str]) -> None:
    at = 0
    for item in wanted:
        found = next((number for number in range(at, len(held)) if item in held[number]), None)
        assert found is not None, f"{item!r} is missing, or not in its place, in {held!r}"
        at = found


def one_step(number: int, words: str, *,
             calls: int) -> tuple[Message, Script, Message | None, list[str]]:
    """The user's words, the model's replies and the tools' results, none of which may be lost."""
    said, answer, picture = (f"said-{number}. {words}", f"answer-{number}. {words}",
                             f"cGljdHVyZS0{number:04d}")
    wanted = tuple(Call(f"call{number:03d}{index:02d}", "weather",
                        {"city": f"city-{number}-{index}. {words}"})
                   for index in range(calls))
    results = tuple(ToolResult(call.id, call.name, f"result-{call.id}. {words}") for call in wanted)
    kept = [said, picture, answer, *(call.arguments["city"] for call in wanted),
            *(result.content for result in results)]
    return (user_message(said, (Image("image/png", picture),)),
            Script(answer, f"thought-{number}", wanted, f"mark-{number}-=="),
            tool_message(results) if results else None, kept)


@given(st.lists(st.tuples(st.sampled_from(DIALECTS), WORDS, st.integers(0, 2)), min_size=2,
                max_size=5))
@settings(max_examples=30, deadline=None, print_blob=True,
          suppress_health_check=[HealthCheck.too_slow])
def test_a_conversation_carried_through_any_order_of_dialects_loses_nothing(
        steps: list[tuple[str, str, int]]) -> None:
    history: tuple[Message, ...] = ()
    kept: list[str] = []
    marks: list[tuple[str, str]] = []
    for number, (dialect, words, calls) in enumerate(steps):
        person, script, results, more = one_step(number, words, calls=calls)
        history += (person,)
        with FakeServer(SCRIPTED[dialect](script)) as server:
            deltas, error = ask(dialect, server.url,
                                Request(model_of(dialect), history, tools=TOOLS))
            assert error is None
            held = list(strings(server.requests[0].json))
        assert_in_order([*kept, *more[:2]], held)
        for owner, mark in marks:
            assert (mark in held) is (owner == dialect), (f"{mark} of {owner} in a request to "
                                                          f"{dialect}")
        history += (reply_of(deltas), *([results] if results else []))
        kept += more
        if calls and dialect in MARKED:
            marks.append((dialect, script.mark))
