"""The Cohere chat dialect, against a loopback server that answers as the API does."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import (AuthFailed, BadResponse, ContextTooLong, ModelNotFound, ProviderError,
                         StreamBroken)
from core.events import Finished, TextDelta, ThinkingDelta
from core.messages import (Image, Message, Text, Thinking, ToolCall, ToolResult, Usage,
                           tool_message, user_message)
from core.providers import CanCheck, CanShow, ModelInfo, Options, Request, ToolSpec
from core.providers.cohere import request_body
from tests.dialects import (CUTS, ask, exchange, provider_at, reply_of, run, server_events,
                            stream_answer)
from tests.fake_server import FakeServer, json_answer

HELLO = Request("command-test", (user_message("Hello"),))
COUNTS = {"billed_units": {"input_tokens": 2, "output_tokens": 1},
          "tokens": {"input_tokens": 50, "output_tokens": 4},
          "cached_tokens": 16}
USAGE = Usage(50, 4, 16, {"billed_units": {"input_tokens": 2, "output_tokens": 1}})


def event(kind: str, index: int | None = None, **message: Any) -> dict[str, Any]:
    return {"type": kind, **({} if index is None else {"index": index}),
            **({"delta": {"message": message}} if message else {})}


def words(text: str, index: int = 0, kind: str = "text") -> dict[str, Any]:
    return event("content-delta", index, content={kind: text})


def call(index: int, identity: str, name: str) -> dict[str, Any]:
    return event("tool-call-start", index, tool_calls={"id": identity, "type": "function",
                                                       "function": {"name": name, "arguments": ""}})


def arguments(index: int, text: str) -> dict[str, Any]:
    return event("tool-call-delta", index, tool_calls={"function": {"arguments": text}})


def end(reason: str, **more: Any) -> list[Any]:
    return [{"type": "message-end", "delta": {"finish_reason": reason, "usage": COUNTS, **more}},
            "[DONE]"]


def wire(payloads: list[Any]) -> bytes:
    return server_events([event("message-start", role="assistant", content=[], tool_plan="",
                                tool_calls=[]), *payloads])


PLAIN = [event("content-start", 0, content={"type": "text", "text": ""}), words("Grüß "),
         words("Gott 🙂"),
         event("citation-start", 0, citations={"start": 0, "end": 4}), event("citation-end", 0),
         event("content-end", 0)]
THINKING = [event("content-start", 0, content={"type": "thinking", "thinking": ""}),
            words("Hm", 0, "thinking"),
            words(".", 0, "thinking"), event("content-end", 0),
            event("content-start", 1, content={"type": "text", "text": ""}),
            words("Yes.", 1), event("content-end", 1)]
CALLS = [event("tool-plan-delta", tool_plan="I will "), event("tool-plan-delta", tool_plan="look."),
         call(0, "weather_1", "weather"), arguments(0, '{"city": '), arguments(0, '"Wien"}'),
         event("tool-call-end", 0),
         call(1, "now_1", "now"), event("tool-call-end", 1)]


@pytest.mark.parametrize("cut", CUTS)
def test_text(cut: int) -> None:
    deltas, received = exchange("cohere", stream_answer(wire([*PLAIN, *end("COMPLETE")]), cut=cut),
                                HELLO)
    assert reply_of(deltas) == Message("assistant", (Text("Grüß Gott 🙂"),), "test/model", USAGE,
                                       "stop")
    assert (received.path, received.headers["authorization"]) == ("/v2/chat", "Bearer test-key")
    assert received.json == {"model": "command-test", "stream": True,
                             "messages": [{"role": "user", "content": "Hello"}]}


@pytest.mark.parametrize("cut", CUTS)
def test_thinking_is_not_the_answer(cut: int) -> None:
    deltas, _ = exchange("cohere", stream_answer(wire([*THINKING, *end("MAX_TOKENS")]), cut=cut),
                         HELLO)
    assert reply_of(deltas) == Message("assistant", (Thinking("Hm."), Text("Yes.")), "test/model",
                                       USAGE, "length")


@pytest.mark.parametrize("cut", CUTS)
def test_the_plan_is_shown_as_thinking_and_goes_back_as_the_plan(cut: int) -> None:
    deltas, _ = exchange("cohere", stream_answer(wire([*CALLS, *end("TOOL_CALL")]), cut=cut), HELLO)
    reply = reply_of(deltas)
    assert reply == Message("assistant", (
        Thinking("I will look.", {"cohere": {"tool_plan": True}}),
        ToolCall("weather_1", "weather", {"city": "Wien"}),
        ToolCall("now_1", "now", {})), "test/model", USAGE, "tool_calls")
    results = tool_message((ToolResult("weather_1", "weather", "rain"),
                            ToolResult("now_1", "now", "not allowed", True)))
    assert request_body(Request("command-test", (reply, results)))["messages"] == [
        {"role": "assistant", "tool_plan": "I will look.", "tool_calls": [
            {"id": "weather_1", "type": "function",
             "function": {"name": "weather", "arguments": '{"city": "Wien"}'}},
            {"id": "now_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "weather_1", "content": "rain"},
        {"role": "tool", "tool_call_id": "now_1", "content": "Error: not allowed"}]


def test_an_answer_that_was_not_streamed() -> None:
    answer = {"id": "1", "finish_reason": "TOOL_CALL", "usage": COUNTS, "message": {
        "role": "assistant", "tool_plan": "Look.",
        "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Yes."}],
        "tool_calls":
        [{"id": "now_1", "type": "function", "function": {"name": "now", "arguments": None}}]}}
    deltas, _ = exchange("cohere", json_answer(answer), HELLO)
    assert reply_of(deltas) == Message("assistant", (
        Thinking("Hm."), Text("Yes."), Thinking("Look.", {"cohere": {"tool_plan": True}}),
        ToolCall("now_1", "now", {})),
        "test/model", USAGE, "tool_calls")


@pytest.mark.parametrize(("reason", "finish"),
                         [("COMPLETE", "stop"), ("STOP_SEQUENCE", "stop"),
                          ("MAX_TOKENS", "length")])
def test_how_an_empty_answer_ended(reason: str, finish: str) -> None:
    deltas, _ = exchange("cohere", stream_answer(wire(end(reason))), HELLO)
    # finish is one of Finish
    assert deltas == [USAGE, Finished(finish, reason)]  # type: ignore[arg-type]


def test_counts_without_tokens_are_the_billed_ones() -> None:
    usage = {"billed_units": {"input_tokens": 2.0, "output_tokens": 1.0}}
    deltas, _ = exchange("cohere", stream_answer(wire(end("COMPLETE", usage=usage))), HELLO)
    assert deltas[0] == Usage(2, 1, None, usage)


# ---- what goes wrong

FAILED = end("ERROR", error="your request resulted in an invalid tool generation",
             error_type="INVALID_TOOL_GENERATION")


@pytest.mark.parametrize("cut", CUTS)
def test_an_error_at_the_end_keeps_what_came(cut: int) -> None:
    with FakeServer(stream_answer(wire([*CALLS[:2], *FAILED]), cut=cut)) as server:
        deltas, error = ask("cohere", server.url, HELLO)
    assert ("".join(delta.text for delta in deltas if isinstance(delta, ThinkingDelta))
            == "I will look.")
    assert isinstance(error, StreamBroken) and isinstance(error.cause, BadResponse)


def test_an_error_before_anything_came_is_that_error() -> None:
    with FakeServer(stream_answer(wire(FAILED))) as server:
        _, error = ask("cohere", server.url, HELLO)
    assert isinstance(error, BadResponse)


def test_an_answer_without_an_end_is_broken() -> None:
    with FakeServer(stream_answer(wire([*PLAIN, "[DONE]"]))) as server:
        deltas, error = ask("cohere", server.url, HELLO)
    assert isinstance(error, StreamBroken) and TextDelta("Grüß Gott 🙂", 1) in deltas


@pytest.mark.parametrize(("status", "body", "expected"), [
    (400, {"id": "1", "message": "too many tokens: the limit for this model is 100 tokens",
           "error_type": "TOO_MANY_TOKENS"},
     ContextTooLong),
    (401, {"id": "1", "message": "invalid api token"}, AuthFailed),
    (404, {"id": "1", "message": "model 'x' not found"}, ModelNotFound)])
def test_error_answers(status: int, body: dict[str, str], expected: type[ProviderError]) -> None:
    with pytest.raises(expected):
        exchange("cohere", json_answer(body, status), HELLO)


# ---- the request

def test_everything_that_can_be_asked_for() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    request = Request("command-test", (
        Message("system", (Text("Be brief."),)),
        user_message("What is this?", (Image("image/png", "aWNvbg=="),)),
        Message("assistant", (Thinking("not shown again"), Text("A cat."))),
        Message("assistant", ()), user_message("Sure?")),
        system="You are kind.", tools=(ToolSpec("weather", "The weather", schema),),
        options=Options(temperature=0.5, top_p=0.9, seed=1, max_tokens=100, stop=("END",),
                        think="low", response_format=schema,
                        raw={"k": 5}))
    assert request_body(request) == {
        "model": "command-test", "stream": True, "temperature": 0.5, "p": 0.9, "seed": 1,
        "max_tokens": 100,
        "stop_sequences": ["END"], "thinking": {"type": "enabled", "token_budget": 2048}, "k": 5,
        "response_format": {"type": "json_object", "json_schema": schema},
        "tools":
        [{"type": "function",
          "function": {"name": "weather", "description": "The weather", "parameters": schema}}],
        "messages": [
            {"role": "system", "content": "You are kind."},
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What is this?"},
                                         {"type": "image_url",
                                          "image_url": {"url": "data:image/png;base64,aWNvbg=="}}]},
            {"role": "assistant", "content": "A cat."}, {"role": "user", "content": "Sure?"}]}


def test_each_block_is_a_part_of_its_own_beside_the_plan() -> None:
    stream = [event("tool-plan-delta", tool_plan="plan"), words("a", 0, "thinking"), words("b", 0),
              words("c", 1, "thinking"), words("d", 1), *end("COMPLETE")]
    deltas, _ = exchange("cohere", stream_answer(wire(stream)), HELLO)
    assert [(type(delta), delta.text, delta.part) for delta in deltas
            if isinstance(delta, (TextDelta, ThinkingDelta))] == [
        (ThinkingDelta, "plan", 0), (ThinkingDelta, "a", 1), (TextDelta, "b", 1),
        (ThinkingDelta, "c", 2), (TextDelta, "d", 2)]


@pytest.mark.parametrize(("think", "expected"), [
    (None, {}), (False, {"thinking": {"type": "disabled"}}),
    ("on", {"thinking": {"type": "enabled"}}),
    *((effort, {"thinking": {"type": "enabled", "token_budget": budget}}) for effort, budget in (
        ("low", 2_048), ("medium", 8_192), ("high", 16_384), ("max", 31_000)))])
def test_thinking(think: bool | str | None, expected: dict[str, Any]) -> None:
    body = request_body(Request("command-test", (), options=Options(think=think)))
    assert body == {"model": "command-test", "stream": True, "messages": [], **expected}


# ---- lists

def test_models_of_all_pages() -> None:
    first = {"name": "command-test", "endpoints": ["chat"],
             "features": ["tools", "vision", "reasoning"], "context_length": 256000.0}
    second = {"name": "command-r", "endpoints": ["chat"], "context_length": 128000}
    pages = [json_answer({"models": [first], "next_page_token": "a/b"}),
             json_answer({"models": [second]})]
    with FakeServer(pages) as server:
        found = run("cohere", server.url, lambda provider: provider.models())
        assert [received.path for received in server.requests] == [
            "/v1/models?endpoint=chat&page_size=1000",
            "/v1/models?endpoint=chat&page_size=1000&page_token=a%2Fb"]
    assert (found
            == [ModelInfo("command-test", 256000,
                          capabilities=frozenset({"completion", "tools", "vision", "thinking"})),
                ModelInfo("command-r", 128000)])


def test_show_and_check() -> None:
    with FakeServer(
            json_answer({"name": "command-r", "context_length": 128000, "models": []})) as server:
        assert run("cohere", server.url,
                   lambda provider: provider.show("command-r")) == ModelInfo("command-r", 128000)
        assert server.requests[0].path == "/v1/models/command-r"
        assert "Cohere" in run("cohere", server.url, lambda provider: provider.check())
    provider = provider_at("cohere", "http://127.0.0.1:1")
    assert isinstance(provider, CanCheck) and isinstance(provider, CanShow)
