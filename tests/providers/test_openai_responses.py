"""The OpenAI Responses dialect, against a loopback server that answers as the API does."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import (AuthFailed, BadResponse, ModelNotFound, Overloaded, ProviderError,
                         QuotaExhausted, RateLimited, StreamBroken)
from core.events import Finished, TextDelta, is_refusal
from core.messages import (Image, Message, Text, Thinking, ToolCall, ToolResult, Usage,
                           tool_message, user_message)
from core.providers import Endpoint, Options, Request, ToolSpec
from core.providers.openai_responses_request import request_body
from tests.dialects import CUTS, ask, exchange, reply_of, server_events, stream_answer
from tests.fake_server import FakeServer, Stall, json_answer

NAME = "openai-responses"
FROM = f"{NAME}/gpt-5-test"   # the tests' endpoint has the dialect's name as its host
HELLO = Request("gpt-5-test", (user_message("Hello"),))
COUNTS = {"input_tokens": 50, "input_tokens_details": {"cached_tokens": 16}, "output_tokens": 4,
          "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 54}
USAGE = Usage(50, 4, 16, {"reasoning_tokens": 3})
HERE = Endpoint("http://127.0.0.1:1", host=NAME)


def event(kind: str, index: int | None = None, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", **({} if index is None else {"output_index": index}),
            **fields, "sequence_number": 1}


def message(text: str = "", identity: str = "msg_1", **content: Any) -> dict[str, Any]:
    pieces = ([{"type": "output_text", "text": text, "annotations": []}] if text
              else [content] if content else [])
    return {"type": "message", "id": identity, "role": "assistant", "status": "completed",
            "content": pieces}


def reasoning(*summary: str, sealed: str = "sealed==") -> dict[str, Any]:
    return {"type": "reasoning", "id": "rs_1", "encrypted_content": sealed,
            "summary": [{"type": "summary_text", "text": text} for text in summary]}


def call(number: int, arguments: str) -> dict[str, Any]:
    return {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}",
            "name": "weather", "status": "completed",
            "arguments": arguments}


def begun(index: int, item: dict[str, Any]) -> dict[str, Any]:
    empty = {"content": [], "summary": [], "arguments": "", "status": "in_progress"}
    return event("output_item.added", index,
                 item={name: empty.get(name, value) for name, value in item.items()
                       if name != "encrypted_content"})


def over(index: int, item: dict[str, Any]) -> dict[str, Any]:
    return event("output_item.done", index, item=item)


def end(*output: dict[str, Any], status: str = "completed", **fields: Any) -> dict[str, Any]:
    return event(status, response={"id": "resp_1", "object": "response", "status": status,
                                   "error": None, "output": list(output),
                                   "incomplete_details": None, "usage": COUNTS, **fields})


def wire(*payloads: dict[str, Any]) -> bytes:
    started: dict[str, Any] = {"id": "resp_1", "object": "response", "status": "in_progress",
                               "output": [], "usage": None}
    return server_events([event("created", response=started),
                          event("in_progress", response=started), *payloads], named=True)


def text_events(*pieces: str, index: int = 0) -> list[dict[str, Any]]:
    item = message("".join(pieces))
    return [begun(index, item), event("content_part.added", index, content_index=0,
                                      part={"type": "output_text", "text": ""}),
            *(event("output_text.delta", index, content_index=0, delta=piece, logprobs=[],
                    obfuscation="xy") for piece in pieces),
            event("output_text.done", index, content_index=0, text="".join(pieces)),
            over(index, item)]


def call_events(number: int, *pieces: str, index: int) -> list[dict[str, Any]]:
    item = call(number, "".join(pieces))
    deltas = [event("function_call_arguments.delta", index, item_id=item["id"], delta=piece)
              for piece in pieces]
    return [begun(index, item), *deltas,
            event("function_call_arguments.done", index, item_id=item["id"],
                  arguments="".join(pieces)), over(index, item)]


def reply(*payloads: dict[str, Any], cut: int = 1 << 20) -> Message:
    deltas, _ = exchange(NAME, stream_answer(wire(*payloads), cut=cut), HELLO)
    return reply_of(deltas)


def own(**data: Any) -> dict[str, Any]:
    return {NAME: {"from": FROM, **data}}


@pytest.mark.parametrize("cut", CUTS)
def test_text(cut: int) -> None:
    body = wire(*text_events("Grüß ", "Gott 🙂"), end(message("Grüß Gott 🙂")))
    deltas, received = exchange(NAME, stream_answer(body, cut=cut), HELLO)
    assert reply_of(deltas) == Message("assistant", (Text("Grüß Gott 🙂", own(id="msg_1")),),
                                       "test/model", USAGE, "stop")
    assert (received.path, received.headers["authorization"]) == ("/responses", "Bearer test-key")
    assert received.json == {"model": "gpt-5-test", "stream": True, "store": False,
                             "include": ["reasoning.encrypted_content"],
                             "input":
                             [{"role": "user",
                               "content": [{"type": "input_text", "text": "Hello"}]}]}


@pytest.mark.parametrize("cut", CUTS)
def test_reasoning_calls_and_how_they_go_back(cut: int) -> None:
    thought = reasoning("Clouds.", "So rain?")
    answer = reply(begun(0, thought),
                   event("reasoning_summary_part.added", 0, summary_index=0, part={}),
                   event("reasoning_summary_text.delta", 0, summary_index=0, delta="Clouds"),
                   event("reasoning_summary_text.delta", 0, summary_index=0, delta="."),
                   event("reasoning_summary_text.delta", 0, summary_index=1, delta="So rain?"),
                   over(0, thought),
                   *call_events(1, '{"city": ', '"Wien"}', index=1), *call_events(2, "{}", index=2),
                   end(thought, call(1, '{"city": "Wien"}'), call(2, "{}")), cut=cut)
    assert answer == Message("assistant", (
        Thinking("Clouds.\n\nSo rain?", own(item=thought)),
        ToolCall("call_1", "weather", {"city": "Wien"}, None, own(id="fc_1")),
        ToolCall("call_2", "weather", {}, None, own(id="fc_2"))), "test/model", USAGE, "tool_calls")
    results = tool_message((ToolResult("call_1", "weather", "rain"),
                            ToolResult("call_2", "weather", "not allowed", True)))
    assert request_body(Request("gpt-5-test", (answer, results)), HERE)["input"] == [
        thought, {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather",
                  "arguments": '{"city": "Wien"}'},
        {"type": "function_call", "id": "fc_2", "call_id": "call_2", "name": "weather",
         "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
        {"type": "function_call_output", "call_id": "call_2", "output": "Error: not allowed"}]


def test_reasoning_without_the_item_that_followed_it_stays_away() -> None:
    thought, later = reasoning("One."), reasoning("Two.", sealed="later==")
    answer = Message("assistant",
                     (Thinking("One.", own(item=thought)), Text("Yes.", own(id="msg_1")),
                      Thinking("Two.", own(item=later))))
    assert request_body(Request("gpt-5-test",
                                (Message("assistant", answer.parts[:1], finish="interrupted"),)),
                        HERE)["input"] == []
    assert request_body(Request("gpt-5-test", (answer,)), HERE)["input"] == [
        thought, {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
                  "content": [{"type": "output_text", "text": "Yes.", "annotations": []}]}]


@pytest.mark.parametrize(("model", "host"), [("gpt-5-other", NAME), ("gpt-5-test", "elsewhere")])
def test_what_another_model_or_host_sealed_does_not_go_back(model: str, host: str) -> None:
    answer = Message("assistant",
                     (Thinking("One.", own(item=reasoning("One."))), Text("Yes.", own(id="msg_1")),
                      ToolCall("call_1", "weather", {}, None, own(id="fc_1"))))
    assert request_body(Request(model, (answer,)),
                        Endpoint("http://127.0.0.1:1", host=host))["input"] == [
        {"role": "assistant", "content": "Yes."},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"}]


def test_an_answer_goes_back_as_it_came() -> None:
    said = message("I look.") | {"phase": "commentary"}
    answer = reply(over(0, reasoning("Hm.")), begun(1, said),
                   event("output_text.delta", 1, delta="I look."), over(1, said),
                   *call_events(1, "{}", index=2), end())
    assert request_body(Request("gpt-5-test", (answer,)), HERE)["input"] == [
        reasoning("Hm."), said, {"type": "function_call", "id": "fc_1", "call_id": "call_1",
                                 "name": "weather", "arguments": "{}"}]


def test_parts_and_parallel_calls_are_kept_apart() -> None:
    def more(index: int, piece: str) -> dict[str, Any]:
        return event("function_call_arguments.delta", index, delta=piece)
    answer = reply(begun(2, call(1, "")), begun(3, call(2, "")), more(2, '{"a"'), more(3, '{"b"'),
                   more(2, ": 1}"), more(3, ": 2}"),
                   event("output_text.delta", 1, delta="b"),
                   event("reasoning_text.delta", 0, delta="a"),
                   event("output_text.delta", 1, delta="c"), end())
    assert ([item.arguments for item in answer.tool_calls] == [{"a": 1}, {"b": 2}]
            and (answer.text, answer.thinking) == ("bc", "a"))


def test_whole_reasoning_is_not_shown_beside_its_summary() -> None:
    assert reply(event("reasoning_text.delta", 0, delta="All of it."),
                 event("reasoning_summary_text.delta", 0, delta="Short."),
                 end()).thinking == "All of it."


def test_open_models_give_their_reasoning_as_text() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [],
            "content": [{"type": "reasoning_text", "text": "Hm."}]}
    answer = reply(begun(0, item), event("reasoning_text.delta", 0, content_index=0, delta="Hm."),
                   over(0, item),
                   *text_events("Yes.", index=1), end(item, message("Yes.")))
    assert answer.parts == (Thinking("Hm.", own(item=item)), Text("Yes.", own(id="msg_1")))


def test_a_server_that_numbers_no_items() -> None:
    """llama.cpp: no output_index, so the items are told apart by their ids."""
    def bare(payloads: list[dict[str, Any]], identity: str) -> list[dict[str, Any]]:
        return [{name: value for name, value in payload.items() if name != "output_index"} | (
            {} if "item" in payload else {"item_id": identity}) for payload in payloads]
    answer = reply(*bare(text_events("I look."), "msg_1"),
                   *bare(call_events(1, '{"a": 1}', index=0), "fc_1"),
                   *bare(call_events(2, '{"a": 2}', index=0), "fc_2"),
                   end(message("I look."), call(1, '{"a": 1}'), call(2, '{"a": 2}')))
    assert answer.text == "I look." and [item.arguments for item in answer.tool_calls] == [{"a": 1},
                                                                                           {"a": 2}]


def test_what_did_not_come_in_pieces_is_taken_from_the_whole() -> None:
    answer = reply(over(0, reasoning("Hm.")),
                   end(reasoning("Hm."), message("Yes."), call(1, '{"a": 1}')))
    assert (answer.thinking, answer.text, answer.finish) == ("Hm.", "Yes.", "tool_calls")
    assert answer.tool_calls[0].arguments == {"a": 1}


def test_an_answer_that_was_not_streamed() -> None:
    whole = end(reasoning("Hm."), message("Yes."), call(1, "{}"))["response"]
    deltas, _ = exchange(NAME, json_answer(whole), HELLO)
    answer = reply_of(deltas)
    assert (answer.thinking, answer.text, answer.usage, answer.finish) == ("Hm.", "Yes.", USAGE,
                                                                           "tool_calls")


@pytest.mark.parametrize("streamed", [True, False])
def test_a_refusal_is_told_apart_from_the_answer(streamed: bool) -> None:
    refused = message(type="refusal", refusal="I cannot help with that.")
    deltas_of_it = [event("refusal.delta", 0, content_index=0, delta=piece)
                    for piece in ("I cannot ", "help with that.")]
    deltas, _ = exchange(NAME,
                         stream_answer(wire(begun(0, refused), *(deltas_of_it if streamed else []),
                                            over(0, refused),
                                            end(refused))), HELLO)
    assert deltas == [TextDelta("I cannot help with that.", 0, {NAME: {"refusal": True}}), USAGE,
                      Finished("stop", "completed")]
    assert isinstance(deltas[0], TextDelta) and is_refusal(deltas[0].extra)


def test_a_refusal_that_broke_off_is_not_lost() -> None:
    with FakeServer(stream_answer(wire(event("refusal.delta", 0, delta="I can")))) as server:
        deltas, error = ask(NAME, server.url, HELLO)
    assert deltas == [TextDelta("I can", 0, {NAME: {"refusal": True}})] and isinstance(error,
                                                                                       StreamBroken)


@pytest.mark.parametrize(("reason", "finish"), [
    ("max_output_tokens", "length"), ("content_filter", "content_filter"), ("new", "incomplete")])
def test_an_incomplete_answer(reason: str, finish: str) -> None:
    answer = reply(*text_events("Half"),
                   end(message("Half"), status="incomplete", incomplete_details={"reason": reason}))
    assert (answer.text, answer.finish, answer.usage) == ("Half", finish, USAGE)


def test_a_call_cut_by_the_limit_is_not_run() -> None:
    answer = reply(*call_events(1, '{"city": "Wi', index=0),
                   end(call(1, '{"city": "Wi'), status="incomplete",
                       incomplete_details={"reason": "max_output_tokens"}))
    assert (answer.finish, answer.tool_calls) == ("length", ())


def test_unknown_events_and_items_are_skipped() -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    answer = reply(event("something.new", 0, delta=5), begun(0, search), over(0, search),
                   {"type": "keepalive"},
                   *text_events("Yes.", index=1), end(search, message("Yes.")))
    assert answer.parts == (Text("Yes.", own(id="msg_1")),)


def test_nothing_is_awaited_after_the_last_event() -> None:
    deltas, received = exchange(NAME,
                                stream_answer(wire(*text_events("Yes."), end(message("Yes."))),
                                              Stall()), HELLO)
    assert isinstance(deltas[-1], Finished)
    assert received.done.wait(5) and received.outcome == "client_left"


# ---- what goes wrong

BUSY = {"type": "server_error", "code": "server_is_overloaded",
        "message": "Our servers are currently overloaded.", "param": None}
RATE = {"type": "tokens", "code": "rate_limit_exceeded",
        "message": "Rate limit reached. Please try again in 1.5s."}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(("error", "cause"), [(BUSY, Overloaded), (RATE, RateLimited)])
@pytest.mark.parametrize("shape", ["nested", "flat", "failed"])
def test_an_error_inside_a_stream(shape: str, error: dict[str, Any], cause: type[ProviderError],
                                  cut: int) -> None:
    failed = end(status="failed", error={"code": error["code"], "message": error["message"]},
                 usage=None)
    said = {"nested": {"type": "error", "error": error}, "flat": {**error, "type": "error"},
            "failed": failed}[shape]
    with FakeServer(stream_answer(wire(event("output_text.delta", 0, delta="Ha"), said, failed),
                                  cut=cut)) as server:
        deltas, found = ask(NAME, server.url, HELLO)
    assert deltas == [TextDelta("Ha", 1)]
    assert (isinstance(found, StreamBroken) and isinstance(found.cause, cause)
            and error["message"].rstrip(".") in found.message)


def test_an_error_before_anything_came_is_that_error_with_its_delay() -> None:
    with FakeServer(stream_answer(wire({"type": "error", "error": RATE}))) as server:
        deltas, error = ask(NAME, server.url, HELLO)
    assert isinstance(error, RateLimited) and error.retry_after == 1.5 and not deltas


def test_a_stream_without_its_last_event_is_broken() -> None:
    with FakeServer(stream_answer(wire(*text_events("Half an answer")))) as server:
        deltas, error = ask(NAME, server.url, HELLO)
    assert isinstance(error, StreamBroken) and reply_of(deltas).text == "Half an answer"


def test_an_event_of_another_shape() -> None:
    with FakeServer(stream_answer(wire(event("output_text.delta", 0)))) as server:
        _, error = ask(NAME, server.url, HELLO)
    assert isinstance(error, BadResponse)


@pytest.mark.parametrize(("status", "error", "expected"), [
    (400, {"message": "The requested model 'x' does not exist.", "type": "invalid_request_error",
           "code": "model_not_found"},
     ModelNotFound),
    (401, {"message": "Incorrect API key provided: test-key.", "type": "invalid_request_error",
           "code": "invalid_api_key"},
     AuthFailed),
    (429, {"message": "You exceeded your current quota.", "type": "insufficient_quota",
           "code": "insufficient_quota"},
     QuotaExhausted)])
def test_error_answers(status: int, error: dict[str, Any], expected: type[ProviderError]) -> None:
    with FakeServer(json_answer({"error": error}, status)) as server:
        _, found = ask(NAME, server.url, HELLO)
    assert isinstance(found, expected) and "test-key" not in found.message + found.hint


def test_an_error_of_status_200() -> None:
    with FakeServer(json_answer({"error": {"message": "it failed"}, "status": 400})) as server:
        assert isinstance(ask(NAME, server.url, HELLO)[1], ProviderError)


# ---- the request

def test_everything_that_can_be_asked_for() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    request = Request("gpt-5-test", (
        Message("system", (Text("Be brief."),)),
        user_message("What is this?", (Image("image/png", "aWNvbg=="),)),
        Message("assistant", (Thinking("not shown again"), Text("A cat."))),
        Message("assistant", ()), user_message("Sure?")),
        system="You are kind.", tools=(ToolSpec("weather", "The weather", schema),),
        options=Options(temperature=0.5, top_p=0.9, seed=1, max_tokens=100, stop=("END",),
                        think="low", response_format=schema,
                        raw={"service_tier": "flex"}))
    assert request_body(request, HERE) == {
        "model": "gpt-5-test", "stream": True, "store": False,
        "include": ["reasoning.encrypted_content"],
        "instructions": "You are kind.", "temperature": 0.5, "top_p": 0.9, "max_output_tokens": 100,
        "service_tier": "flex",
        "reasoning": {"effort": "low", "summary": "auto"},
        "text":
        {"format": {"type": "json_schema", "name": "answer", "schema": schema, "strict": False}},
        "tools":
        [{"type": "function", "name": "weather", "description": "The weather", "parameters": schema,
          "strict": False}],
        "input": [
            {"role": "system", "content": [{"type": "input_text", "text": "Be brief."}]},
            {"role": "user", "content": [{"type": "input_text", "text": "What is this?"},
                                         {"type": "input_image",
                                          "image_url": "data:image/png;base64,aWNvbg=="}]},
            {"role": "assistant", "content": "A cat."},
            {"role": "user", "content": [{"type": "input_text", "text": "Sure?"}]}]}


@pytest.mark.parametrize(("think", "expected"), [
    (None, None), (False, {"effort": "none"}), ("off", {"effort": "none"}),
    (True, {"effort": "medium", "summary": "auto"}),
    ("on", {"effort": "medium", "summary": "auto"}),
    ("high", {"effort": "high", "summary": "auto"}),
    ("max", {"effort": "high", "summary": "auto"})])
def test_thinking(think: bool | str | None, expected: Any) -> None:
    assert request_body(Request("gpt-5-test", (), options=Options(think=think)),
                        HERE).get("reasoning") == expected


@pytest.mark.parametrize(("wanted", "expected"), [
    (None, None), ("json", {"type": "json_object"}),
    ({"type": "json_object"}, {"type": "json_object"}), ({"type": "text"}, None),
    ({"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
     {"type": "json_schema", "name": "x", "schema": {}})])
def test_forms_of_an_answer(wanted: Any, expected: Any) -> None:
    body = request_body(Request("gpt-5-test", (), options=Options(response_format=wanted)), HERE)
    assert body.get("text") == (expected and {"format": expected})


@pytest.mark.parametrize(("model", "asked"), [
    ("gpt-5-mini", True), ("o4-mini", True), ("gpt-4o", False), ("gpt-5-chat-latest", False),
    ("openai/gpt-4.1", False),
    ("ft:gpt-4o-mini:us::1", False), ("qwen3", True)])
def test_sealed_reasoning_is_asked_of_models_that_reason(model: str, asked: bool) -> None:
    assert ("include" in request_body(Request(model, ()), HERE)) is asked


def test_arguments_that_are_no_json_go_back_as_they_came() -> None:
    refused = Message("assistant", (ToolCall("a", "now", {}, '{"x": '),))
    assert request_body(Request("gpt-5-test", (refused,)),
                        HERE)["input"][0]["arguments"] == '{"x": '


def test_ids_that_are_too_long_change_alike_in_call_and_result() -> None:
    long = "call_" + "x" * 80
    items = request_body(Request("gpt-5-test",
                                 (Message("assistant", (ToolCall(long, "weather", {}),)),
                                  tool_message((ToolResult(long, "weather", "rain"),)))),
                         HERE)["input"]
    assert items[0]["call_id"] == items[1]["call_id"] != long and len(items[0]["call_id"]) <= 64


def test_the_version_of_the_api() -> None:
    _, received = exchange(NAME, stream_answer(wire(end(message("Yes.")))), HELLO,
                           quirks={"api_version": "2025 preview"})
    assert received.path == "/responses?api-version=2025%20preview"
