"""A reply is what was streamed: every piece once, in its part, with what belongs to it."""

from __future__ import annotations

import tracemalloc

import pytest

from core.errors import BadResponse
from core.events import Delta, Finished, TextDelta, ThinkingDelta, ToolCallDelta
from core.messages import (Finish, Message, Part, Text, Thinking, ToolCall, ToolResult, Usage,
                           tool_message, user_message)
from core.sessions.reply import Reply, in_call_order, missing_results

MOST = 1_048_576        # characters of arguments


def reply(*deltas: Delta) -> Reply:
    made = Reply()
    for delta in deltas:
        made.add(delta)
    return made


def call(index: int, arguments: str = "", name: str = "look", identity: str = "") -> ToolCallDelta:
    return ToolCallDelta(index, identity, name, arguments)


@pytest.mark.parametrize(("deltas", "parts"), [
    ([], ()),
    ([TextDelta("")], ()),
    ([TextDelta(""), TextDelta("a"), TextDelta("b")], (Text("ab"),)),
    ([TextDelta("a", 1), TextDelta("b", 2), TextDelta("c", 1)], (Text("ac"), Text("b"))),
    ([TextDelta("a", 0), ThinkingDelta("b", 0), TextDelta("c", 0)],
     (Text("a"), Thinking("b"), Text("c"))),
    ([TextDelta("a", 1), ThinkingDelta("b", 1), TextDelta("c", 1)], (Text("ac"), Thinking("b"))),
    ([ThinkingDelta("a", 2), TextDelta("b", 2), ThinkingDelta("c", 2), ThinkingDelta("d", 3)],
     (Thinking("ac"), Text("b"), Thinking("d"))),
    ([TextDelta("", 0, {"x": {"a": 1}}), TextDelta("w", 0, {"x": {"b": 2}, "y": 1}),
      TextDelta("", 0, {"x": {"a": 3}, "y": {"c": 1}})],
     (Text("w", {"x": {"a": 3, "b": 2}, "y": {"c": 1}}),)),
    ([TextDelta("a", 0, {"x": {"a": 1}}), TextDelta("b", 0, {"x": 5})], (Text("ab", {"x": 5}),)),
    ([TextDelta("a", 1, {"x": 1}), TextDelta("b", 2), TextDelta("", 1, {"y": 2})],
     (Text("a", {"x": 1, "y": 2}), Text("b"))),
])
def test_words_come_to_their_part(deltas: list[Delta], parts: tuple[Part, ...]) -> None:
    made = reply(*deltas, Usage(1, 2), Finished("stop"))
    assert made.message("p/m") == Message("assistant", parts, "p/m", Usage(1, 2), "stop")
    assert made.broken("p/m", "length") == Message("assistant", parts, "p/m", Usage(1, 2), "length")
    assert made.begun is bool(parts) and made.calls is False
    assert made.text == "".join(part.text for part in parts if isinstance(part, Text))


WHOLE, CUT = call(0, '{"a": 1}'), call(0, '{"a": ')


@pytest.mark.parametrize(("deltas", "reason", "finish", "calls"), [
    ([], "tool_calls", "stop", 0),
    ([WHOLE], "stop", "tool_calls", 1),
    ([WHOLE], "tool_calls", "tool_calls", 1),
    ([WHOLE], "length", "tool_calls", 1),
    ([WHOLE, call(1, '{"b')], "length", "length", 0),
    ([CUT], "length", "length", 0),
    ([CUT], "stop", "tool_calls", 1),
    ([WHOLE], "incomplete", "incomplete", 0),
    ([WHOLE], "content_filter", "content_filter", 0),
    ([WHOLE], None, None, 0),
    ([], "length", "length", 0),
    ([call(0, name="")], "incomplete", "incomplete", 0),
    # a place for a call that never came, beside one that did
    ([WHOLE, call(1, name="")], "stop", "tool_calls", 1),
])
def test_what_the_end_means_for_calls(deltas: list[Delta], reason: Finish | None,
                                      finish: Finish | None, calls: int) -> None:
    made = reply(TextDelta("t"), *deltas, *([Finished(reason)] if reason else ()))
    message = made.message("p/m")
    assert message.finish == finish and len(message.tool_calls) == calls
    assert message.text == made.text == "t" and made.calls is bool(deltas)
    assert made.broken("p/m", "stop").parts == (Text("t"),)


@pytest.mark.parametrize("deltas", [
    [call(0, name="")], [call(0, name=""), call(1, name="")], [WHOLE, call(1, "{}", name="")]])
def test_a_call_without_a_name_is_refused(deltas: list[Delta]) -> None:
    with pytest.raises(BadResponse, match="without naming it"):
        reply(*deltas, Finished("stop")).message("p/m")


@pytest.mark.parametrize(("arguments", "read"), [
    ("", {}), (" \n", {}), ("null", {}), ("{}", {}), ('{"a": [1]}', {"a": [1]}),
    ("[]", None), ("1", None), ("0", None), ('""', None), ("{", None), ('{"a": 1, "a": 2}', None),
    ("[" * 100_000, None)])
def test_arguments(arguments: str, read: dict[str, object] | None) -> None:
    made = reply(TextDelta("t"), call(0, arguments[:1]), call(0, arguments[1:]), Finished("stop"))
    (found,) = made.message("p/m").tool_calls
    assert found == ToolCall("call_1", "look", read or {}, None if read is not None else arguments)


def test_what_comes_twice_of_a_call_counts_once() -> None:
    made = reply(ToolCallDelta(3, "", "look", "", {"x": 1}), ToolCallDelta(3, "a", "other", "{}"),
                 ToolCallDelta(3, "b", "", "", {"y": 2, "x": 3}), Finished("stop"))
    assert made.message("p/m").tool_calls == (ToolCall("a", "look", {}, None, {"y": 2, "x": 3}),)


@pytest.mark.parametrize(("more", "runs"), [(0, True), (1, False)])
@pytest.mark.parametrize("piece", [MOST // 2, MOST - 1, 1 << 30])
def test_the_longest_arguments(more: int, runs: bool, piece: int) -> None:
    size = MOST + more
    text = '{"a": "' + "x" * (size - 9) + '"}'
    made = reply(*(call(0, text[at:at + piece]) for at in range(0, size, piece)),
                 Finished("tool_calls"))
    (found,) = made.message("p/m").tool_calls
    if runs:
        assert found.invalid is None and len(found.arguments["a"]) == size - 9
    else:
        assert found.arguments == {}
        assert found.invalid == f"{text[:1000]}… [cut here: the arguments have {size:,} characters]"


@pytest.mark.parametrize("size", [MOST // 2 + 1, 4 * MOST])
def test_endless_arguments_do_not_fill_the_memory(size: int) -> None:
    made = reply(call(0))
    tracemalloc.start()
    for _ in range(8):
        made.add(call(0, "x" * size))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1.5 * MOST
    made.add(Finished("stop"))
    assert made.message("p/m").tool_calls[0].invalid is not None


def test_results_stand_in_the_order_of_the_calls() -> None:
    calls = [ToolCall(identity, "look", {}) for identity in ("a", "b", "a")]
    first, second, third = (ToolResult(identity, "look", text)
                            for identity, text in (("b", "1"), ("a", "2"), ("a", "3")))
    assert in_call_order(calls, [first, second, third]) == (second, first, third)


ASKED = Message("assistant", (ToolCall("a", "look", {}), ToolCall("b", "look", {})))
DONE = tool_message((ToolResult("b", "look", "1"),))


@pytest.mark.parametrize(("messages", "missing"), [
    ([], []), ([user_message("q")], []), ([user_message("q"), Message("assistant", ())], []),
    ([ASKED], ["a", "b"]), ([ASKED, DONE], ["a"]),
    ([ASKED, tool_message((ToolResult("a", "look", "1"),)), DONE], []),
    ([ASKED, user_message("q")], []),          # answered by the user
    ([DONE], []),
])
def test_the_results_that_are_missing(messages: list[Message], missing: list[str]) -> None:
    found = missing_results(messages)
    assert [result.id for result in found.tool_results if result.is_error] == missing \
        if found else missing == []
