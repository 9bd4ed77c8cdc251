"""Lines of Ollama's API become a reply, whatever they contain."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import BadResponse, ProviderError, StreamBroken
from core.events import Answering, Delta, Finished, TextDelta, ThinkingDelta, ToolCallDelta
from core.messages import Message, ToolCall, Usage, user_message
from core.providers import Request
from core.providers.ollama_reply import ReplyReader, is_content, usage_of

HELLO = (user_message("hello"),)
DONE = {"model": "m", "done": True, "done_reason": "stop"}


def line(content: Any = "", **fields: Any) -> dict[str, Any]:
    """A line with a message; `of` are the fields of the line itself."""
    of = fields.pop("of", {})
    return {"model": "m", "message": {"role": "assistant", "content": content, **fields},
            "done": False, **of}


def read(*values: Any, messages: tuple[Message, ...] = HELLO) -> list[Delta]:
    return list(ReplyReader(Request("m", messages)).read(values))


def call(name: str = "look", **fields: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": {}}, **fields}


END: list[Delta] = [Usage(None, None, None, None), Finished("stop", "stop")]


@pytest.mark.parametrize(("values", "deltas"), [
    ([line("a"), line("b"), DONE], [TextDelta("a"), TextDelta("b"), *END]),
    ([line("a", of={"done": True, "done_reason": "stop"}), line("late")], [TextDelta("a"), *END]),
    ([[line("a")], [], [3, DONE]], None),                   # an empty list is no line
    ([[line("a")], [3, DONE]], [TextDelta("a"), *END]),
    ([line(None), line("a", thinking=None, tool_calls=None), DONE], [TextDelta("a"), *END]),
    ([line("", thinking="t"), line("<think>a"), DONE],
     [ThinkingDelta("t"), TextDelta("<think>a"), *END]),
    ([line("a", thinking="t"), DONE], [ThinkingDelta("t"), TextDelta("a"), *END]),
    ([line("<think>t</think>a"), DONE], [ThinkingDelta("t"), TextDelta("a"), *END]),
    ([line("<thi"), DONE], [TextDelta("<thi"), *END]),
    ([line("<thi", tool_calls=[call(id="1")]), line("b"), DONE],
     [TextDelta("<thi"), ToolCallDelta(0, "1", "look", "{}"), TextDelta("b"), END[0],
      Finished("tool_calls", "stop")]),
    ([line(tool_calls=call(id="1")), {**DONE, "done_reason": "length"}],
     [ToolCallDelta(0, "1", "look", "{}"), END[0], Finished("length", "length")]),
    # what another API adds is skipped; what the API has is read with it
    ([{"type": "ping"}, line("a"), {"status": "still loading"}, DONE], [TextDelta("a"), *END]),
    ([{"message": {"role": "assistant"}, "x": 1}, DONE], END),
    ([{"message": {"text": "one two"}, "done": False}, line("a"), DONE], [TextDelta("a"), *END]),
    ([{"done_reason": "stop"}], END),
    ([line("a", of={"done_reason": ""}), line("b", of={"done_reason": 5}), DONE],
     [TextDelta("a"), TextDelta("b"), *END]),
    ([{"done": "True"}], [END[0], Finished("stop", "")]),
    ([{"done": 1}], [END[0], Finished("stop", "")]),
    ([{"done": True, "message": None}], [END[0], Finished("stop", "")]),
    # another model answers
    ([line("a", of={"model": "other"}), DONE], [Answering("other"), TextDelta("a"), *END]),
    ([line("a", of={"model": ""}), line("b", of={"model": "other"}), DONE],
     [TextDelta("a"), TextDelta("b"), *END]),
    ([line("", of={"model": ""}), line("b", of={"model": "other"}), DONE],
     [Answering("other"), TextDelta("b"), *END]),
    ([line("", of={"model": "m"}), line("b", of={"model": "other"}), DONE], [TextDelta("b"), *END]),
    # no line of this API
    ([3], None), (["a"], None), ([line(3)], None), ([line("a", thinking=["t"])], None),
    ([line("a", tool_calls=5)], None), ([line("a", tool_calls=[5])], None),
    ([line("a", tool_calls=[{"function": {"name": 5}}])], None),
])
def test_lines(values: list[Any], deltas: list[Delta] | None) -> None:
    if deltas is None:
        with pytest.raises(BadResponse, match="did not respond like an Ollama server"):
            read(*values)
    else:
        assert read(*values) == deltas


@pytest.mark.parametrize(("calls", "found"), [
    ([{"function": {"name": "a", "arguments": '{"x": 1}'}}], [("call_2", "a", '{"x": 1}')]),
    ([{"function": {"name": "a", "arguments": {"x": [1]}}}], [("call_2", "a", '{"x": [1]}')]),
    ([{"function": {"name": "a", "arguments": None}}], [("call_2", "a", "")]),
    ([{"id": "z"}], [("z", "", "")]),
    ([call(), call(id="own"), call("b")],
     [("call_2", "look", "{}"), ("own", "look", "{}"), ("call_4", "b", "{}")]),
])
def test_calls_have_their_own_number(calls: list[Any], found: list[tuple[str, str, str]]) -> None:
    """Earlier calls of the conversation have call_3 and another."""
    earlier = Message("assistant", (ToolCall("call_3", "look", {}), ToolCall("x", "look", {})))
    deltas = read(line(tool_calls=calls), DONE, messages=(*HELLO, earlier))
    assert [(delta.index, delta.id, delta.name, delta.arguments) for delta in deltas
            if isinstance(delta, ToolCallDelta)] == [
        (number, *each) for number, each in enumerate(found)]


@pytest.mark.parametrize(("before", "deltas", "kind"), [
    ([], [], None), ([line("")], [], None),
    ([line("a")], [TextDelta("a")], StreamBroken),
    ([line("<thi")], [TextDelta("<thi")], StreamBroken),
    ([line("", thinking="t")], [ThinkingDelta("t")], StreamBroken),
    ([line(tool_calls=[call(id="1")])], [ToolCallDelta(0, "1", "look", "{}")], StreamBroken),
])
def test_an_error_in_the_reply(before: list[Any], deltas: list[Delta],
                               kind: type[Exception] | None) -> None:
    """What came before it stays; only then the reply is broken."""
    found: list[Delta] = []
    with pytest.raises(ProviderError, match="out of memory") as raised:
        for delta in ReplyReader(Request("m", HELLO)).read([*before, {"error": "out of memory"}]):
            found.append(delta)
    assert found == deltas
    assert isinstance(raised.value, StreamBroken) is (kind is StreamBroken)


@pytest.mark.parametrize(("last", "explained"), [
    ({"detail": "the queue is full"}, True),
    ({"message": {"text": "the queue is full"}, "done": False}, True),
    ({"detail": "full"}, False), (line("a"), False), ({"message": {"role": "x"}}, False)])
def test_what_the_last_line_says_about_a_broken_stream(last: Any, explained: bool) -> None:
    reader = ReplyReader(Request("m", HELLO))
    list(reader.read([last]))
    broken = StreamBroken("broken")
    assert (reader.reason(broken) is not broken) is explained
    assert "queue" in str(reader.reason(broken)) or not explained
    caused = StreamBroken("broken", cause=broken)
    assert reader.reason(caused) is caused
    list(reader.read([line("b")]))
    assert reader.reason(broken) is broken     # the reply went on


@pytest.mark.parametrize(("value", "content"), [
    ({}, False), (None, False), ([], False), ({"status": "x"}, True), ([1], True),
    (line(""), False), (line("a"), True), (line("", thinking="t"), True),
    (line("", tool_calls=[call()]), True), (line("", of={"done": True}), True)])
def test_signs_of_life(value: Any, content: bool) -> None:
    assert is_content(value) is content


def test_the_numbers_of_the_last_line() -> None:
    assert usage_of({}) == Usage(None, None, None, None)
    assert usage_of({"prompt_eval_count": 0, "eval_count": 2, "prompt_eval_cached_count": 1,
                     "total_duration": 5, "load_duration": "x", "eval_duration": 0,
                     "other": 3}) == Usage(0, 2, 1, {"total_duration": 5, "eval_duration": 0})
    assert usage_of({"prompt_eval_count": -1, "eval_count": True}) == Usage(None, None, None, None)
