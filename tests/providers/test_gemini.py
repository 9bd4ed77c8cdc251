"""The Gemini dialect, against a loopback server that answers as the API does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.errors import AuthFailed, BadResponse, ProviderError, RateLimited, StreamBroken
from core.events import Finished, TextDelta
from core.messages import (Image, Message, Text, Thinking, ToolCall, ToolResult, Usage,
                           tool_message, user_message)
from core.providers import CanCheck, CanCount, CanShow, ModelInfo, Options, Request, ToolSpec
from core.providers.gemini_request import (ANYTHING, FOREIGN_SIGNATURE, adapted, request_body,
                                           schema_subset, thinking_config)
from tests.dialects import (CUTS, ask, exchange, provider_at, reply_of, run, server_events,
                            stream_answer)
from tests.fake_server import Cut, FakeServer, json_answer, pieces, Answer

HELLO = Request("gemini-test", (user_message("Hello"),))


def chunk(*parts: dict[str, Any], finish: str = "", usage: dict[str, int] | None = None,
          **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"index": 0}
    if parts:
        candidate["content"] = {"parts": list(parts), "role": "model"}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "responseId": "abc-DEF_1",
            **({"usageMetadata": usage} if usage else {}), **more}


PLAIN = [chunk({"text": "Grüß "}, usage={"promptTokenCount": 5, "totalTokenCount": 5}),
         chunk({"text": "Gott 🙂"}),
         chunk({"text": ""}, finish="STOP",
               usage={"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8})]
CALLS = [chunk({"text": "Two cities.", "thought": True}),
         chunk({"functionCall": {"name": "weather", "args": {"city": "Wien"}, "id": "q1"},
                "thoughtSignature": "sig=="}),
         chunk({"functionCall": {"name": "now", "id": "q2"}}),
         chunk({"text": ""}, finish="STOP",
               usage={"promptTokenCount": 9, "candidatesTokenCount": 4, "thoughtsTokenCount": 30,
                      "cachedContentTokenCount": 2})]


@pytest.mark.parametrize("cut", CUTS)
def test_text(cut: int) -> None:
    deltas, received = exchange("gemini", stream_answer(server_events(PLAIN, end="\r\n"), cut=cut),
                                HELLO)
    assert reply_of(deltas) == Message(
        "assistant", (Text("Grüß Gott 🙂"),), "test/model",
        Usage(5, 3, None, {"totalTokenCount": 8}), "stop")
    assert received.path == "/models/gemini-test:streamGenerateContent?alt=sse"
    assert received.headers["x-goog-api-key"] == "test-key"
    assert received.json == {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_instead_of_events(indent: int | None) -> None:
    body = json.dumps(PLAIN, indent=indent).encode()
    deltas, _ = exchange("gemini",
                         Answer(pieces(body, 50), content_type="application/json; charset=UTF-8"),
                         HELLO)
    assert (reply_of(deltas).text, deltas[-1]) == ("Grüß Gott 🙂", Finished("stop", "STOP"))


@pytest.mark.parametrize("cut", CUTS)
def test_parallel_calls_go_back_with_ids_and_the_signature_in_its_place(cut: int) -> None:
    deltas, _ = exchange("gemini", stream_answer(server_events(CALLS, end="\r\n"), cut=cut), HELLO)
    reply = reply_of(deltas)
    assert reply == Message("assistant", (
        Thinking("Two cities."),
        ToolCall("q1", "weather", {"city": "Wien"}, None,
                 {"gemini": {"id": "q1", "thoughtSignature": "sig=="}}),
        ToolCall("q2", "now", {}, None, {"gemini": {"id": "q2"}})),
        "test/model", Usage(9, 4, 2, {"thoughtsTokenCount": 30}), "tool_calls")
    results = tool_message((ToolResult("q1", "weather", "rain"),
                            ToolResult("q2", "now", "not allowed", True)))
    assert request_body(Request("gemini-3-pro",
                                (user_message("Hello"), reply, results)))["contents"][1:] == [
        {"role": "model", "parts": [
            {"functionCall": {"id": "q1", "name": "weather", "args": {"city": "Wien"}},
             "thoughtSignature": "sig=="},
            {"functionCall": {"id": "q2", "name": "now", "args": {}}}]},
        {"role": "user", "parts": [
            {"functionResponse": {"id": "q1", "name": "weather", "response": {"result": "rain"}}},
            {"functionResponse": {"id": "q2", "name": "now",
                                  "response": {"error": "not allowed"}}}]}]


def test_calls_without_ids_get_ids_that_stay_here() -> None:
    call = {"functionCall": {"name": "now", "args": {}}}
    deltas, _ = exchange("gemini",
                         stream_answer(server_events([chunk(call), chunk(call, finish="STOP")])),
                         HELLO)
    reply = reply_of(deltas)
    assert [found.id for found in reply.tool_calls] == ["call_abc-DEF_1_0", "call_abc-DEF_1_1"]
    results = tool_message(tuple(ToolResult(found.id, "now", "12:00")
                                 for found in reply.tool_calls))
    assert request_body(Request("gemini-2.5-flash", (reply, results)))["contents"] == [
        {"role": "model", "parts": [{"functionCall": {"name": "now", "args": {}}}] * 2},
        {"role": "user",
         "parts": [{"functionResponse": {"name": "now", "response": {"result": "12:00"}}}] * 2}]


@pytest.mark.parametrize(("model", "signed"), [
    ("gemini-3-pro-preview", True), ("gemini-flash-latest", True), ("gemini-2.5-pro", False),
    ("gemini-2.0-flash", False)])
def test_calls_of_other_models_get_the_signature_that_gemini_3_asks_for(model: str,
                                                                        signed: bool) -> None:
    calls = Message("assistant",
                    (ToolCall("a", "now", {}, None, {"anthropic": {"caller": {}}}),
                     ToolCall("b", "now", {})))
    parts = request_body(Request(model, (calls,)))["contents"][0]["parts"]
    assert [part.get("thoughtSignature")
            for part in parts] == [FOREIGN_SIGNATURE if signed else None, None]


def test_signed_and_unknown_parts_go_back_as_they_came() -> None:
    code = {"executableCode": {"language": "PYTHON", "code": "1+1"}}
    parts: list[dict[str, Any]] = [
        {"text": "Hm.", "thought": True, "thoughtSignature": "s1"}, {"text": "So "},
        {"text": "it "}, code,
        {"text": "is", "thoughtSignature": "s2"}, {"text": "."},
        {"text": "", "thoughtSignature": "s3"}]
    deltas, _ = exchange("gemini",
                         stream_answer(server_events([*map(chunk, parts), chunk(finish="STOP")],
                                                     end="\r\n")), HELLO)
    reply = reply_of(deltas)
    assert (reply.text, reply.thinking) == ("So it is.", "Hm.")
    assert (request_body(Request("gemini-test", (reply,)))["contents"][0]["parts"]
            == [parts[0], {"text": "So it "}, *parts[3:]])


@pytest.mark.parametrize(("reason", "finish"), [
    ("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter"),
    ("RECITATION", "content_filter"),
    ("MODEL_ARMOR", "content_filter"), ("LANGUAGE", "incomplete")])
def test_how_an_answer_without_content_ended(reason: str, finish: str) -> None:
    deltas, _ = exchange("gemini", stream_answer(server_events([chunk(finish=reason)])), HELLO)
    # finish is one of Finish
    assert deltas == [Finished(finish, reason)]  # type: ignore[arg-type]


def test_a_blocked_prompt() -> None:
    deltas, _ = exchange("gemini",
                         stream_answer(
                             server_events([{"promptFeedback": {"blockReason": "SAFETY"}}])), HELLO)
    assert deltas == [Finished("content_filter", "SAFETY")]


def test_a_call_of_an_unknown_tool_is_a_call_and_a_malformed_one_an_error() -> None:
    wrong = chunk({"functionCall": {"name": "nothing", "args": {}}}, finish="UNEXPECTED_TOOL_CALL")
    deltas, _ = exchange("gemini", stream_answer(server_events([wrong])), HELLO)
    assert reply_of(deltas).finish == "tool_calls"
    with pytest.raises(BadResponse):
        exchange("gemini", stream_answer(server_events([chunk(finish="MALFORMED_FUNCTION_CALL")])),
                 HELLO)


# ---- what goes wrong

CANCELLED = {"error": {"code": 503, "message": "The operation was cancelled.",
                       "status": "UNAVAILABLE"}}


@pytest.mark.parametrize("broken", [
    b"\r\n" + json.dumps(CANCELLED, indent=2).encode(), b"data: " + json.dumps(CANCELLED).encode(),
    b"data: " + json.dumps([CANCELLED]).encode() + b"\n\n" + json.dumps([CANCELLED]).encode()])
@pytest.mark.parametrize("cut", CUTS)
def test_an_error_after_a_finish_reason_still_is_one(broken: bytes, cut: int) -> None:
    body = server_events([chunk({"text": "First "}, finish="STOP")], end="\r\n") + broken
    with FakeServer(stream_answer(body, cut=cut)) as server:
        deltas, error = ask("gemini", server.url, HELLO)
    assert deltas == [TextDelta("First ", 1)]
    assert isinstance(error, StreamBroken) and isinstance(error.cause, ProviderError)


def test_a_connection_that_ends_early() -> None:
    for answer in (stream_answer(server_events(PLAIN[:2])),
                   stream_answer(server_events(PLAIN[:2]), Cut())):
        with FakeServer(answer) as server:
            deltas, error = ask("gemini", server.url, HELLO)
        assert isinstance(error, StreamBroken) and TextDelta("Grüß Gott 🙂", 1) in deltas


@pytest.mark.parametrize("part",
                         [{"text": True}, {"text": "x", "thought": True, "thoughtSignature": "s"},
                          {"functionCall": {}},
                          {"functionCall": {"name": 1}}, {"functionCall": None}, 7])
def test_parts_of_a_wrong_shape_lose_nothing_of_what_came(part: Any) -> None:
    with FakeServer(
            stream_answer(server_events([chunk({"text": "First "}), chunk(part)]))) as server:
        deltas, error = ask("gemini", server.url, HELLO)
    assert deltas[0] == TextDelta("First ", 1) and isinstance(error, StreamBroken)


def test_counts_that_are_no_numbers_are_not_counts() -> None:
    usage: Any = {"promptTokenCount": "5", "candidatesTokenCount": 3}
    deltas, _ = exchange("gemini",
                         stream_answer(server_events(
                             [chunk({"text": "Hi"}, finish="STOP", usage=usage)])), HELLO)
    assert deltas[1] == Usage(None, 3)


def test_error_answers_may_stand_in_an_array() -> None:
    key = {"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT",
                     "details": [{"reason": "API_KEY_INVALID"}]}}
    with pytest.raises(AuthFailed):
        exchange("gemini", json_answer([key], 400), HELLO)
    limit = {"error": {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED",
                       "details":
                       [{"@type": "type.googleapis.com/google.rpc.RetryInfo",
                         "retryDelay": "48.5s"}]}}
    with pytest.raises(RateLimited) as caught:
        exchange("gemini", json_answer(limit, 429), HELLO)
    assert caught.value.retry_after == 48.5


# ---- the request

def test_everything_that_can_be_asked_for() -> None:
    tools = (ToolSpec("weather", "The weather",
                      {"type": "object", "properties": {"city": {"type": "string"}},
                       "additionalProperties": False}),
             ToolSpec("now", "The time", {"type": "object", "properties": {}}))
    request = Request("gemini-2.5-flash", (
        Message("system", (Text("Be brief."),)),
        user_message("What is this?", (Image("image/png", "aWNvbg=="),)),
        Message("assistant", (Thinking("unsigned"), Text("A cat."), Text("")), "gemini/x"),
        Message("assistant", ()),
        user_message("Sure?")), system="You are kind.", tools=tools,
        options=Options(temperature=0.5, top_p=0.9, seed=1, max_tokens=100, stop=("END",),
                        think=True, response_format="json",
                        raw={"topK": 5, "safetySettings": []}))
    assert request_body(request) == {
        "systemInstruction": {"parts": [{"text": "You are kind."}, {"text": "Be brief."}]},
        "tools": [{"functionDeclarations": [
            {"name": "weather", "description": "The weather",
             "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
            {"name": "now", "description": "The time"}]}],
        "generationConfig": {"temperature": 0.5, "topP": 0.9, "seed": 1, "maxOutputTokens": 100,
                             "stopSequences": ["END"],
                             "thinkingConfig": {"includeThoughts": True, "thinkingBudget": -1},
                             "responseMimeType": "application/json", "topK": 5},
        "safetySettings": [],
        "contents": [
            {"role": "user",
             "parts": [{"text": "What is this?"},
                       {"inlineData": {"mimeType": "image/png", "data": "aWNvbg=="}}]},
            {"role": "model", "parts": [{"text": "A cat."}]},
            {"role": "user", "parts": [{"text": "Sure?"}]}]}


@pytest.mark.parametrize(("model", "think", "expected"), [
    ("gemini-2.0-flash", True, None), ("gemini-2.5-flash", None, None),
    ("gemini-2.5-flash", False, {"thinkingBudget": 0}),
    ("gemini-2.5-pro", "off", {"thinkingBudget": 128}),
    ("gemini-2.5-pro", "low", {"includeThoughts": True, "thinkingBudget": 1024}),
    ("gemini-3-pro-preview", "max", {"includeThoughts": True, "thinkingLevel": "high"}),
    ("gemini-3-pro-preview", False, {"thinkingLevel": "low"}),
    ("gemini-3.5-flash", "on", {"includeThoughts": True})])
def test_thinking(model: str, think: bool | str | None, expected: dict[str, Any] | None) -> None:
    assert thinking_config(model, think) == expected


@pytest.mark.parametrize(("model", "think", "said"), [
    ("gemini-2.0-flash", "on", "it does not think"), ("gemini-2.0-flash", "off", ""),
    *(("gemini-2.5-flash", think, "") for think in ("on", "off", "max")),
    ("gemini-2.5-pro", "on", ""), ("gemini-2.5-pro", "off", "its thinking cannot be turned off"),
    ("gemini-3-flash", False, "its thinking cannot be turned off"), ("gemini-3-flash", "low", ""),
    ("gemini-3-flash", "max", "the highest effort here is high"), ("gemini-3-flash", None, "")])
def test_thinking_that_is_asked_for_in_another_way_is_said(model: str, think: bool | str | None,
                                                           said: str) -> None:
    found = adapted(Request(model, HELLO.messages, options=Options(think=think)))
    assert len(found) == bool(said) and "".join(found).startswith(said)


@pytest.mark.parametrize(("schema", "expected"), [
    ({"$schema": "x", "type": "object", "additionalProperties": False,
      "properties": {"title": {"type": "string", "default": "a"}},
      "required": ["title"]},
     {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}),
    ({"type": ["integer", "null"]}, {"type": "integer", "nullable": True}),
    ({"anyOf": [{"type": "string", "format": "uri"}, {"type": "null"}]},
     {"type": "string", "nullable": True}),
    ({"oneOf": [{"type": "string"}, {"type": "number", "exclusiveMinimum": 0}]},
     {"anyOf": [{"type": "string"}, {"type": "number"}]}),
    ({"const": "a"}, {"type": "string", "enum": ["a"]}),
    *(({"type": "array", "items": {"type": odd}}, {"type": "array", "items": ANYTHING})
      for odd in ("", 5, None, {})),
    ({"type": "integer", "enum": [1, 2]}, {"type": "integer"}),
    ({"type": "array", "items": {"$ref": "#/$defs/City"}, "$defs": {"City": {"type": "string"}}},
     {"type": "array", "items": {"type": "string"}}),
    ({"allOf": [{"type": "string"}], "description": "d"}, {"type": "string", "description": "d"})])
def test_what_of_a_schema_is_left(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert schema_subset(schema) == expected


def test_a_schema_that_holds_itself_ends() -> None:
    node = {"type": "object",
            "properties": {"left": {"$ref": "#/$defs/Node"}, "right": {"$ref": "#/$defs/Node"}}}
    assert (len(json.dumps(schema_subset({"$ref": "#/$defs/Node", "$defs": {"Node": node}})))
            < 1_000_000)


def test_twelve_levels_of_a_schema_are_sent() -> None:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(14):
        schema = {"type": "array", "items": schema}
    found, levels = schema_subset(schema), 0
    while "items" in found:
        found, levels = found["items"], levels + 1
    assert (found, levels) == (ANYTHING, 13)


# ---- lists

def test_models_of_all_pages() -> None:
    first = {"name": "models/gemini-test", "inputTokenLimit": 1000, "outputTokenLimit": 100,
             "thinking": True,
             "supportedGenerationMethods": ["generateContent", "countTokens"]}
    pages = [json_answer({"models": [first], "nextPageToken": "a/b"}),
             json_answer(
                 {"models":
                  [{"name": "models/embed", "supportedGenerationMethods": ["embedContent"]}]})]
    with FakeServer(pages) as server:
        found = run("gemini", server.url, lambda provider: provider.models())
        assert ([received.path for received in server.requests]
                == ["/models?pageSize=1000", "/models?pageSize=1000&pageToken=a%2Fb"])
    assert (found
            == [ModelInfo("gemini-test", 1000, 100, None, frozenset({"completion", "thinking"})),
                ModelInfo("embed", capabilities=frozenset({"embedding"}))])


def test_count_show_and_check() -> None:
    with FakeServer(json_answer({"totalTokens": 8})) as server:
        assert run("gemini", server.url, lambda provider: provider.count(HELLO)) == 8
        assert server.requests[0].path == "/models/gemini-test:countTokens"
        assert server.requests[0].json == {"generateContentRequest": {
            "model": "models/gemini-test",
            "contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}}
    with FakeServer(json_answer({"name": "models/gemini-test", "models": []})) as server:
        assert run("gemini", server.url,
                   lambda provider: provider.show("models/gemini-test")) == ModelInfo("gemini-test")
        assert server.requests[0].path == "/models/gemini-test"
        assert "Gemini" in run("gemini", server.url, lambda provider: provider.check())
    provider = provider_at("gemini", "http://127.0.0.1:1")
    assert (isinstance(provider, CanCheck) and isinstance(provider, CanCount)
            and isinstance(provider, CanShow))
