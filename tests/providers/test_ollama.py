"""Ollama's API: requests, replies, and the error for each failure."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
from hypothesis import strategies as st

from core.errors import (AuthFailed, BadRequest, BadResponse, ConnectFailed, ContextTooLong,
                         ModelNotFound, Overloaded, ProviderError, QuotaExhausted, RateLimited,
                         StreamBroken, Unsupported)
from core.events import Delta, Finished, PullProgress, TextDelta, ThinkingDelta, ToolCallDelta
from core.messages import (Image, Message, Text, Thinking, ToolCall, ToolResult, Usage,
                           tool_message, user_message)
from core.providers import (CanCheck, CanPull, CanShow, Endpoint, ModelInfo, Options, Request,
                            ToolSpec)
from core.providers.http.decoder import join_deltas
from core.providers.ollama import Ollama, ollama_base_url
from core.providers.ollama_errors import error_from
from core.providers.ollama_reply import ReplyReader
from core.providers.ollama_request import chat_body, chat_options
from core.providers.thinking import InlineThinking
from tests.any_machine import given
from tests.fake_server import (Answer, Cut, FakeOllama, FakeServer, Pause, chat_line, done_line,
                               fake_words, json_answer, json_line, lines_answer, pieces)

NOW = ToolSpec("now", "the time", {"type": "object", "properties": {}})
HELLO = (user_message("hello"),)
DURATIONS = {"total_duration": 30_000_000, "load_duration": 1_000_000,
             "prompt_eval_duration": 2_000_000,
             "eval_duration": 20_000_000}


async def gather(url: str, request: Request, got: list[Delta], **endpoint: Any) -> None:
    provider = Ollama(Endpoint(url, **endpoint))
    try:
        async with contextlib.aclosing(provider.stream(request)) as deltas:
            async for delta in deltas:
                got.append(delta)
    finally:
        await provider.close()


def reply(model: str, *, tools: tuple[ToolSpec, ...] = (), got: list[Delta] | None = None,
          **options: Any) -> list[Delta]:
    """What FakeOllama's model answers, neighbours joined."""
    deltas: list[Delta] = [] if got is None else got
    with FakeOllama() as server:
        asyncio.run(gather(server.url,
                           Request(model, HELLO, tools=tools, options=Options(**options)), deltas))
    return list(join_deltas(deltas))


def answered(answer: Answer, got: list[Delta] | None = None,
             messages: tuple[Message, ...] = HELLO) -> list[Delta]:
    deltas: list[Delta] = [] if got is None else got
    with FakeServer(answer) as server:
        asyncio.run(gather(server.url, Request("m", messages), deltas))
    return list(join_deltas(deltas))


def words(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


# ---- where the server is

@pytest.mark.parametrize(("text", "url"), [
    (None, "http://127.0.0.1:11434"), ("", "http://127.0.0.1:11434"),
    ("  ", "http://127.0.0.1:11434"),
    ("example.com", "http://example.com:11434"), ("example.com:56789", "http://example.com:56789"),
    (":56789", "http://127.0.0.1:56789"), ("localhost", "http://localhost:11434"),
    ("http://example.com", "http://example.com:80"),
    ("https://example.com", "https://example.com:443"),
    ("HTTPS://example.com", "https://example.com:443"),
    ("https://example.com:8443/", "https://example.com:8443"),
    ("http://", "http://127.0.0.1:80"), ("http://:8080", "http://127.0.0.1:8080"),
    ("example.com/path", "http://example.com:11434/path"),
    ("https://example.com/a/b/", "https://example.com:443/a/b"),
    ("example.com:1/", "http://example.com:1"), ("http://h:1/v1", "http://h:1"),
    ("http://h:1/v1/", "http://h:1"),
    ("http://h:1/api", "http://h:1"), ("http://h:1/ollama/api", "http://h:1/ollama"),
    ("h/apiary", "http://h:11434/apiary"),
    ("::1", "http://[::1]:11434"), ("[::1]", "http://[::1]:11434"),
    ("[::1]:1234", "http://[::1]:1234"),
    ("http://[::1]", "http://[::1]:80"), ("[0001:002:003:0004::1]", "http://[1:2:3:4::1]:11434"),
    ("https://[fe80::1]:99/p", "https://[fe80::1]:99/p"),
    ("0.0.0.0", "http://127.0.0.1:11434"), ("0.0.0.0:1234", "http://127.0.0.1:1234"),
    ("[::]", "http://[::1]:11434"),
    ("::", "http://[::1]:11434"), ("[::]:1234", "http://[::1]:1234"),
    ("http://0.0.0.0:80", "http://127.0.0.1:80"),
    ("example.com:66000", "http://example.com:11434"),
    ("example.com:-1", "http://example.com:11434"),
    ("example.com:x", "http://example.com:11434"),
    ("https://example.com:66000", "https://example.com:443"),
    ("example.com:0", "http://example.com:0"), ("example.com:", "http://example.com:11434"),
    ('"example.com:1"', "http://example.com:1"), (" 'example.com' ", "http://example.com:11434"),
    ('" h "', "http://h:11434"),
    ("ollama.com", "https://ollama.com:443"), ("https://ollama.com", "https://ollama.com:443"),
])
def test_ollama_base_url(text: str | None, url: str) -> None:
    assert ollama_base_url(text) == url
    assert ollama_base_url(url) == url


# ---- ours -> theirs

def test_a_whole_conversation_as_a_body() -> None:
    messages = (
        Message("system", (Text("be kind"),)),
        user_message("look", (Image("image/png", "QUJD"),)),
        Message("assistant",
                (Thinking("hm"), Text("I ask"), ToolCall("call_7", "now", {"zone": "utc"}),
                 ToolCall("call_8", "bad", {}, "{oops"))),
        tool_message((ToolResult("call_7", "now", "noon"),
                      ToolResult("call_8", "bad", "no object", True))),
    )
    assert chat_body(Request("m", messages, "be brief", (NOW,))) == {
        "model": "m", "stream": True, "truncate": False,
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": "look", "images": ["QUJD"]},
            {"role": "assistant", "content": "I ask", "thinking": "hm", "tool_calls": [
                {"id": "call_7", "function": {"name": "now", "arguments": {"zone": "utc"}}},
                {"id": "call_8", "function": {"name": "bad", "arguments": {}}}]},
            {"role": "tool", "content": "noon", "tool_name": "now", "tool_call_id": "call_7"},
            {"role": "tool", "content": "no object", "tool_name": "bad", "tool_call_id": "call_8"},
        ],
        "tools": [{"type": "function", "function": {"name": "now", "description": "the time",
                                                    "parameters": {"type": "object",
                                                                   "properties": {}}}}],
    }


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(("options", "body"), [
    (Options(), {}),
    (Options(temperature=0.0, top_p=0.5, seed=0, max_tokens=9, stop=("a", "b"), num_ctx=8192),
     {"options": {"temperature": 0.0, "top_p": 0.5, "seed": 0, "num_predict": 9, "stop": ["a", "b"],
                  "num_ctx": 8192}}),
    (Options(think=True), {"think": True}), (Options(think=False), {"think": False}),
    (Options(think="high"), {"think": "high"}),
    (Options(think="on"), {"think": True}), (Options(think="off"), {"think": False}),
    (Options(keep_alive="10m"), {"keep_alive": "10m"}),
    (Options(keep_alive="-1"), {"keep_alive": -1}),
    (Options(response_format="json"), {"format": "json"}),
    (Options(response_format=SCHEMA), {"format": SCHEMA}),
    (Options(response_format={"type": "json_object"}), {"format": "json"}),
    (Options(response_format={"type": "json_schema",
                              "json_schema": {"name": "x", "schema": SCHEMA}}), {"format": SCHEMA}),
    (Options(response_format={"type": "text"}), {}),
    (Options(raw={"keep_alive": 5, "think": "low", "truncate": False, "mirostat": 1,
                  "options": {"top_k": 3}, "stream": False}),
     {"keep_alive": 5, "think": "low", "truncate": False, "options": {"top_k": 3, "mirostat": 1}}),
    (Options(temperature=1.0, raw={"temperature": 0.2}), {"options": {"temperature": 0.2}}),
])
def test_options(options: Options, body: dict[str, Any]) -> None:
    assert chat_options(options) == body


# ---- theirs -> ours

def test_words() -> None:
    assert reply("words-50") == [TextDelta(fake_words(50)), Usage(7, 50, None, DURATIONS),
                                 Finished("stop", "stop")]


def test_thinking() -> None:
    assert reply("think")[:2] == [ThinkingDelta("so be it"), TextDelta(fake_words(5))]


def test_a_tool_call_without_an_id_gets_a_new_one() -> None:
    call = {"function": {"name": "now", "arguments": {"zone": "ü"}}}
    before = Message("assistant", (ToolCall("call_1", "now", {}),))
    deltas = answered(lines_answer(
        [chat_line("m", tool_calls=[call]), chat_line("m", tool_calls=[call]), done_line("m")]),
                      messages=(*HELLO, before, tool_message((ToolResult("call_1", "now", "x"),)),
                                *HELLO))
    first, second = deltas[:2]
    assert isinstance(first, ToolCallDelta) and isinstance(second, ToolCallDelta)
    assert (first.index, second.index, first.name, json.loads(first.arguments)) == (0, 1, "now",
                                                                                    {"zone": "ü"})
    assert len({"call_1", first.id, second.id}) == 3
    assert deltas[-1] == Finished("tool_calls", "stop")


def test_tool_calls_in_the_done_line_keep_their_ids() -> None:
    calls = [{"id": "abc", "function": {"index": 0, "name": "a", "arguments": {}}},
             {"id": "d", "function": {"name": "b"}}]
    last = done_line("m")
    last["message"]["tool_calls"] = calls
    assert answered(lines_answer([chat_line("m", "I ask"), last]))[:3] == [
        TextDelta("I ask"), ToolCallDelta(0, "abc", "a", "{}"), ToolCallDelta(1, "d", "b", "")]


@pytest.mark.parametrize(("more", "finished"), [
    ({"done_reason": "length"}, Finished("length", "length")),
    ({"done_reason": "load"}, Finished("stop", "load")),
    ({"done_reason": None}, Finished("stop", "")),
    ({"done_reason": "new word"}, Finished("incomplete", "new word"))])
def test_why_it_ended(more: dict[str, Any], finished: Finished) -> None:
    assert answered(lines_answer([chat_line("m", "x"), {**done_line("m"), **more}]))[-1] == finished


def test_counts_that_are_missing_are_unknown() -> None:
    last = {"message": {"role": "assistant", "content": ""}, "done_reason": "stop", "done": True}
    assert answered(lines_answer([last])) == [Usage(), Finished("stop", "stop")]


def test_cached_tokens() -> None:
    usage = answered(lines_answer([done_line("m", prompt_eval_cached_count=3)]))[0]
    assert isinstance(usage, Usage) and usage.cached_tokens == 3


def test_one_object_instead_of_a_stream() -> None:
    whole = {**done_line("m"), "message": {"role": "assistant", "content": "all"}}
    assert answered(json_answer(whole))[0] == TextDelta("all")


@pytest.mark.parametrize("size", [1, 3, 50])
def test_the_cut_of_the_bytes_does_not_matter(size: int) -> None:
    text = "ü\u2028\U0001f600 </b> \x00"
    data = b"".join(json_line(line) for line
                    in (chat_line("m", thinking=text), chat_line("m", text), done_line("m")))
    assert answered(Answer(pieces(data, size)))[:2] == [ThinkingDelta(text), TextDelta(text)]


# ---- <think> in the content

TAGGED = [
    ("<think>\nso\n</think>\n\nyes", "so", "yes"), ("  \n<think>so</think>yes", "so", "yes"),
    ("<think></think>yes", "", "yes"),
    ("<think>\n\n</think>\n\nyes", "", "yes"), ("so</think>yes", "", "so</think>yes"),
    ("yes <think>no</think>", "", "yes <think>no</think>"),
    ("<think>never closed </thi", "never closed </thi", ""), ("<thi", "", "<thi"),
    ("<thinking>x", "", "<thinking>x"), ("", "", ""),
    ("<think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
    ("<think>a</</think>b", "a</", "b"), ("  x", "", "  x"),
]


@pytest.mark.parametrize(("content", "thought", "text"), TAGGED)
@given(st.lists(st.integers(0, 40), max_size=10))
def test_think_tags_in_any_cut(content: str, thought: str, text: str, cuts: list[int]) -> None:
    tags = InlineThinking()
    edges = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    deltas = [delta for start, end in zip(edges, edges[1:])
              for delta in tags.feed(content[start:end])] + tags.flush()
    assert "".join(delta.text for delta in deltas if isinstance(delta, ThinkingDelta)) == thought
    assert words(deltas) == text


def test_inline_thinking_over_the_wire() -> None:
    deltas = reply("inline-think")
    assert deltas[:2] == [ThinkingDelta("so be it"), TextDelta(fake_words(5))]


def test_a_tag_after_real_thinking_is_text() -> None:
    deltas = answered(lines_answer(
        [chat_line("m", thinking="t"), chat_line("m", "<think>x</think>"), done_line("m")]))
    assert deltas[:2] == [ThinkingDelta("t"), TextDelta("<think>x</think>")]


@pytest.mark.parametrize("last", [done_line("m"), {"error": "boom"}, None])
def test_what_was_held_back_for_a_tag_is_never_lost(last: dict[str, Any] | None) -> None:
    got: list[Delta] = []
    with contextlib.suppress(ProviderError):
        answered(lines_answer([chat_line("m", "<thi"), *([last] if last else [])]), got)
    assert words(got) == "<thi"


# ---- failures

@pytest.mark.parametrize("model", ["cut-20", "reset-20", "error-20"])
def test_a_reply_that_breaks_off_keeps_what_came(model: str) -> None:
    got: list[Delta] = []
    with pytest.raises(StreamBroken) as caught:
        reply(model, got=got)
    assert words(got) == fake_words(20)
    assert isinstance(caught.value.cause, Overloaded) is (model == "error-20")


def test_a_connection_lost_while_a_tag_was_held_back_keeps_it() -> None:
    got: list[Delta] = []
    with pytest.raises(StreamBroken):
        answered(lines_answer([chat_line("m", "<thi")], Pause(0.02), Cut()), got)
    assert words(got) == "<thi"


def test_an_end_without_the_done_line_is_no_end() -> None:
    got: list[Delta] = []
    with pytest.raises(StreamBroken):
        answered(lines_answer([chat_line("m", "x")]), got)
    assert got == [TextDelta("x")]


def test_an_error_in_the_stream_before_any_word_is_that_error() -> None:
    with pytest.raises(ModelNotFound):
        answered(lines_answer([{"error": "pull model manifest: file does not exist"}]))


def test_a_stall() -> None:
    got: list[Delta] = []
    with FakeOllama() as server, pytest.raises(StreamBroken):
        asyncio.run(gather(server.url, Request("stall-3", HELLO), got, idle_timeout=0.2))
    assert words(got) == fake_words(3)


def test_empty_lines_of_a_living_server_are_no_content() -> None:
    steps = [step for _ in range(100) for step in (Pause(0.05), json_line(chat_line("m")))]
    with FakeServer(Answer(steps)) as server, pytest.raises(StreamBroken):
        asyncio.run(gather(server.url, Request("m", HELLO), [], idle_timeout=0.4))


@pytest.mark.parametrize(("model", "kind", "status"), [
    ("missing", ModelNotFound, 404), ("busy", Overloaded, 503), ("limited", RateLimited, 429),
    ("locked", AuthFailed, 401),
    ("overflow", ContextTooLong, 400), ("crash", Overloaded, 500), ("no-tools", Unsupported, 400),
    ("forbidden", AuthFailed, 403)])
def test_refusals(model: str, kind: type[ProviderError], status: int) -> None:
    with pytest.raises(kind) as caught:
        reply(model, tools=(NOW,))
    assert caught.value.status == status
    assert "\n" not in caught.value.message and "{" not in caught.value.message


def said(status: int, text: str, **headers: str) -> ProviderError:
    return error_from(status, {name.replace("_", "-"): value for name, value in headers.items()},
                      json.dumps({"error": text}).encode(), model="m")


def test_a_missing_model_says_how_to_get_it() -> None:
    assert "ollama pull m" in said(404, "model 'm' not found").hint


def test_the_limit_that_a_prompt_exceeds() -> None:
    inner = {"error": {"code": 400, "message": "too long", "type": "exceed_context_size_error",
                       "n_prompt_tokens": 9, "n_ctx": 4}}
    error = said(400, json.dumps(inner))
    assert (isinstance(error, ContextTooLong) and (error.limit, error.needed) == (4, 9)
            and "too long" in error.message)


@pytest.mark.parametrize(("status", "text", "kind", "feature"), [
    (400, "registry.ollama.ai/library/m does not support tools", Unsupported, "tools"),
    (400, '"m" does not support thinking', Unsupported, "thinking"),
    (400, 'think value "low" is not supported for this model', Unsupported, "thinking"),
    (400, '"m" does not support chat', Unsupported, "chat"),
    (400, "this model does not support images", Unsupported, "vision"),
    (500, '{"error":{"code":500,"message":"image input is not supported - hint: '
     'mmproj","type":"server_error"}}', Unsupported,
     "vision"),
    (400, "prompt too long; exceeded max context length by 7 tokens", ContextTooLong, None),
    (500, "model requires more system memory (9 GiB) than is available (1 GiB)", ProviderError,
     None),
    (500, "llama runner process has terminated: exit status 2", Overloaded, None),
    (400, "invalid options: foo", BadRequest, ""), (404, "", ProviderError, None),
    (429, "you have reached your weekly usage limit, please upgrade to continue", QuotaExhausted,
     None),
    (503, "server busy, please try again.  maximum pending requests exceeded", Overloaded, None),
])
def test_errors_by_their_words(status: int, text: str, kind: type[ProviderError],
                               feature: str | None) -> None:
    error = said(status, text)
    assert type(error) is kind and getattr(error, "feature", None) == feature


def test_a_rate_limit_keeps_its_delay() -> None:
    assert said(429, "slow down", retry_after="4").retry_after == 4.0


@pytest.mark.parametrize("body",
                         [b"", b"null", b"[]", b'{"error":null}', b"<html>\xff",
                          b'{"error":{"message":"x"}}', b"{" * 100])
@pytest.mark.parametrize("status", [400, 404, 500])
def test_any_error_body_becomes_an_error(body: bytes, status: int) -> None:
    assert error_from(status, {}, body).message


@pytest.mark.parametrize("line", [
    [1], "x", 7, {"message": "x"}, {"message": {"content": 5}}, {"message": {"tool_calls": [1]}},
    {"message": {"tool_calls": 5}},
    {"message": {"tool_calls": [{"function": "x"}]}}])
def test_what_is_no_ollama_line(line: Any) -> None:
    with pytest.raises(BadResponse):
        list(ReplyReader(Request("m", HELLO)).read([line]))


def test_no_server_says_how_to_start_one() -> None:
    with FakeOllama() as server:
        pass
    provider = Ollama(Endpoint(server.url))
    for call in (provider.models, provider.check, provider.running,
                 lambda: gather(server.url, Request("m", HELLO), [])):
        with pytest.raises(ConnectFailed) as caught:
            asyncio.run(call())
        assert "ollama serve" in caught.value.hint and "demo" in caught.value.hint


# ---- models

def test_the_powers_of_the_provider() -> None:
    provider = Ollama(Endpoint("http://127.0.0.1:1"))
    assert isinstance(provider, CanShow) and isinstance(provider, CanPull) and isinstance(provider,
                                                                                          CanCheck)


def test_models_show_running_check_and_delete() -> None:
    async def use(url: str) -> None:
        provider = Ollama(Endpoint(url))
        listed = await provider.models()
        assert [model.name for model in listed] == ["a:latest", "b:latest"]
        assert (listed[0].context_window, listed[0].size) == (16384, 2_596_693)
        assert listed[0].capabilities == frozenset({"completion", "tools"})
        shown = await provider.show("a")
        assert (shown.name, shown.context_window, shown.details["num_ctx"]) == ("a", 32768, 8192)
        assert [(model.name, model.context_window)
                for model in await provider.running()] == [("a:latest", 4096)]
        assert await provider.check() == f"Ollama 0.33.0 at {url}"
        await provider.delete("a")
        assert [model.name for model in await provider.models()] == ["b:latest"]
        for call in (provider.show, provider.delete):
            with pytest.raises(ModelNotFound) as caught:
                await call("missing")
            assert "ollama pull missing" in caught.value.hint
        await provider.close()
        await provider.close()

    with FakeOllama(models=["a", "b"]) as server:
        asyncio.run(use(server.url))


def test_an_old_server_says_less() -> None:
    with FakeServer(json_answer({"models": [{"name": "old"}, "junk"]})) as server:
        assert asyncio.run(Ollama(Endpoint(server.url)).models()) == [ModelInfo("old")]


@pytest.mark.parametrize("answer",
                         [json_answer([]), json_answer({"models": None}),
                          Answer([b"<html>"], framing="length")])
def test_what_is_no_ollama_server(answer: Answer) -> None:
    with FakeServer(answer) as server:
        for call in (Ollama(Endpoint(server.url)).models, Ollama(Endpoint(server.url)).running):
            with pytest.raises(BadResponse):
                asyncio.run(call())


async def pulled(url: str, model: str, got: list[PullProgress], **more: Any) -> None:
    async with contextlib.aclosing(Ollama(Endpoint(url, **more)).pull(model)) as progress:
        async for step in progress:
            got.append(step)


def test_pull_tells_each_layer() -> None:
    got: list[PullProgress] = []
    with FakeOllama(models=["a"]) as server:
        asyncio.run(pulled(server.url, "new", got))
        assert server.models == ["a", "new"]
    assert got[0] == PullProgress("pulling manifest") and got[-1] == PullProgress("success")
    assert [(step.completed, step.total)
            for step in got if step.layer == "sha256:bbbbbbbbbbbb"] == [(0, 50), (25, 50), (50, 50)]
    assert PullProgress("pulling aaaaaaaaaaaa", 500, 1000, "sha256:aaaaaaaaaaaa") in got


def test_pull_of_what_does_not_exist() -> None:
    got: list[PullProgress] = []
    with FakeOllama() as server, pytest.raises(ModelNotFound):
        asyncio.run(pulled(server.url, "missing", got))
    assert got == [PullProgress("pulling manifest")]


def test_a_pull_of_an_endless_line_ends() -> None:
    """Reading stops when it is longer than any line of the protocol."""
    endless: list[Any] = [b"x" * 65_536] * 400
    with FakeServer(lambda request: Answer(endless)) as server:
        with pytest.raises(BadResponse):
            asyncio.run(pulled(server.url, "m", [], longest=1 << 20))
        assert server.wait_for(1).done.wait(10) and server.requests[0].outcome == "client_left"


@pytest.mark.parametrize("line",
                         [{"status": "p", "digest": ["a"]}, {"status": 1},
                          {"status": "p", "total": 1.5}, [1, 2], "text"])
def test_a_pull_that_is_answered_with_something_else(line: Any) -> None:
    with (FakeServer(lines_answer([line, {"status": "success"}])) as server,
          pytest.raises(BadResponse)):
        asyncio.run(pulled(server.url, "m", []))


def test_sizes_of_a_pull_are_sizes() -> None:
    got: list[PullProgress] = []
    lines = [{"status": "p", "digest": "a", "completed": -7, "total": int("9" * 400)},
             {"status": "success"}]
    with FakeServer(lines_answer(lines)) as server:
        asyncio.run(pulled(server.url, "m", got))
    assert got == [PullProgress("p", 0, 1 << 53, "a"), PullProgress("success")]


@pytest.mark.parametrize("end", [[], [Pause(0.02), Cut()]])
def test_a_pull_that_breaks_off_is_not_done(end: list[Any]) -> None:
    with (FakeServer(lines_answer([{"status": "pulling manifest"}], *end)) as server,
          pytest.raises(StreamBroken)):
        asyncio.run(pulled(server.url, "m", []))


def test_the_key_goes_to_its_own_server_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "from-the-environment")

    async def use(key: str | None) -> None:
        provider = Ollama(Endpoint(server.url, key))
        await provider.models()
        await provider.show("echo")
        await provider.close()

    with FakeOllama() as server:
        asyncio.run(use("mine"))
        asyncio.run(use(None))
    sent = [request.headers.get("authorization") for request in server.requests]
    assert sent == ["Bearer mine", "Bearer mine", None, None]


@pytest.mark.parametrize("name", ["models", "running"])
def test_redirects_are_not_followed(name: str) -> None:
    with (FakeOllama() as other,
          FakeServer(Answer((), 307, {"Location": other.url + "/api/tags"},
                            framing="length")) as server):
        with pytest.raises(ProviderError):
            asyncio.run(getattr(Ollama(Endpoint(server.url, "secret")), name)())
        assert other.connections == 0


def test_cancelling_a_reply_stops_the_server() -> None:
    async def cancelled(server: FakeOllama) -> None:
        got: list[Delta] = []
        task = asyncio.create_task(gather(server.url, Request("slow", HELLO), got))
        while not got:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.requests[0].done.wait, 5)

    with FakeOllama() as server:
        asyncio.run(cancelled(server))
    assert server.requests[0].outcome == "client_left"


@pytest.mark.parametrize("count", [10 ** 30, 2 ** 53, -1, True, 1.5, "7"])
def test_counts_that_cannot_be_are_unknown(count: Any) -> None:
    line = done_line("m", prompt_eval_count=count, eval_duration=count,
                     prompt_eval_cached_count=2 ** 53 - 1)
    usage = answered(lines_answer([line]))[0]
    assert isinstance(usage, Usage) and (usage.input_tokens, usage.cached_tokens) == (None,
                                                                                      2 ** 53 - 1)
    assert "eval_duration" not in (usage.details or {})


@pytest.mark.parametrize("digits", [13, 5000])
def test_an_error_with_a_number_of_many_digits_is_an_error(digits: int) -> None:
    number = "9" * digits
    said = f"request ({number} tokens) exceeds the available context size (4096 tokens)"
    assert isinstance(error_from(400, {}, json.dumps({"error": said}).encode()), ProviderError)
