"""The differences of the Mistral dialect from OpenAI's, against a loopback server."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import AuthFailed, ModelNotFound
from core.events import ThinkingDelta
from core.messages import (Message, Text, Thinking, ToolCall, ToolResult, Usage, tool_message,
                           user_message)
from core.providers import Options, Request
from tests.dialects import CUTS, ask, exchange, reply_of, server_events, stream_answer
from tests.fake_server import FakeServer, json_answer

HELLO = Request("test-model", (user_message("Hello"),))
OWN = {"mistral": {"thinking": True}}
COUNTS = {"prompt_tokens": 50, "completion_tokens": 4, "total_tokens": 54}


def thought(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}], **more}


def words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def chunk(content: Any = "", finish: str | None = None, **delta: Any) -> dict[str, Any]:
    usage = {"usage": COUNTS} if finish else {}
    return {"choices":
            [{"index": 0, "delta": {"content": content, **delta}, "finish_reason": finish}],
            "p": "abcdef", **usage}


def call(identity: str, arguments: str = "{}", index: int = 0) -> dict[str, Any]:
    return {"id": identity, "index": index, "function": {"name": "now", "arguments": arguments}}


def answered(*chunks: dict[str, Any], cut: int = 1 << 20) -> Message:
    deltas, _ = exchange("mistral", stream_answer(server_events([*chunks, "[DONE]"]), cut=cut),
                         HELLO)
    return reply_of(deltas)


def sent(*messages: Message, options: Options = Options()) -> dict[str, Any]:
    _, received = exchange("mistral", stream_answer(server_events([chunk("x", "stop"), "[DONE]"])),
                           Request("test-model", messages, options=options))
    body: dict[str, Any] = received.json
    return body


@pytest.mark.parametrize("cut", CUTS)
def test_thinking_in_a_list_that_becomes_a_string(cut: int) -> None:
    answer = answered(chunk([thought("Let ")], role="assistant"),
                      chunk([thought("me.", closed=True), words("Grüß ")]),
                      chunk("Gott"), chunk("", "stop"), cut=cut)
    assert answer == Message("assistant", (Thinking("Let me.", OWN), Text("Grüß Gott")),
                             "test/model", Usage(50, 4), "stop")


@pytest.mark.parametrize("cut", CUTS)
def test_whole_calls_in_the_last_chunk(cut: int) -> None:
    answer = answered(chunk("", "tool_calls",
                            tool_calls=[call("aaaaaaaaa", '{"x": "東京"}'),
                                        call("bbbbbbbbb", index=1)]), cut=cut)
    assert answer.tool_calls == (ToolCall("aaaaaaaaa", "now", {"x": "東京"}),
                                 ToolCall("bbbbbbbbb", "now", {}))
    assert (answer.finish, answer.usage) == ("tool_calls", Usage(50, 4))


def test_an_answer_that_was_not_streamed() -> None:
    message = {"role": "assistant", "content": [thought("Hm."), words("Yes.")], "tool_calls": None}
    whole = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": COUNTS}
    deltas, _ = exchange("mistral", json_answer(whole), HELLO)
    assert reply_of(deltas).parts == (Thinking("Hm.", OWN), Text("Yes."))


def test_thinking_goes_back_in_its_place() -> None:
    answer = answered(chunk([thought("One.")]), chunk([words("First. ")]), chunk([thought("Two.")]),
                      chunk([words("Second.")]),
                      chunk("", "stop"))
    assert answer.parts == (Thinking("One.", OWN), Text("First. "), Thinking("Two.", OWN),
                            Text("Second."))
    entries = sent(user_message("q"), answer, user_message("r"))["messages"]
    assert entries[1] == {"role": "assistant",
                          "content": [thought("One."), words("First. "), thought("Two."),
                                      words("Second.")]}


def test_foreign_thinking_stays_here() -> None:
    answer = Message("assistant",
                     (Thinking("Hm.", {"elsewhere": {"signature": "x"}}), Text("Yes.")))
    assert sent(user_message("q"), answer,
                user_message("r"))["messages"][1] == {"role": "assistant", "content": "Yes."}


def test_ids_of_nine_characters() -> None:
    calls = tuple(ToolCall(identity, "now", {})
                  for identity in ("aB3456789", "functions.now:0", "call_abc", "call_abc"))
    results = tool_message(tuple(ToolResult(one.id, "now", str(number))
                                 for number, one in enumerate(calls)))
    history = (user_message("q"), Message("assistant", calls), results)
    found = []
    for _ in range(2):
        entries = sent(*history)["messages"]
        ids = [one["id"] for one in entries[1]["tool_calls"]]
        assert ids == [entry["tool_call_id"] for entry in entries[2:]] and ids[0] == "aB3456789"
        assert len(set(ids)) == 4 and all(len(one) == 9 and one.isascii() and one.isalnum()
                                          for one in ids)
        found.append(ids)
    assert found[0] == found[1]


def test_a_person_speaks_after_the_model_not_after_a_tool() -> None:
    history = (user_message("q"), Message("assistant", (ToolCall("aaaaaaaaa", "now", {}),)),
               tool_message((ToolResult("aaaaaaaaa", "now", "12"),)), user_message("Stop."))
    assert [entry["role"] for entry in sent(*history)["messages"]] == ["user", "assistant", "tool",
                                                                       "assistant", "user"]
    assert sent(*history)["messages"][1]["content"] == ""


@pytest.mark.parametrize(("options", "fields"), [
    (Options(seed=7, temperature=0.5, max_tokens=9),
     {"random_seed": 7, "temperature": 0.5, "max_tokens": 9}),
    (Options(think=True), {"reasoning_effort": "high"}),
    (Options(think="low"), {"reasoning_effort": "high"}),
    (Options(think=False), {"reasoning_effort": "none"}), (Options(), {})])
def test_options(options: Options, fields: dict[str, Any]) -> None:
    body = sent(user_message("q"), options=options)
    assert {name: value for name, value in body.items()
            if name not in ("model", "messages", "stream")} == fields


def test_errors_in_its_own_shapes() -> None:
    wrong_model = {"object": "error", "message": "Invalid model: x", "type": "invalid_model",
                   "param": None, "code": "1500"}
    with FakeServer([json_answer({"detail": "Invalid API Key"}, status=401),
                     json_answer(wrong_model, status=400)]) as server:
        assert [type(ask("mistral", server.url, HELLO)[1]) for _ in range(2)] == [AuthFailed,
                                                                                  ModelNotFound]


def test_thinking_is_streamed_as_it_comes() -> None:
    body = server_events([chunk([thought("a")]), chunk([thought("b")]), chunk("c", "stop")])
    deltas, _ = exchange("mistral", stream_answer(body), HELLO)
    assert "".join(delta.text for delta in deltas if isinstance(delta, ThinkingDelta)) == "ab"
