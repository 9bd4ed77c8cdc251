"""The OpenAI Responses dialect, against a loopback server that answers as the API does."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import ModelNotFound, ProviderError, RateLimited, StreamBroken
from core.events import Delta, Finished, TextDelta, ThinkingDelta
from core.messages import Message, Text, Thinking, ToolCall, ToolResult, Usage, tool_message, user_message
from core.providers import Endpoint, Options, Request
from core.providers.openai_responses_request import request_body
from tests.dialects import CUTS, ask, exchange, reply_of, server_events, stream_answer
from tests.fake_server import Cut, FakeServer, json_answer

HELLO = Request("test-model", (user_message("Hello"),))
COUNTS = {"input_tokens": 50, "input_tokens_details": {"cached_tokens": 16}, "output_tokens": 4,
          "output_tokens_details": {"reasoning_tokens": 3}}
USAGE = Usage(50, 4, 16, {"reasoning_tokens": 3})
FROM = "openai-responses/test-model"
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Look."}], "encrypted_content": "gAAA"}
MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
           "content": [{"type": "output_text", "text": "Grüß Gott 🙂", "annotations": []}]}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Wien"}',
        "status": "completed"}
NOW = {"type": "function_call", "id": "fc_2", "call_id": "call_2", "name": "now", "arguments": "{}", "status": "completed"}
OWN_CALL = ToolCall("call_1", "weather", {"city": "Wien"}, None, {"openai-responses": {"from": FROM, "id": "fc_1"}})
OWN_NOW = ToolCall("call_2", "now", {}, None, {"openai-responses": {"from": FROM, "id": "fc_2"}})
OWN_REASONING = Thinking("Look.", {"openai-responses": {"from": FROM, "item": REASONING}})
OWN_TEXT = Text("Grüß Gott 🙂", {"openai-responses": {"from": FROM, "id": "msg_1"}})


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "sequence_number": 0, **fields}


def begun(index: int, item: dict[str, Any]) -> dict[str, Any]:
    return event("output_item.added", output_index=index, item=item | {"content": [], "summary": [], "arguments": ""})


def done(index: int, item: dict[str, Any]) -> dict[str, Any]:
    return event("output_item.done", output_index=index, item=item)


def end(status: str = "completed", output: Any = (), **more: Any) -> dict[str, Any]:
    return event(status, response={"status": status, "usage": COUNTS, "output": list(output), **more})


def words(index: int, *pieces: str, kind: str = "output_text") -> list[dict[str, Any]]:
    return [event(f"{kind}.delta", output_index=index, delta=piece, item_id="x") for piece in pieces]


def wire(*payloads: dict[str, Any]) -> bytes:
    opening = [event("created", response={"status": "in_progress"}), event("in_progress", response={})]
    return server_events([*opening, *payloads], named=True)


def reply(*payloads: dict[str, Any], cut: int = 1 << 20) -> Message:
    deltas, _ = exchange("openai-responses", stream_answer(wire(*payloads), cut=cut), HELLO)
    return reply_of(deltas)


@pytest.mark.parametrize("cut", CUTS)
def test_text(cut: int) -> None:
    payloads = [begun(0, MESSAGE), *words(0, "Grüß ", "Gott 🙂"), event("something.new", output_index=0), done(0, MESSAGE),
                end(output=[MESSAGE])]
    deltas, received = exchange("openai-responses", stream_answer(wire(*payloads), cut=cut), HELLO)
    assert reply_of(deltas) == Message("assistant", (OWN_TEXT,), "test/model", USAGE, "stop")
    assert (received.path, received.headers["authorization"]) == ("/responses", "Bearer test-key")
    assert received.json == {"model": "test-model", "stream": True, "store": False, "include": ["reasoning.encrypted_content"],
                             "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hello"}]}]}


@pytest.mark.parametrize("cut", CUTS)
def test_reasoning_and_parallel_calls(cut: int) -> None:
    answer = reply(begun(0, REASONING), *words(0, "Lo", "ok.", kind="reasoning_summary_text"), done(0, REASONING),
                   begun(1, CALL), begun(2, NOW), *words(1, '{"city": ', kind="function_call_arguments"),
                   *words(2, "{}", kind="function_call_arguments"), *words(1, '"Wien"}', kind="function_call_arguments"),
                   done(1, CALL), done(2, NOW), end(output=[REASONING, CALL, NOW]), cut=cut)
    assert answer == Message("assistant", (OWN_REASONING, OWN_CALL, OWN_NOW), "test/model", USAGE, "tool_calls")


def test_sections_of_a_summary_are_paragraphs() -> None:
    sections = [event("reasoning_summary_text.delta", output_index=0, summary_index=number, delta=text)
                for number, text in ((0, "One"), (0, "."), (1, "Two."))]
    assert reply(*sections, end()).thinking == "One.\n\nTwo."


def test_whole_reasoning_is_not_shown_beside_its_summary() -> None:
    answer = reply(*words(0, "All of it.", kind="reasoning_text"), *words(0, "Short.", kind="reasoning_summary_text"), end())
    assert answer.thinking == "All of it."


@pytest.mark.parametrize("payloads", [
    [done(0, REASONING), done(1, MESSAGE), done(2, CALL), end()],
    [end(output=[REASONING, MESSAGE, CALL])],
    [begun(0, REASONING), begun(1, MESSAGE), *words(1, "Grüß Gott 🙂"), done(1, MESSAGE), end(output=[REASONING, MESSAGE, CALL])],
])
def test_what_did_not_come_in_deltas_is_read_from_the_items(payloads: list[Any]) -> None:
    assert set(map(repr, reply(*payloads).parts)) == set(map(repr, (OWN_REASONING, OWN_TEXT, OWN_CALL)))


def test_an_answer_that_was_not_streamed() -> None:
    whole = {"object": "response", "status": "completed", "error": None, "output": [REASONING, MESSAGE, CALL], "usage": COUNTS}
    deltas, _ = exchange("openai-responses", json_answer(whole), HELLO)
    assert reply_of(deltas) == Message("assistant", (OWN_REASONING, OWN_TEXT, OWN_CALL), "test/model", USAGE, "tool_calls")


def test_a_refusal_is_told_once_and_whole() -> None:
    item = {"type": "message", "id": "msg_1", "content": [{"type": "refusal", "refusal": "I cannot."}]}
    for payloads in ([*words(0, "I can", "not.", kind="refusal"), done(0, item), end(output=[item])], [end(output=[item])]):
        deltas, _ = exchange("openai-responses", stream_answer(wire(*payloads)), HELLO)
        assert [(delta.text, delta.extra) for delta in deltas if isinstance(delta, TextDelta)] == [
            ("I cannot.", {"openai-responses": {"refusal": True}})]


@pytest.mark.parametrize(("reason", "finish"), [("max_output_tokens", "length"), ("content_filter", "content_filter")])
def test_incomplete_answers(reason: str, finish: str) -> None:
    cut = CALL | {"arguments": '{"city": "Wi', "status": "incomplete"}
    answer = reply(*words(0, "half"), begun(1, CALL), *words(1, '{"city": "Wi', kind="function_call_arguments"), done(1, cut),
                   end("incomplete", incomplete_details={"reason": reason}))
    assert (answer.text, answer.finish, answer.tool_calls, answer.usage) == ("half", finish, (), USAGE)


# ---- what goes wrong

FAILURES = [
    {"type": "error", "error": {"type": "tokens", "code": "rate_limit_exceeded", "message": "Rate limit reached. Try again in 2s"}},
    {"type": "error", "code": "rate_limit_exceeded", "message": "Rate limit reached. Try again in 2s", "param": None},
    event("failed", response={"status": "failed", "error": {"code": "rate_limit_exceeded",
                                                            "message": "Rate limit reached. Try again in 2s"}}),
]


@pytest.mark.parametrize("failure", FAILURES, ids=range(len(FAILURES)))
def test_an_error_inside_a_stream(failure: dict[str, Any]) -> None:
    failed = event("failed", response={"status": "failed", "error": {"code": "server_error", "message": "later"}})
    with FakeServer([stream_answer(wire(failure, failed)), stream_answer(wire(*words(0, "half"), failure, failed))]) as server:
        _, at_once = ask("openai-responses", server.url, HELLO)
        deltas, later = ask("openai-responses", server.url, HELLO)
    assert isinstance(at_once, RateLimited) and at_once.retry_after == 2
    assert deltas == [TextDelta("half", 1)] and isinstance(later, StreamBroken) and isinstance(later.cause, RateLimited)


@pytest.mark.parametrize("cut", CUTS)
def test_a_stream_without_an_end_is_broken(cut: int) -> None:
    with FakeServer(stream_answer(wire(*words(0, "half")), Cut(), cut=cut)) as server:
        deltas, error = ask("openai-responses", server.url, HELLO)
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == "half" and isinstance(error, StreamBroken)


def test_an_error_instead_of_an_answer() -> None:
    refused = {"error": {"message": "The requested model 'x' does not exist.", "code": "model_not_found", "param": "model"}}
    with FakeServer(json_answer(refused, status=400)) as server:
        assert isinstance(ask("openai-responses", server.url, HELLO)[1], ModelNotFound)


def test_an_error_of_status_200() -> None:
    with FakeServer(json_answer({"error": {"message": "it failed"}, "status": 400})) as server:
        assert isinstance(ask("openai-responses", server.url, HELLO)[1], ProviderError)


# ---- what is sent

RESULTS = tool_message((ToolResult("call_1", "weather", "rain"), ToolResult("call_2", "now", "no clock", True)))
OUTPUTS = [{"type": "function_call_output", "call_id": "call_1", "output": "rain"},
           {"type": "function_call_output", "call_id": "call_2", "output": "Error: no clock"}]


def sent(*messages: Message, model: str = "test-model", host: str = "openai-responses", **options: Any) -> dict[str, Any]:
    return request_body(Request(model, messages, options=Options(**options)), Endpoint("http://127.0.0.1:1", host=host))


def plain(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in ("status", "id")}


def test_reasoning_goes_back_sealed_before_what_it_led_to() -> None:
    answer = Message("assistant", (OWN_REASONING, OWN_CALL, OWN_NOW))
    items = sent(answer, RESULTS)["input"]
    assert items == [REASONING, plain(CALL) | {"id": "fc_1"}, plain(NOW) | {"id": "fc_2"}, *OUTPUTS]


@pytest.mark.parametrize("elsewhere", [{"model": "other-model"}, {"host": "other"}])
def test_sealed_reasoning_and_ids_go_to_no_other_model(elsewhere: dict[str, Any]) -> None:
    items = sent(Message("assistant", (OWN_REASONING, OWN_TEXT, OWN_CALL, OWN_NOW)), RESULTS, **elsewhere)["input"]
    assert items == [{"role": "assistant", "content": "Grüß Gott 🙂"}, plain(CALL), plain(NOW), *OUTPUTS]


def test_reasoning_without_what_it_led_to_stays_here() -> None:
    assert sent(Message("assistant", (OWN_REASONING,), finish="interrupted"), user_message("Well?"))["input"] == [
        {"role": "user", "content": [{"type": "input_text", "text": "Well?"}]}]
    items = sent(Message("assistant", (OWN_TEXT, OWN_REASONING), finish="length"))["input"]
    assert items == [MESSAGE]


def test_an_answer_comes_back_as_it_was_sent() -> None:
    message = MESSAGE | {"phase": "commentary"}
    answer = reply(begun(0, REASONING), *words(0, "Look.", kind="reasoning_summary_text"), done(0, REASONING),
                   begun(1, message), *words(1, "Grüß Gott 🙂"), done(1, message),
                   begun(2, CALL), *words(2, CALL["arguments"], kind="function_call_arguments"), done(2, CALL), end())
    assert sent(answer)["input"] == [REASONING, message, plain(CALL) | {"id": "fc_1"}]


@pytest.mark.parametrize(("options", "fields"), [
    ({"temperature": 0.5, "top_p": 0.9, "max_tokens": 9}, {"temperature": 0.5, "top_p": 0.9, "max_output_tokens": 9}),
    ({"seed": 7, "stop": ("END",), "num_ctx": 1, "keep_alive": "5m"}, {}),
    ({"think": True}, {"reasoning": {"effort": "medium", "summary": "auto"}}),
    ({"think": "max"}, {"reasoning": {"effort": "high", "summary": "auto"}}),
    ({"think": False}, {"reasoning": {"effort": "none"}}),
    ({"response_format": {"type": "json_object"}}, {"text": {"format": {"type": "json_object"}}}),
    ({"response_format": {"type": "object"}}, {"text": {"format": {"type": "json_schema", "name": "answer", "strict": True,
                                                                   "schema": {"type": "object"}}}}),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
     {"text": {"format": {"type": "json_schema", "name": "x", "schema": {}}}}),
    ({"temperature": 1.0, "raw": {"temperature": 0, "truncation": "auto"}}, {"temperature": 0, "truncation": "auto"}),
])
def test_options(options: dict[str, Any], fields: dict[str, Any]) -> None:
    body = sent(user_message("q"), **options)
    assert {name: value for name, value in body.items() if name not in ("model", "input", "stream", "store", "include")} == fields


@pytest.mark.parametrize(("model", "asked"), [
    ("gpt-5-mini", True), ("o4-mini", True), ("some-model", True), ("gpt-4o", False), ("openai/gpt-4.1", False),
    ("gpt-5-chat", False)])
def test_sealed_reasoning_is_asked_of_models_that_reason(model: str, asked: bool) -> None:
    assert ("include" in sent(user_message("q"), model=model)) is asked


def test_long_ids_are_shortened_alike_in_call_and_result() -> None:
    long = "x" * 90
    result = tool_message((ToolResult(long, "now", "12"),))
    items = sent(Message("assistant", (ToolCall(long, "now", {}),)), result)["input"]
    assert items[0]["call_id"] == items[1]["call_id"] and len(items[0]["call_id"]) <= 64


def test_arguments_that_are_no_json_go_back_as_they_came() -> None:
    assert sent(Message("assistant", (ToolCall("a", "now", {}, '{"x": '),)))["input"][0]["arguments"] == '{"x": '


def test_deltas_keep_their_parts_apart() -> None:
    body = wire(*words(1, "b"), *words(0, "a", kind="reasoning_text"), *words(1, "c"), end())
    deltas, _ = exchange("openai-responses", stream_answer(body), HELLO)
    shown: list[Delta] = [delta for delta in deltas if isinstance(delta, (TextDelta, ThinkingDelta, Finished))]
    assert shown == [TextDelta("b", 2), ThinkingDelta("a", 1), TextDelta("c", 2), Finished("stop", "completed")]
