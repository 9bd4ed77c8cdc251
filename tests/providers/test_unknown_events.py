"""What no dialect defines: an error in any shape is shown in its own words, and a reply of which a
part cannot be read does not count as complete.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from core.errors import BadResponse
from core.messages import Message, Text, ToolCall, ToolResult, tool_message
from core.providers import Request
from tests.dialects import ask, exchange, reply_of
from tests.fake_server import Answer, FakeServer, json_answer
from tests.providers.test_foreign_shapes import (HELLO, ODD, SAID, events_of, replaced, value_at,
                                                 with_value)
from tests.scripted_answers import SCRIPTED, Call, Script

WORDS = "the zorblax flimmer exploded"
FIELDS = ("error", "message", "detail", "errors", "msg", "reason", "Message", "error_description",
          "fault", "failure", "status_msg", "errorMessage", "data", "status", "title")


def seeded(name: str) -> random.Random:
    seed = os.environ.get("STREAM_CHAT_TEST_SEED") or str(random.randrange(1 << 32))
    print(f"STREAM_CHAT_TEST_SEED={seed}")
    return random.Random(f"{seed}/{name}")


def random_error(chance: random.Random) -> Any:
    """The words somewhere in objects and lists, between codes and empty fields."""
    value: Any = chance.choice((WORDS, [WORDS], {"message": WORDS}, [{"text": WORDS}]))
    for _ in range(chance.randrange(1, 4)):
        more = {"code": chance.choice((17, "E_17", None)), "success": False, "result": None}
        keep = chance.sample(list(more), chance.randrange(3))
        value = {chance.choice(FIELDS): value, **{name: more[name] for name in keep}}
    return [value] if chance.random() < 0.1 else value


def places(dialect: str, error: Any, chance: random.Random) -> Answer:
    """The error as a response, as a document of status 200, or in a stream."""
    good = SCRIPTED[dialect](Script(SAID))
    written = json.dumps(error).encode()
    event, end = ((written, b"\n") if dialect == "ollama" else (b"data: " + written, b"\n\n"))
    lines = good.steps[0]
    assert isinstance(lines, bytes)
    begun = lines[:lines.index(end.strip(b"\n") + b"\n", lines.index(SAID.encode()))] + b"\n\n"
    match chance.randrange(5):
        case 0:
            return json_answer(error, chance.choice((400, 418, 422, 500, 599)))
        case 1:
            return Answer([written], framing="length", content_type="application/json")
        case 2:
            return Answer([event + end], content_type=good.content_type)
        case 3 if dialect != "ollama":
            return Answer([b"event: error\n" + event + end], content_type=good.content_type)
    return Answer([begun + event + end], content_type=good.content_type)


@pytest.mark.parametrize("dialect", sorted(SCRIPTED))
def test_an_error_in_any_shape_is_shown_in_its_own_words(dialect: str) -> None:
    chance = seeded(dialect)
    answer = Answer()
    with FakeServer(lambda request: answer) as server:
        for _ in range(30):
            error = random_error(chance)
            answer = places(dialect, error, chance)
            deltas, failed = ask(dialect, server.url, HELLO)
            assert failed is not None and WORDS in failed.message, (error, answer, failed)
            assert reply_of(deltas).text in ("", SAID)


def around(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values that hold the words of the reply."""
    return (each for each in replaced(value) if SAID in json.dumps(value_at(value, each)))


@pytest.mark.parametrize("dialect", sorted(SCRIPTED))
def test_a_reply_with_a_part_in_an_unknown_form_is_not_complete(dialect: str) -> None:
    """Numbers are text that a server did not quote, and an empty value holds nothing."""
    chance = seeded(dialect)
    lines, events = events_of(dialect)
    holders = {number: event for number, event in events.items() if SAID in json.dumps(event[1])}
    tried = [(number, path, odd) for number, (_, event) in holders.items()
             for path in around(event) for odd in ODD if odd and not isinstance(odd, str)]
    body = b""
    content_type = SCRIPTED[dialect](Script(SAID)).content_type
    with FakeServer(lambda request: Answer([body], content_type=content_type)) as server:
        for number, path, odd in chance.sample(tried, min(40, len(tried))):
            changed, (mark, event) = list(lines), events[number]
            changed[number] = mark + json.dumps(with_value(event, path, odd))
            body = "\n".join(changed).encode()
            deltas, failed = ask(dialect, server.url, HELLO)
            reply = reply_of(deltas)
            whole = any(text in reply.text for text in (SAID, json.dumps(odd), "1a"))
            unknown = isinstance(odd, dict) or odd == [{}]      # fields that nobody defines
            assert failed or whole or unknown or reply.finish == "incomplete", (path, odd, reply)


@pytest.mark.parametrize("dialect", sorted(SCRIPTED))
def test_arguments_without_a_call_are_not_left_out(dialect: str) -> None:
    """Whatever happens to one piece of a call: no call is run with less than the model wrote."""
    chance = seeded(dialect)
    calls = tuple(Call(f"c{number}", "add", {"x": number}) for number in (1, 2))
    good = SCRIPTED[dialect](Script("", "", calls))
    assert isinstance(good.steps[0], bytes)
    lines = good.steps[0].decode().split("\n")
    events = {number: json.loads(line[line.index("{"):]) for number, line in enumerate(lines)
              if "{" in line and ("call" in line or "input_json" in line or "tool" in line)}
    odd = [value for value in ODD if value and not isinstance(value, (dict, str)) and value != [{}]]
    tried = [(number, path, value) for number, event in events.items() for path in replaced(event)
             for value in odd if not {"args", "arguments", "x", "input"} & set(path[-1:])
             and path != ("choices", 0, "index")]     # an alternative, which is not read
    body = b""
    with FakeServer(lambda request: Answer([body], content_type=good.content_type)) as server:
        for number, path, value in chance.sample(tried, min(40, len(tried))):
            changed = list(lines)
            start = changed[number][:changed[number].index("{")]
            changed[number] = start + json.dumps(with_value(events[number], path, value))
            body = "\n".join(changed).encode()
            try:
                made = reply_of(ask(dialect, server.url, HELLO)[0]).tool_calls
            except BadResponse as problem:
                assert "without naming it" in problem.message
                continue
            assert all(call.invalid is not None or call.arguments for call in made), (path, value)


@pytest.mark.parametrize("dialect", sorted(set(SCRIPTED) - {"gemini", "ollama"}))
def test_calls_without_ids_of_their_own_keep_their_results(dialect: str) -> None:
    """A model may give several calls the same id, none, or one that is too long. The two other
    dialects find the call of a result by its order.
    """
    chance = seeded(dialect)
    for _ in range(4):
        ids = chance.choices(["", "c", "call_1", "x" * 90, " ", "é"], k=4)
        calls = tuple(ToolCall(each, "add", {"x": number}) for number, each in enumerate(ids))
        results = tuple(ToolResult(each, "add", f"result {number}")
                        for number, each in enumerate(ids))
        asked = Request("m", (*HELLO.messages, Message("assistant", calls), tool_message(results),
                              Message("user", (Text("go on"),))))
        _, received = exchange(dialect, SCRIPTED[dialect](Script(SAID)), asked)
        sent = received.json
        names = {path: value_at(sent, path) for path in replaced(sent)
                 if path[-1] in ("call_id", "tool_call_id", "tool_use_id")
                 or path[-1] == "id"}
        assert all(names.values()), (ids, names)
        assert sorted(Counter(names.values()).values()) == [2] * 4, names


@pytest.mark.parametrize("dialect", sorted(SCRIPTED))
def test_a_call_with_an_impossible_name_does_not_end_the_conversation(dialect: str) -> None:
    """Its name is sent in every later request, in a form that all providers accept."""
    chance = seeded(dialect)
    names = [" ", "add numbers", "füge.hinzu", "x" * 300, "\ud83d", "../etc", "a\0b",
             "".join(chance.choices("ab.-/ \n\u202e計\x1b[]{}\"", k=12))]
    for name in names:
        call = ToolCall("call_1", name, {"x": 1})
        asked = Request("m", (*HELLO.messages, Message("assistant", (call,)),
                              tool_message((ToolResult("call_1", name, "no such tool", True),)),
                              Message("user", (Text("go on"),))))
        _, received = exchange(dialect, SCRIPTED[dialect](Script(SAID)), asked)
        sent = [value_at(received.json, path) for path in replaced(received.json)
                if path[-1] in ("name", "tool_name")]
        assert sent and all(re.fullmatch("[A-Za-z0-9_-]{1,64}", each) for each in sent), name
