"""The Anthropic Messages dialect, against a loopback server that answers as the API does."""

from __future__ import annotations

import re
from typing import Any

import pytest

from core.errors import (AuthFailed, BadResponse, ModelNotFound, Overloaded, ProviderError,
                         StreamBroken)
from core.events import Finished, TextDelta, ThinkingDelta, ToolCallDelta
from core.messages import (Image, Message, Text, Thinking, ToolCall, ToolResult, Usage,
                           tool_message, user_message)
from core.providers import CanCheck, CanCount, CanShow, ModelInfo, Options, Request, ToolSpec
from core.providers.anthropic_request import request_body
from core.providers.listing import MOST_PAGES
from tests.dialects import (CUTS, ask, exchange, provider_at, reply_of, run, server_events,
                            stream_answer)
from tests.fake_server import FakeServer, Pause, Reset, json_answer

HELLO = Request("claude-test", (user_message("Hello"),))
WEATHER = ToolSpec("weather", "The weather somewhere",
                   {"type": "object", "properties": {"city": {"type": "string"}}})


def start(index: int, block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def more(index: int, kind: str, **delta: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **delta}}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def opening(**usage: int) -> dict[str, Any]:
    return {"type": "message_start",
            "message": {"role": "assistant", "content": [], "usage": usage or {"input_tokens": 5}}}


def ending(reason: str, **usage: int) -> list[dict[str, Any]]:
    return [{"type": "message_delta", "delta": {"stop_reason": reason},
             "usage": usage or {"output_tokens": 3}},
            {"type": "message_stop"}]


PLAIN = [opening(), start(0, {"type": "text", "text": ""}), {"type": "ping"},
         more(0, "text_delta", text="Grüß "),
         more(0, "text_delta", text="Gott 🙂"), stop(0), {"type": "something_new", "index": 0},
         *ending("end_turn")]
THINKING_AND_CALLS = [
    opening(),
    start(0, {"type": "thinking", "thinking": "", "signature": ""}),
    more(0, "thinking_delta", thinking="Two "),
    more(0, "thinking_delta", thinking="cities."), more(0, "signature_delta", signature="sig=="),
    stop(0),
    start(1, {"type": "redacted_thinking", "data": "secret"}), stop(1),
    start(2, {"type": "thinking", "thinking": "", "signature": ""}),
    more(2, "signature_delta", signature="empty=="), stop(2),
    start(3, {"type": "text", "text": ""}), more(3, "text_delta", text="Looking."), stop(3),
    start(4, {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {},
              "caller": {"type": "direct"}}),
    more(4, "input_json_delta", partial_json=""),
    more(4, "input_json_delta", partial_json='{"city": "Wi'),
    more(4, "input_json_delta", partial_json='en"}'), stop(4),
    start(5, {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}}),
    more(5, "input_json_delta", partial_json=""),
    stop(5), *ending("tool_use")]

KEPT = {"type": "ephemeral"}     # the mark of what the server is asked to keep in its cache


@pytest.mark.parametrize("cut", CUTS)
def test_text(cut: int) -> None:
    deltas, received = exchange("anthropic",
                                stream_answer(server_events(PLAIN, named=True), cut=cut), HELLO)
    assert reply_of(deltas) == Message("assistant", (Text("Grüß Gott 🙂"),), "test/model",
                                       Usage(5, 3), "stop")
    assert deltas[-1] == Finished("stop", "end_turn")
    assert received.path == "/v1/messages"
    assert (received.headers["x-api-key"], received.headers["anthropic-version"]) == ("test-key",
                                                                                      "2023-06-01")
    assert received.json == {"model": "claude-test", "max_tokens": 8192, "stream": True,
                             "messages":
                             [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]}


@pytest.mark.parametrize("cut", CUTS)
def test_thinking_and_calls_come_whole_and_go_back_unchanged(cut: int) -> None:
    deltas, _ = exchange("anthropic",
                         stream_answer(server_events(THINKING_AND_CALLS, named=True), cut=cut),
                         HELLO)
    reply = reply_of(deltas)
    assert reply.parts == (
        Thinking("Two cities.", {"anthropic": {"signature": "sig=="}}),
        Thinking("", {"anthropic": {"block": {"type": "redacted_thinking", "data": "secret"}}}),
        Thinking("", {"anthropic": {"signature": "empty=="}}),
        Text("Looking."), ToolCall("toolu_1", "weather", {"city": "Wien"}),
        ToolCall("toolu_2", "now", {}))
    assert reply.finish == "tool_calls"
    results = tool_message((ToolResult("toolu_1", "weather", "rain"),
                            ToolResult("toolu_2", "now", "not allowed", True)))
    body = request_body(Request("claude-test",
                                (user_message("Hello"), reply, results, user_message("And?"))), {})
    assert body["messages"][1:] == [
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Two cities.", "signature": "sig=="},
            {"type": "redacted_thinking", "data": "secret"},
            {"type": "thinking", "thinking": "", "signature": "empty=="},
            {"type": "text", "text": "Looking."},
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Wien"}},
            {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"},
            {"type": "tool_result", "tool_use_id": "toolu_2", "content": "not allowed",
             "is_error": True},
            {"type": "text", "text": "And?", "cache_control": KEPT}]}]


def test_blocks_that_are_not_ours_go_back_in_their_place() -> None:
    search = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}}
    found = {"type": "web_search_tool_result", "tool_use_id": "srv_1",
             "content": [{"encrypted_content": "abc"}]}
    citation = {"type": "web_search_result_location", "cited_text": "4.0.6"}
    events = [opening(), start(0, search),
              more(0, "input_json_delta", partial_json='{"query": "ruby"}'), stop(0),
              start(1, found), stop(1), start(2, {"type": "text", "text": "", "citations": []}),
              more(2, "citations_delta", citation=citation),
              more(2, "text_delta", text="It is 4.0.6"), stop(2),
              start(3, {"type": "text", "text": ""}), more(3, "text_delta", text="."), stop(3),
              *ending("pause_turn")]
    deltas, _ = exchange("anthropic", stream_answer(server_events(events)), HELLO)
    reply = reply_of(deltas)
    assert (reply.text, reply.finish, deltas[-1]) == ("It is 4.0.6.", "incomplete",
                                                      Finished("incomplete", "pause_turn"))
    assert request_body(Request("claude-test", (user_message("Hello"), reply)),
                        {})["messages"][1]["content"] == [
        search | {"input": {"query": "ruby"}}, found,
        {"type": "text", "text": "It is 4.0.6", "citations": [citation]},
        {"type": "text", "text": "."}]


def test_counts_are_overwritten_and_the_cache_belongs_to_the_prompt() -> None:
    events = [opening(input_tokens=10, cache_read_input_tokens=100, cache_creation_input_tokens=7,
                      output_tokens=1),
              *ending("end_turn", input_tokens=12, output_tokens=20)]
    deltas, _ = exchange("anthropic", stream_answer(server_events(events)), HELLO)
    assert deltas[-2] == Usage(119, 20, 100,
                               {"cache_read_input_tokens": 100, "cache_creation_input_tokens": 7})


@pytest.mark.parametrize(("reason", "finish"), [
    ("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"),
    ("refusal", "refusal"),
    ("model_context_window_exceeded", "length"), ("a_new_one", "incomplete")])
def test_an_answer_may_be_empty_whatever_ended_it(reason: str, finish: str) -> None:
    deltas, _ = exchange("anthropic", stream_answer(server_events([opening(), *ending(reason)])),
                         HELLO)
    # finish is one of Finish
    assert deltas == [Usage(5, 3), Finished(finish, reason)]  # type: ignore[arg-type]


def test_an_answer_that_was_not_streamed() -> None:
    answer = {"type": "message", "role": "assistant", "stop_reason": "tool_use",
              "usage": {"input_tokens": 5, "output_tokens": 3},
              "content": [{"type": "thinking", "thinking": "Hm.", "signature": "s"},
                          {"type": "text", "text": "Yes."},
                          {"type": "tool_use", "id": "toolu_1", "name": "weather",
                           "input": {"city": "Wien"}}]}
    deltas, _ = exchange("anthropic", json_answer(answer), HELLO)
    assert deltas == [
        ThinkingDelta("Hm.", 1, {"anthropic": {"signature": "s"}}), TextDelta("Yes.", 2),
        ToolCallDelta(2, "toolu_1", "weather"),
        ToolCallDelta(2, arguments='{"city": "Wien"}'), Usage(5, 3),
        Finished("tool_calls", "tool_use")]


# ---- what goes wrong

OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"},
              "request_id": "req_1"}


@pytest.mark.parametrize("cut", CUTS)
def test_an_error_inside_the_stream_keeps_what_came(cut: int) -> None:
    with FakeServer(stream_answer(server_events([*PLAIN[:5], OVERLOADED], named=True),
                                  cut=cut)) as server:
        deltas, error = ask("anthropic", server.url, HELLO)
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == "Grüß Gott 🙂"
    assert isinstance(error, StreamBroken) and isinstance(error.cause, Overloaded)


def test_an_error_before_anything_came_is_that_error() -> None:
    with FakeServer(stream_answer(server_events([opening(), OVERLOADED], named=True))) as server:
        _, error = ask("anthropic", server.url, HELLO)
    assert isinstance(error, Overloaded) and error.retryable


def test_an_answer_without_an_end_is_broken() -> None:
    with FakeServer(stream_answer(server_events(PLAIN[:5], named=True))) as server:
        deltas, error = ask("anthropic", server.url, HELLO)
    assert isinstance(error, StreamBroken) and error.cause is None
    assert TextDelta("Grüß Gott 🙂", 1) in deltas


def test_pings_do_not_keep_a_dead_answer_alive() -> None:
    pings = [step for _ in range(100)
             for step in (Pause(0.05), b'event: ping\ndata: {"type": "ping"}\n\n')]
    with FakeServer(stream_answer(server_events([opening()], named=True), *pings)) as server:
        _, error = ask("anthropic", server.url, HELLO, idle_timeout=0.4)
    assert isinstance(error, StreamBroken)


def test_a_connection_lost_after_the_reason_to_stop_loses_nothing() -> None:
    with FakeServer(stream_answer(server_events(PLAIN[:-1], named=True), Reset())) as server:
        deltas, error = ask("anthropic", server.url, HELLO)
    assert error is None and deltas[-1] == Finished("stop", "end_turn")


@pytest.mark.parametrize("event",
                         [{"type": "content_block_start", "index": 0},
                          {"type": "content_block_delta", "delta": ["x"]},
                          more(0, "text_delta", text=True), more(0, "text_delta")])
def test_an_event_of_an_unknown_shape_is_named(event: dict[str, Any]) -> None:
    with FakeServer(stream_answer(server_events([event]))) as server:
        _, error = ask("anthropic", server.url, HELLO)
    assert isinstance(error, BadResponse)


@pytest.mark.parametrize(("status", "kind", "expected"), [
    (401, "authentication_error", AuthFailed), (404, "not_found_error", ModelNotFound),
    (529, "overloaded_error", Overloaded)])
def test_error_answers(status: int, kind: str, expected: type[ProviderError]) -> None:
    answer = json_answer({"type": "error", "error": {"type": kind, "message": "model: nothing"}},
                         status)
    with pytest.raises(expected) as caught:
        exchange("anthropic", answer, HELLO)
    assert caught.value.status == status


# ---- the request

def test_everything_that_can_be_asked_for() -> None:
    request = Request("claude-test", (
        Message("system", (Text("Be brief."),)),
        user_message("What is this?", (Image("image/png", "aWNvbg=="),)),
        Message("assistant", (Thinking("unsigned"), Text("A cat."), Text("  ")),
                "anthropic/claude-test"),
        Message("assistant", ()), user_message("Sure?"), Message("assistant", (Text("Well,"),))),
        system="You are kind.", tools=(WEATHER,),
        options=Options(temperature=0.5, top_p=0.9, seed=1, max_tokens=100, stop=("END",),
                        raw={"top_k": 5},
                        response_format={"type": "json_schema",
                                         "json_schema": {"schema": {"type": "object"}}}))
    assert request_body(request, {}) == {
        "model": "claude-test", "max_tokens": 100, "stream": True, "temperature": 0.5, "top_p": 0.9,
        "stop_sequences": ["END"],
        "top_k": 5, "system": "You are kind.\n\nBe brief.",
        "output_config":
        {"format": {"type": "json_schema",
                    "schema": {"type": "object", "additionalProperties": False}}},
        "tools":
        [{"name": "weather", "description": "The weather somewhere",
          "input_schema": dict(WEATHER.parameters)}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image",
                 "source": {"type": "base64", "media_type": "image/png", "data": "aWNvbg=="},
                 "cache_control": KEPT}]},
            {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
            {"role": "user", "content": [{"type": "text", "text": "Sure?", "cache_control": KEPT}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Well,"}]}]}


ADAPTIVE = {"type": "adaptive", "display": "summarized"}


@pytest.mark.parametrize(("model", "think", "limit", "expected"), [
    ("claude-haiku-4-5", None, None, {"max_tokens": 8192, "temperature": 0.5}),
    ("claude-3-haiku-20240307", None, None, {"max_tokens": 4096, "temperature": 0.5}),
    ("claude-haiku-4-5", False, None,
     {"max_tokens": 8192, "temperature": 0.5, "thinking": {"type": "disabled"}}),
    ("claude-haiku-4-5", True, None,
     {"max_tokens": 16384, "thinking": {"type": "enabled", "budget_tokens": 8192}}),
    ("claude-sonnet-4-20250514", "low", 1500,
     {"max_tokens": 1500, "thinking": {"type": "enabled", "budget_tokens": 1499}}),
    ("claude-3-7-sonnet-20250219", "high", 500,
     {"max_tokens": 1025, "thinking": {"type": "enabled", "budget_tokens": 1024}}),
    ("claude-opus-4-6", "on", None, {"max_tokens": 8192, "thinking": ADAPTIVE}),
    ("claude-opus-4-8", "off", None, {"max_tokens": 8192, "temperature": 0.5}),
    ("claude-opus-5", "max", 900,
     {"max_tokens": 900, "thinking": ADAPTIVE, "output_config": {"effort": "max"}})])
def test_thinking(model: str, think: bool | str | None, limit: int | None,
                  expected: dict[str, Any]) -> None:
    options = Options(temperature=0.5, think=think, max_tokens=limit)
    body = request_body(Request(model, (), options=options), {})
    assert body == {"model": model, "messages": [], "stream": True, **expected}


@pytest.mark.parametrize(("opening_part", "asked"), [
    (Thinking("Hm.", {"anthropic": {"signature": "s"}}), True),
    (Thinking("Hm.", {"gemini": {"thoughtSignature": "s"}}), False)])
def test_a_tool_turn_begun_elsewhere_goes_on_without_a_thinking_budget(opening_part: Thinking,
                                                                       asked: bool) -> None:
    call, later = ToolCall("a", "now", {}), ToolCall("b", "now", {})
    messages = (user_message("Hi"), Message("assistant", (opening_part, call)),
                tool_message((ToolResult("a", "now", "12:00"),)),
                Message("assistant", (later,)), tool_message((ToolResult("b", "now", "12:01"),)))
    assert ("thinking"
            in request_body(Request("claude-haiku-4-5", messages, options=Options(think=True)), {})) is asked


def test_ids_of_other_providers_are_made_valid_and_unique_in_call_and_result() -> None:
    ids = ("functions.now:0", "call_0", "x" * 80)
    calls = tuple(ToolCall(id, "now", {}) for id in ids)
    results = tool_message(tuple(ToolResult(id, "now", id) for id in ids))
    again = Message("assistant", (ToolCall("call_0", "now", {}), ToolCall("call_0", "now", {})))
    partly = (tool_message((ToolResult("call_0", "now", "1"),)),
              tool_message((ToolResult("call_0", "now", "2"),)))
    body = request_body(Request("claude-test",
                                (user_message("Hi"), Message("assistant", calls), results, again,
                                 *partly)), {})
    used = [block["id"] for entry in body["messages"]
            for block in entry["content"] if block["type"] == "tool_use"]
    answered = [block["tool_use_id"] for entry in body["messages"]
                for block in entry["content"] if block["type"] == "tool_result"]
    assert (used == answered and len(set(used)) == 5
            and all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", identity) for identity in used))
    assert (used[1], used[3], used[4]) == ("call_0", "call_0_2", "call_0_3")


# ---- lists

def test_models_of_all_pages() -> None:
    able = {"image_input": {"supported": True}, "thinking": {"supported": True}}
    pages = [json_answer(
        {"data": [{"id": "new", "max_input_tokens": 1000, "max_tokens": 100, "capabilities": able}],
         "has_more": True, "last_id": "new"}),
             json_answer({"data": [{"id": "old", "display_name": "Old"}], "has_more": False,
                          "last_id": "old"})]
    with FakeServer(pages) as server:
        found = run("anthropic", server.url, lambda provider: provider.models())
        assert ([received.path for received in server.requests]
                == ["/v1/models?limit=1000", "/v1/models?limit=1000&after_id=new"])
    assert found == [ModelInfo("new", 1000, 100, None,
                               frozenset({"completion", "tools", "vision", "thinking"})),
                     ModelInfo("old", details={"display_name": "Old"})]


def test_count_show_and_check() -> None:
    with FakeServer([json_answer({"input_tokens": 17})]) as server:
        assert run("anthropic", server.url, lambda provider: provider.count(HELLO)) == 17
        assert server.requests[0].path == "/v1/messages/count_tokens"
        assert server.requests[0].json == {
            "model": "claude-test",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]}
    with FakeServer(json_answer({"id": "claude-test", "data": []})) as server:
        assert run("anthropic", server.url,
                   lambda provider: provider.show("claude-test")) == ModelInfo("claude-test")
        assert "Anthropic" in run("anthropic", server.url, lambda provider: provider.check())
    provider = provider_at("anthropic", "http://127.0.0.1:1")
    assert (isinstance(provider, CanCheck) and isinstance(provider, CanCount)
            and isinstance(provider, CanShow))


@pytest.mark.parametrize("answer", [[], {}, {"data": None}, "text"])
def test_an_answer_of_another_server_is_named(answer: Any) -> None:
    with FakeServer(json_answer(answer)) as server:
        with pytest.raises(BadResponse):
            run("anthropic", server.url, lambda provider: provider.check())


def test_a_list_without_an_end_ends() -> None:
    with FakeServer(json_answer(
            {"data": [{"id": "a"}, {"no": "id"}, 5], "has_more": True, "last_id": "a"})) as server:
        found = run("anthropic", server.url, lambda provider: provider.models())
        assert {info.name for info in found} == {"a"} and len(server.requests) == MOST_PAGES
