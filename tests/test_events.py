"""Events as JSON objects: one table for NDJSON, server-sent events and the docs."""

from __future__ import annotations

import json
import typing

import pytest

from core import errors, events
from core.errors import ChatError, ConnectFailed, UsageError, describe
from core.events import (Event, Failed, Kept, MessageAdded, ModelChanged, Notice, QuotesChecked,
                         Resuming, Retrying, TextDelta,
                         ThinkingDelta, ToolFinished, ToolRequested, Waiting, to_dict)
from core.messages import (Message, Text, ToolCall, ToolResult, Usage, image_type, tool_message,
                           user_message)

CASES: list[tuple[Event, dict[str, object] | None]] = [
    (TextDelta("a\u2028b"), {"event": "text", "text": "a\u2028b"}),
    (TextDelta("", extra={"x": 1}), None),
    (ThinkingDelta("hm"), {"event": "thinking", "text": "hm"}),
    (ThinkingDelta(""), None),
    (Kept("resp_1"), None),
    (Usage(1, 2), {"event": "usage", "input_tokens": 1, "output_tokens": 2}),
    (Usage(None, 2, 3, {"total_duration": 9}),
     {"event": "usage", "output_tokens": 2, "cached_tokens": 3, "total_duration": 9}),
    (ToolRequested(ToolCall("i", "n", {"a": [1]})),
     {"event": "tool_call", "id": "i", "name": "n", "arguments": {"a": [1]}}),
    (ToolRequested(ToolCall("i", "n", {}, '{"a')),
     {"event": "tool_call", "id": "i", "name": "n", "arguments": '{"a'}),
    (ToolFinished(ToolResult("i", "n", "c", True), 0.12345),
     {"event": "tool_result", "id": "i", "name": "n", "content": "c", "is_error": True,
      "seconds": 0.123}),
    (Retrying(2, 1.23456, "busy"),
     {"event": "retry", "attempt": 2, "delay": 1.235, "reason": "busy"}),
    (ModelChanged("p/a", "p/b", "gone"),
     {"event": "model_changed", "from": "p/a", "to": "p/b", "reason": "gone"}),
    (Waiting(1.5, "busy"), to_dict(Waiting(1.5, "busy"))),
    (Resuming("cut"), to_dict(Resuming("cut"))),
    (Notice("note"), {"event": "notice", "text": "note"}),
    (QuotesChecked(2, 1, ("why",), "a line"),
     {"event": "quotes", "checked": 2, "found": 1, "problems": ["why"]}),
    (MessageAdded(Message("assistant", (Text("t"),), "p/m", None, "stop")),
     {"event": "message", "role": "assistant", "text": "t", "model": "p/m", "finish": "stop"}),
    (MessageAdded(user_message("q")), None),
    (MessageAdded(tool_message(())), None),
    (Failed(ConnectFailed("no", "do")),
     {"event": "error", "kind": "connection", "message": "no", "hint": "do"}),
]


@pytest.mark.parametrize("event, expected", CASES)
def test_each_event_is_one_json_object(event: Event, expected: dict[str, object] | None) -> None:
    record = to_dict(event)
    assert record == expected
    assert json.loads(json.dumps(record)) == expected


def test_the_table_has_every_event() -> None:
    assert {type(event) for event, _ in CASES} == set(typing.get_args(events.Event))


def test_every_error_is_in_the_tree_at_the_top_and_has_its_own_kind_and_code() -> None:
    tree = errors.__doc__ or ""
    classes = [value for value in vars(errors).values()
               if isinstance(value, type) and issubclass(value, ChatError)]
    assert len({each.kind for each in classes}) == len(classes)
    for each in classes:
        assert f" {each.__name__} " in f" {tree} ".replace("\n",
                                                           " "), (f"{each.__name__} is not in "
                                                                  "the tree")
        assert each.exit_code in (1, 2, 3)


def test_an_error_is_told_in_three_lines_at_most() -> None:
    told = describe(UsageError("one\ntwo\x1b[31m" + "x" * 900, "do\nthis\nand that\nand more"))
    lines = told.splitlines()
    assert (len(lines) == 3 and lines[0].startswith("error: one two\u241b[31m")
            and len(lines[0]) < 700)
    assert lines[1:] == ["do", "this"]


def test_the_type_of_a_picture_is_told_by_its_first_bytes() -> None:
    assert image_type(b"\xff\xd8\xff\xe0") == "image/jpeg"
    assert image_type(b"RIFF....WEBP") == "image/webp" and image_type(b"RIFF....WAVE") == ""
    assert image_type(b"II*\0\x08") == image_type(b"MM\0*") == "image/tiff"
    assert image_type(b"BM\x36\0\0\0\0\0\0\0") == "image/bmp"
    assert image_type(b"BMW is a maker of cars") == ""
    assert image_type(b"\0\0\0\x20ftypavif\0\0\0\0avifmif1") == "image/avif"
    assert image_type(b"\0\0\0\x20ftypmif1\0\0\0\0avif") == "image/avif"
    assert image_type(b"\0\0\0\x20ftypheic\0\0\0\0mif1") == "image/heic"
    assert image_type(b"\0\0\0\x20ftypisom\0\0\0\0mp42") == ""
    assert image_type(b"GIF89a") == "image/gif" and image_type(b"") == image_type(b"%PDF") == ""
