"""The OpenAI chat completions dialect and its variants at compatible hosts, against a loopback
server.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.errors import (AuthFailed, BadResponse, ModelNotFound, Overloaded, ProviderError,
                         RateLimited, StreamBroken, Unsupported)
from core.events import Finished, TextDelta, ThinkingDelta
from core.messages import (Image, Message, Text, Thinking, ToolCall, ToolResult, Usage,
                           tool_message, user_message)
from core.providers import CanCheck, Endpoint, ModelInfo, Options, Request
from core.providers.openai_request import CallIds, request_body
from core.sessions.reply import Reply
from tests.dialects import (CUTS, ask, exchange, provider_at, reply_of, run, server_events,
                            stream_answer)
from tests.fake_server import Answer, Cut, FakeServer, json_answer

HELLO = Request("test-model", (user_message("Hello"),))
COUNTS = {"prompt_tokens": 50, "completion_tokens": 4,
          "prompt_tokens_details": {"cached_tokens": 16},
          "completion_tokens_details": {"reasoning_tokens": 3}}
USAGE = Usage(50, 4, 16, {"reasoning_tokens": 3})
DONE = "[DONE]"


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def counts(**more: Any) -> dict[str, Any]:
    return {"choices": [], "usage": {**COUNTS, **more}}


def piece(index: int | None, arguments: Any = None, *, id: str | None = None,
          name: str | None = None,
          **more: Any) -> dict[str, Any]:
    call: dict[str, Any] = {"function": {"arguments": arguments}
                            | ({} if name is None else {"name": name}), **more}
    return (call | ({} if index is None else {"index": index})
            | ({} if id is None else {"id": id, "type": "function"}))


def reply(payloads: list[Any], cut: int = 1 << 20, **settings: Any) -> Message:
    deltas, _ = exchange("openai", stream_answer(server_events(payloads), cut=cut), HELLO,
                         **settings)
    return reply_of(deltas)


def calls_of(payloads: list[Any], cut: int = 1 << 20) -> list[tuple[str, str, Any]]:
    return [(call.id, call.name, call.arguments if call.invalid is None else call.invalid)
            for call in reply(payloads, cut).tool_calls]


@pytest.mark.parametrize("cut", CUTS)
def test_text(cut: int) -> None:
    wire = server_events([chunk(role="assistant", content="", refusal=None), chunk(content="Grüß "),
                          chunk(content="Gott 🙂"),
                          chunk("stop"), counts(), DONE])
    deltas, received = exchange("openai", stream_answer(b": waiting\n\n" + wire, cut=cut), HELLO)
    assert reply_of(deltas) == Message("assistant", (Text("Grüß Gott 🙂"),), "test/model", USAGE,
                                       "stop")
    assert deltas[-1] == Finished("stop", "stop")
    assert (received.path, received.headers["authorization"]) == ("/chat/completions",
                                                                  "Bearer test-key")


@pytest.mark.parametrize(("reason", "finish"), [
    ("stop", "stop"), ("eos", "stop"), ("length", "length"), ("max_tokens", "length"),
    ("content_filter", "content_filter"),
    ("function_call", "stop"), ("something new", "incomplete")])
def test_how_an_answer_ends(reason: str, finish: str) -> None:
    assert reply([chunk(content="x"), chunk(reason), DONE]).finish == finish


def test_the_last_usage_counts_and_none_is_no_zero() -> None:
    growing = [chunk(content="x") | {"usage": None},
               chunk(content="y") | {"usage": {"prompt_tokens": 5, "completion_tokens": 1}},
               chunk("stop") | {"usage": {"prompt_tokens": 5, "completion_tokens": 2}}]
    assert reply(growing).usage == Usage(5, 2)
    assert reply([chunk(content="x"), chunk("stop"), DONE]).usage is None
    groq = {"x_groq": {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}}
    assert reply([chunk(content="x"), chunk("stop") | groq]).usage == Usage(1, 2)


def test_a_finish_followed_by_a_chunk_without_one() -> None:
    answer = reply([chunk("tool_calls", tool_calls=[piece(0, "{}", id="a", name="now")]),
                    chunk(content="") | {"usage": COUNTS},
                    DONE])
    assert (answer.finish, answer.usage) == ("tool_calls", USAGE)


def test_a_filter_chunk_first_and_unknown_keys() -> None:
    first = {"choices": [], "id": "", "model": "", "prompt_filter_results": [{"prompt_index": 0}]}
    odd = {"choices": [{"index": 0, "delta": {"content": "x"}, "content_filter_results": {}}],
           "obfuscation": "abc", "p": "qqq"}
    assert (reply([first, odd, {"choices": [{"index": 0, "finish_reason": "stop"}]}, DONE]).text
            == "x")


def test_text_that_grows_beside_the_delta_is_not_read_twice() -> None:
    payloads = [
        {"choices": [{"index": 0, "delta": {"content": text},
                      "message": {"role": "assistant", "content": whole}}]}
        for text, whole in (("Good ", "Good "), ("day", "Good day"))]
    assert reply([*payloads, chunk("stop")]).text == "Good day"


def test_an_answer_that_was_not_streamed() -> None:
    message = {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm.",
               "tool_calls": [piece(0, "{}", id="a", name="now")]}
    deltas, _ = exchange("openai",
                         json_answer(
                             {"choices":
                              [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
                              "usage": COUNTS}), HELLO)
    assert reply_of(deltas) == Message("assistant",
                                       (Thinking("Hm."), Text("Yes."), ToolCall("a", "now", {})),
                                       "test/model", USAGE,
                                       "tool_calls")


# ---- thinking

@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_in_a_field(field: str, cut: int) -> None:
    thoughts = [chunk(content=None, **{field: word}) for word in ("Hm", ".")]
    answer = reply([*thoughts, chunk(content="Yes."), chunk("stop")], cut)
    assert answer.parts == (Thinking("Hm."), Text("Yes."))


@pytest.mark.parametrize("cut", CUTS)
def test_reasoning_inside_the_text(cut: int) -> None:
    words = ["<th", "ink>\nHm", ".\n</thi", "nk>\n\nYes", ". <think> is a tag"]
    answer = reply([*(chunk(content=word) for word in words), chunk("stop"), DONE], cut)
    assert answer.parts == (Thinking("Hm."), Text("Yes. <think> is a tag"))


def test_what_looked_like_a_tag_is_not_lost() -> None:
    assert reply([chunk(content="<thi"), chunk("stop")]).text == "<thi"
    with FakeServer(stream_answer(server_events([chunk(content="<thi")]))) as server:
        deltas, error = ask("openai", server.url, HELLO)
    assert deltas == [TextDelta("<thi")] and isinstance(error, StreamBroken)


def test_content_as_a_list() -> None:
    content = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
               {"type": "text", "text": "Yes."}]
    assert reply([chunk(content=content), chunk("stop")]).parts == (Thinking("Hm."), Text("Yes."))


def test_details_of_reasoning_are_put_together_and_go_back_to_their_model_only() -> None:
    detail = {"type": "reasoning.text", "format": "x-v1", "index": 0}
    sealed = {"type": "reasoning.encrypted", "data": "abc", "id": "a", "index": 1}
    deltas, _ = exchange("openai", stream_answer(server_events([
        chunk(content="", reasoning="Let ", reasoning_details=[detail | {"text": "Let "}]),
        chunk(content="", reasoning="me.", reasoning_details=[detail | {"text": "me."}]),
        chunk(content="", reasoning=None, reasoning_details=[detail | {"signature": "sig=="}]),
        chunk(content="", reasoning_details=[sealed]),
        chunk(tool_calls=[piece(0, "{}", id="a", name="now")]), chunk("tool_calls"),
        chunk("tool_calls", content=""),
        DONE])), HELLO)
    answer, result = reply_of(deltas), tool_message((ToolResult("a", "now", "12"),))
    kept = [detail | {"text": "Let me.", "signature": "sig=="}, sealed]
    assert answer.thinking == "Let me."
    history = (*HELLO.messages, answer, result)
    assert body(Request("test-model", history))["messages"][1]["reasoning_details"] == kept
    assert "reasoning_details" not in body(Request("other-model", history))["messages"][1]
    assert "reasoning_details" not in body(Request("test-model", history),
                                           host="other")["messages"][1]


def test_reasoning_goes_back_in_turns_with_calls_and_in_the_last_one() -> None:
    quirks = {"thinking_back": "reasoning_content"}
    deltas, _ = exchange("openai", stream_answer(server_events([
        chunk(reasoning_content="Look."),
        chunk("tool_calls", tool_calls=[piece(0, "{}", id="a", name="now")]), DONE])), HELLO,
        quirks=quirks)
    turn = (*HELLO.messages, reply_of(deltas), tool_message((ToolResult("a", "now", "12"),)))
    assert body(Request("test-model", turn),
                **quirks)["messages"][1]["reasoning_content"] == "Look."
    assert "reasoning_content" not in body(Request("other-model", turn), **quirks)["messages"][1]
    later = (*turn, Message("assistant", (Text("Noon."),)), user_message("And now?"))
    assert body(Request("test-model", later),
                **quirks)["messages"][1]["reasoning_content"] == "Look."
    own = {"openai": {"from": "openai/test-model"}}
    talk = (*HELLO.messages, Message("assistant", (Thinking("Hm.", own), Text("Hi."))),
            user_message("Well?"),
            Message("assistant", (Thinking("So.", own), Text("It"))))
    entries = body(Request("test-model", talk), **quirks)["messages"]
    assert "reasoning_content" not in entries[1] and entries[3]["reasoning_content"] == "So."


def test_reasoning_that_is_needed_is_there_though_empty() -> None:
    quirks: dict[str, Any] = {"thinking_back": "reasoning_content", "thinking_needed": True}
    history = (*HELLO.messages, Message("assistant", (ToolCall("a", "now", {}),)),
               tool_message((ToolResult("a", "now", "12"),)),
               Message("assistant", (Text("Noon."),)))
    entries = body(Request("test-model", history), **quirks)["messages"]
    assert entries[1]["reasoning_content"] == "" and "reasoning_content" not in entries[3]


def test_an_answer_without_reasoning_leaves_no_trace_of_it() -> None:
    answer = reply([chunk(content="x"), chunk("stop")],
                   quirks={"thinking_back": "reasoning_content"})
    assert answer.parts == (Text("x"),)


def test_a_refusal_stands_beside_the_words_before_it() -> None:
    payloads = [chunk(content="Well. "), chunk(refusal="I cannot."), chunk("stop"), DONE]
    assert reply(payloads).parts == (Text("Well. "),
                                     Text("I cannot.", {"openai": {"refusal": True}}))
    with FakeServer(stream_answer(server_events(payloads[:2]))) as server:
        deltas, error = ask("openai", server.url, HELLO)
    assert reply_of(deltas).text == "Well. I cannot." and isinstance(error, StreamBroken)


# ---- calls of tools

@pytest.mark.parametrize("cut", CUTS)
def test_calls_in_pieces(cut: int) -> None:
    assert calls_of([
        chunk(tool_calls=[piece(0, "", id="a", name="weather")]),
        chunk(tool_calls=[piece(0, '{"city": ')]),
        chunk(tool_calls=[piece(0, '"Zürich"}')]),
        chunk(tool_calls=[piece(1, "", id="b", name="now")]),
        chunk(tool_calls=[piece(1, "{}")]), chunk("tool_calls"), DONE], cut) == [
            ("a", "weather", {"city": "Zürich"}), ("b", "now", {})]


CALL_A = ("a", "now", {"x": 1})
CALL_B = ("b", "now", {"x": 2})


@pytest.mark.parametrize(("pieces", "expected"), [
    # repeated id and name
    ([[piece(0, "", id="a", name="now")], [piece(0, '{"x": 1}', id="a", name="now")]], [CALL_A]),
    # empty name later
    ([[piece(0, "", id="a", name="now")], [piece(0, '{"x": 1}', name="")]], [CALL_A]),
    # no arguments first
    ([[{"index": 0, "id": "a", "function": {"name": "now"}}], [piece(0, '{"x": 1}')]], [CALL_A]),
    ([[piece(0, None, id="a", name="now")], [piece(0, '{"x": 1}')]], [CALL_A]),  # null arguments
    ([[piece(1, "", id="a", name="now")], [piece(1, '{"x": 1}')]], [CALL_A]),  # counted from one
    ([[piece(-1, '{"x": 1}', id="a", name="now")]], [CALL_A]),  # counted from nowhere
    ([[piece(0, '{"x": 1}', id="a", name="now"), piece(1, '{"x": 2}', id="b", name="now")]],
     [CALL_A, CALL_B]),
    # index stays 0
    ([[piece(0, '{"x": 1}', id="a", name="now")], [piece(0, '{"x": 2}', id="b", name="now")]],
     [CALL_A, CALL_B]),
    ([[piece(None, '{"x": 1}', id="a", name="now")], [piece(None, '{"x": 2}', id="b", name="now")]],
     [CALL_A, CALL_B]),
    # no index at all
    ([[piece(None, '{"x"', id="a", name="now")], [piece(None, ": 1}")]], [CALL_A]),
    ([[piece(0, {"x": 1}, id="a", name="now")]], [CALL_A]),  # an object
    ([[piece(0, "null", id="a", name="now")]], [("a", "now", {})]),  # JSON null
    ([[piece(0, '{"x": ', id="a", name="now")]], [("a", "now", '{"x": ')]),  # not JSON
])
def test_calls_in_the_manner_of_other_hosts(pieces: list[Any], expected: list[Any]) -> None:
    assert (calls_of([*(chunk(tool_calls=calls) for calls in pieces), chunk("stop"), DONE])
            == expected)


def test_a_call_of_the_oldest_kind() -> None:
    assert calls_of([chunk(function_call={"name": "now", "arguments": ""}),
                     chunk(function_call={"arguments": '{"x": 1}'}),
                     chunk("function_call"), DONE]) == [("call_0", "now", {"x": 1})]


def test_calls_cut_by_the_limit_are_not_run() -> None:
    answer = reply([chunk(tool_calls=[piece(0, '{"city": "Ber', id="a", name="weather")]),
                    chunk("length"), DONE])
    assert (answer.finish, answer.tool_calls) == ("length", ())


def test_data_on_a_call_goes_back_with_it() -> None:
    signed = {"google": {"thought_signature": "sig=="}}
    answer = reply([chunk(tool_calls=[piece(0, "{}", id="a", name="now", extra_content=signed)]),
                    chunk("stop")])
    sent = body(Request("test-model", (*HELLO.messages, answer)))["messages"][1]["tool_calls"][0]
    assert sent["extra_content"] == signed
    assert ("extra_content"
            not in body(Request("other",
                                (*HELLO.messages, answer)))["messages"][1]["tool_calls"][0])


# ---- how a stream ends, and what goes wrong in it

@pytest.mark.parametrize(("payloads", "finish"), [
    ([chunk(content="x"), DONE], "stop"),
    ([chunk(tool_calls=[piece(0, "{}", id="a", name="now")]), DONE], "tool_calls"),
    ([chunk(content="x"), chunk("stop")], "stop")])
def test_one_of_finish_and_done_is_enough(payloads: list[Any], finish: str) -> None:
    assert reply(payloads).finish == finish


@pytest.mark.parametrize("cut", CUTS)
def test_a_stream_without_an_end_is_broken(cut: int) -> None:
    with FakeServer(stream_answer(server_events([chunk(content="half")]), cut=cut)) as server:
        deltas, error = ask("openai", server.url, HELLO)
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == "half"
    assert isinstance(error, StreamBroken) and error.cause is None


def test_a_connection_lost_after_the_finish_loses_nothing() -> None:
    with FakeServer(stream_answer(server_events([chunk(content="x"), chunk("stop")]),
                                  Cut())) as server:
        deltas, error = ask("openai", server.url, HELLO)
    assert error is None and deltas[-1] == Finished("stop", "stop")


ERRORS = [
    {"error": {"message": "The server is overloaded", "code": 503}},
    {"error": {"code": 429, "message": "Rate limit exceeded"},
     "choices": [{"delta": {"content": ""}, "finish_reason": "length"}]},
    {"error": "upstream failed"},
    {"object": "error", "message": "it failed", "code": 50000},
    {"choices": [{"index": 0, "delta": {}, "error": {"code": 502, "message": "bad gateway"}}]},
    {"x_groq": {"id": "1", "error": "it failed"}, "choices": []},
    {"message": "it failed"},
    chunk("error"),
]


@pytest.mark.parametrize("error", ERRORS, ids=range(len(ERRORS)))
def test_an_error_inside_a_stream(error: dict[str, Any]) -> None:
    with FakeServer([stream_answer(server_events([chunk(role="assistant", content=""), error])),
                     stream_answer(server_events(
                         [chunk(content="half"), chunk("length"), error, DONE]))]) as server:
        _, at_once = ask("openai", server.url, HELLO)
        deltas, later = ask("openai", server.url, HELLO)
    assert (isinstance(at_once, ProviderError) and not isinstance(at_once, StreamBroken)
            and at_once.retryable)
    assert (TextDelta("half") in deltas and isinstance(later, StreamBroken)
            and type(later.cause) is type(at_once))


def test_what_kind_of_error_it_was() -> None:
    with FakeServer([stream_answer(server_events([error])) for error in ERRORS[:2]]) as server:
        assert [type(ask("openai", server.url, HELLO)[1]) for _ in range(2)] == [Overloaded,
                                                                                 RateLimited]


def test_an_error_in_an_event_of_its_own() -> None:
    body = (b'event: error\ndata: {"error": {"message": "tool_use_failed", "code": '
            b'"tool_use_failed", "status_code": 400}}\n\n')
    with FakeServer(stream_answer(server_events([chunk(reasoning="Hm")]) + body)) as server:
        deltas, error = ask("openai", server.url, HELLO)
    assert (deltas == [ThinkingDelta("Hm", 1)] and isinstance(error, StreamBroken)
            and isinstance(error.cause, BadResponse))


def test_a_refusal_is_told_once_and_whole() -> None:
    answer, _ = exchange("openai", stream_answer(server_events([
        chunk(content=None, refusal=""), chunk(refusal="I can"), chunk(refusal="not."),
        chunk("stop"), DONE])), HELLO)
    assert [(delta.text, delta.extra) for delta in answer if isinstance(delta, TextDelta)] == [
        ("I cannot.", {"openai": {"refusal": True}})]
    assert reply_of(answer).text == "I cannot."


@pytest.mark.parametrize(("status", "error", "kind"), [
    (401, {"message": "Incorrect API key provided: test-key", "code": "invalid_api_key"},
     AuthFailed),
    (404, {"message": "The model `x` does not exist", "code": "model_not_found"}, ModelNotFound),
    (400, {"message": "Unsupported parameter", "code": "unsupported_parameter",
           "param": "max_tokens"}, Unsupported)])
def test_an_error_instead_of_an_answer(status: int, error: dict[str, Any],
                                       kind: type[ProviderError]) -> None:
    with FakeServer(json_answer({"error": error}, status=status)) as server:
        deltas, raised = ask("openai", server.url, HELLO)
    assert deltas == [] and type(raised) is kind
    assert raised is not None and "test-key" not in raised.message + raised.hint
    if isinstance(raised, Unsupported):
        assert raised.feature == "max_tokens"


# ---- what is sent

def body(request: Request, host: str = "openai", **quirks: Any) -> dict[str, Any]:
    return request_body(request, Endpoint("http://127.0.0.1:1", host=host, quirks=quirks))


def asked(options: Options, **quirks: Any) -> dict[str, Any]:
    sent = body(Request("m", (user_message("q"),), options=options), **quirks)
    return {name: value for name, value in sent.items()
            if name not in ("model", "messages", "stream", "stream_options")}


@pytest.mark.parametrize(("options", "quirks", "fields"), [
    (Options(temperature=0.5, top_p=0.9, seed=7, stop=("END",)), {},
     {"temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["END"]}),
    (Options(max_tokens=9), {}, {"max_tokens": 9}),
    (Options(max_tokens=9), {"max_tokens": "max_completion_tokens"}, {"max_completion_tokens": 9}),
    (Options(response_format="json"), {}, {"response_format": {"type": "json_object"}}),
    (Options(response_format={"type": "json_object"}), {},
     {"response_format": {"type": "json_object"}}),
    (Options(response_format={"type": "object"}), {},
     {"response_format": {"type": "json_schema", "json_schema": {
        "name": "answer", "schema": {"type": "object", "additionalProperties": False},
        "strict": True}}}),
    (Options(think=True), {}, {"reasoning_effort": "medium"}),
    (Options(think=False), {}, {"reasoning_effort": "none"}),
    (Options(think="max"), {}, {"reasoning_effort": "high"}),
    (Options(think="low"), {"think": "reasoning"}, {"reasoning": {"effort": "low"}}),
    (Options(think=False), {"think": "reasoning"}, {"reasoning": {"enabled": False}}),
    (Options(think="low"), {"think": "template"},
     {"chat_template_kwargs": {"enable_thinking": True, "reasoning_effort": "low"}}),
    (Options(think=False), {"think": "template"},
     {"chat_template_kwargs": {"enable_thinking": False}}),
    (Options(think="max"), {"think": "type"},
     {"thinking": {"type": "enabled"}, "reasoning_effort": "max"}),
    (Options(think=False), {"think": "type"}, {"thinking": {"type": "disabled"}}),
    (Options(temperature=0.5, raw={"temperature": 1, "logit_bias": {}}), {},
     {"temperature": 1, "logit_bias": {}}),
    (Options(num_ctx=4096, keep_alive="5m"), {}, {}),
])
def test_options(options: Options, quirks: dict[str, Any], fields: dict[str, Any]) -> None:
    assert asked(options, **quirks) == fields


def test_a_host_without_a_switch_for_thinking_says_so() -> None:
    with pytest.raises(Unsupported) as caught:
        asked(Options(think=True), think="none")
    assert caught.value.feature == "think"


def test_usage_is_asked_for_where_the_host_knows_it() -> None:
    assert body(HELLO)["stream_options"] == {"include_usage": True}
    assert "stream_options" not in body(HELLO, stream_options=False)


def test_results_follow_their_calls_and_ids_stay_or_become_fitting() -> None:
    long = "functions.weather:" + "0" * 60
    calls = tuple(ToolCall(identity, "add", {})
                  for identity in ("functions.add:0", long, "same", "same"))
    results = tool_message(tuple(ToolResult(call.id, "add", str(number))
                                 for number, call in enumerate(calls)))
    for _ in range(2):
        entries = body(Request("m", (user_message("q"), Message("assistant", calls), results)))[
            "messages"]
        sent = [call["id"] for call in entries[1]["tool_calls"]]
        assert [entry["tool_call_id"] for entry in entries[2:]] == sent and len(set(sent)) == 4
        assert (sent[0] == "functions.add:0" and sent[2] == "same"
                and all(len(identity) <= 40 for identity in sent))
    assert CallIds().of_call(long) == sent[1]


def test_arguments_that_are_no_json() -> None:
    history = (user_message("q"), Message("assistant", (ToolCall("a", "add", {}, '{"x": '),)),
               tool_message((ToolResult("a", "add", "The arguments are no JSON.", True),)))
    entries = body(Request("m", history))["messages"]
    assert entries[1]["tool_calls"][0]["function"]["arguments"] == '{"x": '
    assert entries[2] == {"role": "tool", "tool_call_id": "a",
                          "content": "Error: The arguments are no JSON."}
    wrapped = body(Request("m", history),
                   arguments="json")["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(wrapped) == {"invalid": '{"x": '}


def test_images_and_words_keep_their_order() -> None:
    message = Message("user",
                      (Text("Before"), Image("image/png", "aWNvbg=="), Text(""), Text("after")))
    assert body(Request("m", (message,)))["messages"] == [{"role": "user", "content": [
        {"type": "text", "text": "Before"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aWNvbg=="}},
        {"type": "text", "text": "after"}]}]


# ---- where it is sent

@pytest.mark.parametrize(("suffix", "quirks", "path"), [
    ("/v1", {}, "/v1/chat/completions"),
    ("", {"api_version": "2025-01-01"}, "/chat/completions?api-version=2025-01-01"),
    ("", {"deployments": True, "api_version": "v"},
     "/openai/deployments/test-model/chat/completions?api-version=v"),
    ("/openai/v1", {"deployments": True, "api_version": "v"}, "/openai/v1/chat/completions"),
    ("/openai/deployments/x", {"deployments": True, "api_version": "v"},
     "/openai/deployments/x/chat/completions?api-version=v")])
def test_paths(suffix: str, quirks: dict[str, Any], path: str) -> None:
    with FakeServer(stream_answer(server_events([chunk("stop"), DONE]))) as server:
        assert ask("openai", server.url + suffix, HELLO, quirks=quirks)[1] is None
        assert server.requests[0].path == path


def test_the_key_in_a_header_of_its_own_and_a_connection_that_is_closed() -> None:
    _, received = exchange("openai", stream_answer(server_events([chunk("stop"), DONE])), HELLO,
                           quirks={"auth": "api-key", "close": True})
    assert received.headers["api-key"] == "test-key" and "authorization" not in received.headers
    assert received.headers["connection"] == "close"


# ---- lists of models

LISTS: list[tuple[Any, list[ModelInfo]]] = [
    ({"data": [{"id": "a", "context_window": 8192, "max_completion_tokens": 1024, "active": True},
               {"id": "b", "active": False}]},
     [ModelInfo("a", 8192, 1024)]),
    ({"data": [{"id": "a", "context_length": 200000, "supported_parameters": ["tools", "reasoning"],
                "architecture": {"input_modalities": ["text", "image"]},
                "top_provider": {"max_completion_tokens": 64}}]},
     [ModelInfo("a", 200000, 64, None, frozenset({"completion", "tools", "thinking", "vision"}))]),
    ({"data": [{"id": "/m/a.gguf", "meta": {"n_ctx_train": 40960, "size": 9}}]},
     [ModelInfo("/m/a.gguf", 40960, None, 9)]),
    ({"data":
      [{"id": "a", "max_context_length": 32768,
        "capabilities": {"function_calling": True, "vision": False}}]},
     [ModelInfo("a", 32768, None, None, frozenset({"tools"}), lacking=frozenset({"vision"}))]),
    ({"data":
      [{"id": "a",
        "providers": [{"context_length": 8}, {"context_length": 16, "supports_tools": True}]}]},
     [ModelInfo("a", 16, None, None, frozenset({"tools"}))]),
    ([{"id": "a", "type": "chat", "context_length": 4096}, {"id": None}, "odd"],
     [ModelInfo("a", 4096, None, None, frozenset({"completion"}))]),
    ({"data": [{"id": "a", "max_model_len": 512, "meta": "odd", "capabilities": None}]},
     [ModelInfo("a", 512)]),
]


@pytest.mark.parametrize(("answer", "expected"), LISTS, ids=range(len(LISTS)))
def test_models(answer: Any, expected: list[ModelInfo]) -> None:
    with FakeServer(json_answer(answer)) as server:
        assert run("openai", server.url + "/v1", lambda provider: provider.models()) == expected
        assert (server.requests[0].method, server.requests[0].path) == ("GET", "/v1/models")


def test_a_better_list_where_there_is_one() -> None:
    quirks = {"models_path": "/models/capabilities"}
    better = json_answer(
        {"data": [{"id": "a", "capabilities": ["chat", "tts"], "context_size": 99}]})
    missing = json_answer({"error": {"code": 404, "message": "Not Found"}}, status=404)
    with FakeServer([better, missing, json_answer({"data": [{"id": "a"}]})]) as server:
        found = [run("openai", server.url, lambda provider: provider.models(), quirks=quirks)
                 for _ in range(2)]
    assert found == [[ModelInfo("a", 99, None, None, frozenset({"completion"}))], [ModelInfo("a")]]


def test_what_is_no_list() -> None:
    with FakeServer(json_answer({"hello": "world"})) as server, pytest.raises(BadResponse):
        run("openai", server.url, lambda provider: provider.models())


def test_check() -> None:
    assert isinstance(provider_at("openai", "http://127.0.0.1:1"), CanCheck)
    with FakeServer([json_answer({"data": []}), json_answer({"data": {"label": "k"}}),
                     Answer(status=401)]) as server:
        assert server.url in run("openai", server.url, lambda provider: provider.check())
        run("openai", server.url, lambda provider: provider.check(), quirks={"check_path": "/key"})
        with pytest.raises(AuthFailed):
            run("openai", server.url, lambda provider: provider.check())
        assert [received.path for received in server.requests] == ["/models", "/key", "/models"]


def test_deltas_do_not_depend_on_the_cut() -> None:
    wire = server_events([chunk(content="a" * 50),
                          chunk(tool_calls=[piece(0, '{"x": 1}', id="a", name="now")]),
                          chunk("stop"),
                          DONE], end="\r\n")
    found = []
    for cut in (1, 2, 3, 5, 11, 1 << 20):
        collected = Reply()
        for delta in exchange("openai", stream_answer(wire, cut=cut), HELLO)[0]:
            collected.add(delta)
        found.append(collected.message("m"))
    assert (all(message == found[0] for message in found)
            and found[0].tool_calls == (ToolCall("a", "now", {"x": 1}),))


@pytest.mark.parametrize("count", [10 ** 30, 2 ** 53, -1, True, 1.5])
def test_counts_that_cannot_be_are_unknown(count: Any) -> None:
    body = server_events([{"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}],
                           "usage": {"prompt_tokens": count, "completion_tokens": 2,
                                     "cost": 10 ** 400}}])
    deltas, _ = exchange("openai", stream_answer(body), Request("m", (user_message("q"),)))
    assert Usage(None, 2) in deltas
