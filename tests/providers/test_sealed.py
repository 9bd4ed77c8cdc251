"""Signed or encrypted data stays with the origin that made it, and every dialect declares what it
lacks.
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import replace
from typing import Any

import pytest

from core.config import Settings
from core.errors import Unsupported
from core.events import Notice, TextDelta
from core.messages import Image, Message, Text, Thinking, ToolCall, ToolResult, tool_message
from core.model_manager import Providers, Target
from core.models.fallback import Chain, respond_with_fallbacks
from core.providers import Endpoint, Options, Request, ToolSpec, load_dialect
from core.providers.anthropic_request import ANY_JSON, request_body as anthropic_body
from core.providers.errors_http import classify
from core.providers.hosts import hosts
from core.providers.openai_request import request_body
from core.providers.sealed import without_sealed
from core.providers.parameters import DENIABLE, FIELDS, lacks_of, left_out_notice, without
from core.retry_handler import RetryConfig
from tests.dialects import server_events, stream_answer
from tests.fake_server import FakeServer

SEAL = "sealed-by-another-host"
EXTRAS: dict[str, Any] = {
    "anthropic": {"anthropic": {"signature": SEAL}},
    "gemini": {"gemini": {"thoughtSignature": SEAL}},
    "redacted": {"anthropic": {"block": {"type": "redacted_thinking", "data": SEAL}}},
    "openai-responses":
    {"openai-responses": {"from": "openai-responses/m", "item": {"encrypted_content": SEAL}}},
}
PROVIDERS: dict[str, Any] = {
    "first": {"base_url": "https://one.example/v1"},
    "same": {"base_url": "https://one.example/other"},
    "second": {"base_url": "https://two.example/v1"},
}


def conversation(maker: str, extra: Any) -> tuple[Message, ...]:
    call = ToolCall("call_1", "look", {}, extra=extra)
    reply = Message("assistant", (Thinking("hm", extra), Text("Hi."), Text("", extra), call),
                    f"{maker}/m")
    return (Message("user", (Text("hi"),)), reply,
            tool_message((ToolResult("call_1", "look", "seen"),)))


@pytest.mark.parametrize("extra", EXTRAS.values(), ids=EXTRAS)
@pytest.mark.parametrize("maker, target, kept", [
    ("first", "first", True), ("first", "same", True), ("first", "second", False),
    ("second", "anthropic", False),
    ("gone-from-the-file", "first", False), ("anthropic", "anthropic", True),
    ("openai", "openai-responses", True)])
def test_sealed_data_goes_only_to_its_origin(extra: Any, maker: str, target: str,
                                             kept: bool) -> None:
    providers = Providers(Settings({}, providers=PROVIDERS))
    request = Request("m", conversation(maker, extra))
    sent = providers.prepared(Target(target, "m"), request)
    assert (SEAL in repr(sent)) is kept
    assert [message.text for message in sent.messages] == [message.text
                                                           for message in request.messages]
    assert sent.messages[1].tool_calls[0].id == "call_1" and sent.messages[1].thinking == "hm"
    assert SEAL in repr(request), "what is stored keeps it"


WORDS = ["messages.1.content.0: Invalid `signature` in `thinking` block",
         "The signature of the thinking block is not valid",
         "Thought signature is not valid",
         "Function call is missing a thought_signature in functionCall parts",
         "Item 'rs_1' of type 'reasoning' was provided without its required following item.",
         "The encrypted_content of item rs_1 could not be verified",
         "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be "
         "modified"]


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("seed", range(3))
def test_a_refused_seal_is_left_out_once_more(words: str, seed: int) -> None:
    chance = random.Random(seed)
    words = chance.choice([words, words.lower(), f"Error: {words}", f"{words} (request 17)"])
    error = classify(Endpoint("http://h"), 400, {},
                     json.dumps({"error": {"message": words}}).encode())
    assert isinstance(error, Unsupported) and error.feature == "signature", f"seed {seed}"
    request = Request("m", conversation("first", EXTRAS["anthropic"]))
    smaller = without(request, error.feature)
    assert (SEAL in repr(request) and SEAL not in repr(smaller)
            and "signed reasoning" in left_out_notice(request, "signature"))
    assert without(smaller, error.feature) is smaller, "only once"


# ---- what a dialect lacks

DIALECTS = sorted({host.dialect for host in hosts()})


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_declares_what_it_lacks(name: str) -> None:
    made = load_dialect(name)
    assert "lacks" in vars(made), f"{name}: say in the class what it has no parameter for"
    assert lacks_of(name) <= set(FIELDS)


def test_a_dialect_of_another_package_may_say_nothing() -> None:
    from core.providers import dialect
    dialect("test-silent")(lambda endpoint: load_dialect("demo")(endpoint))
    assert lacks_of("test-silent") == frozenset()


REPLY = stream_answer(server_events(
    [{"choices": [{"index": 0, "delta": {"content": "Hi."}, "finish_reason": "stop"}]}], end="\n"))


def test_what_a_model_has_no_parameter_for_is_reported_once() -> None:
    async def use(url: str) -> list[Any]:
        entries = {"away": {"base_url": "http://127.0.0.1:1/v1"}, "here": {"base_url": f"{url}/v1"}}
        providers = Providers(Settings({}, providers=entries))
        request = Request("m", (Message("user", (Text("hi"),)),),
                          options=Options(num_ctx=4096, seed=1))
        targets = [Target("away", "m"), Target("here", "m")]
        try:
            chain = Chain(targets, providers, RetryConfig(1, 0.0, 0.0))
            return [item async for item in respond_with_fallbacks(chain, request)]
        finally:
            await providers.close()
    with FakeServer(REPLY) as server:
        items = asyncio.run(use(server.url))
        assert (server.requests[-1].json["seed"] == 1
                and "num_ctx" not in json.dumps(server.requests[-1].json))
    assert [item.text for item in items if isinstance(item, TextDelta)] == ["Hi."]
    assert [item.text for item in items if isinstance(item, Notice) and "num_ctx" in item.text] == [
        f"{name}/m does not support these parameters, so they are left out: num_ctx."
        for name in ("away", "here")]


@pytest.mark.parametrize("denied", DENIABLE)
def test_what_the_user_says_a_model_cannot_do_is_not_asked_of_it(denied: str) -> None:
    """The server lists nothing, so only the configuration is known."""
    picture = Image("image/png", "aGk=", "p.png")
    request = Request("m", (Message("user", (Text("hi"), picture)),), "Be brief.",
                      (ToolSpec("clock", "The time.", {"type": "object"}),),
                      Options(temperature=0.5, think=True))

    async def use(entry: dict[str, Any]) -> list[Any]:
        providers = Providers(Settings({}, providers={"here": entry}))
        try:
            chain = Chain([Target("here", "m")], providers, RetryConfig(1, 0.0, 0.0))
            return [item for _ in range(2)
                    async for item in respond_with_fallbacks(chain, request)]
        finally:
            await providers.close()
    with FakeServer(REPLY) as server:
        plain = {"base_url": f"{server.url}/v1", "quirks": {"think": "effort"}}
        asyncio.run(use(plain))
        whole = server.requests[-1].json
        items = asyncio.run(use({**plain, "models": {"m": {denied: False}}}))
        sent = server.requests[-1].json
    said = [item.text for item in items if isinstance(item, Notice) and "here/m" in item.text]
    assert sent != whole and len(said) == (0 if denied == "vision" else 1), said
    assert {"tools": "tools" not in sent, "vision": "aGk=" not in json.dumps(sent),
            "thinking": "reasoning_effort" not in sent, "temperature": "temperature" not in sent,
            "system": sent["messages"][0]["role"] == "user"}[denied]


def test_json_without_a_schema_is_asked_for_in_words_where_there_is_no_mode() -> None:
    request = Request("claude-haiku-4-5", (Message("user", (Text("hi"),)),), "Be brief.",
                      options=Options(response_format={"type": "json_object"}))
    assert anthropic_body(request, {})["system"] == f"Be brief.\n\n{ANY_JSON}"


# ---- effort

def effort(model: str, think: Any, *, host: str = "groq", tools: bool = False) -> Any:
    row = next(row for row in hosts() if row.name == host)
    request = Request(model, (Message("user", (Text("hi"),)),), options=Options(think=think))
    if tools:
        request = replace(request, tools=(ToolSpec("look", "", {"type": "object"}),))
    return request_body(request,
                        Endpoint("http://h", host=host, quirks=row.quirks)).get("reasoning_effort")


@pytest.mark.parametrize("model, think, sent", [
    ("openai/gpt-oss-20b", False, "low"), ("openai/gpt-oss-120b", "off", "low"),
    ("qwen/qwen3.6-27b", False, "none"),
    ("openai/gpt-oss-120b", "high", "high"), ("openai/gpt-oss-120b", None, None)])
def test_a_model_that_always_thinks_is_asked_for_the_lowest_effort(model: str, think: Any,
                                                                   sent: str | None) -> None:
    assert effort(model, think) == sent


@pytest.mark.parametrize("model, think, tools, sent", [
    ("gpt-6-luna", None, True, "none"), ("gpt-6-luna", None, False, None),
    ("gpt-6.1-terra", "high", True, "high"),
    ("gpt-4.1", None, True, None), ("gpt-5.1", None, True, None)])
def test_newer_models_call_tools_without_thinking_in_the_chat_dialect(model: str, think: Any,
                                                                      tools: bool,
                                                                      sent: str | None) -> None:
    assert effort(model, think, host="openai", tools=tools) == sent


def test_a_part_of_nothing_but_a_seal_goes_and_other_parts_stay() -> None:
    sealed = {"anthropic": {"signature": "x"}}
    picture = Image("image/png", "AAAA", "a.png")
    given = Message("assistant", (
        Thinking("", sealed), Thinking("hm", sealed), Text("", sealed), Text("a", sealed),
        Text(""), picture, ToolCall("1", "look", {}, None, sealed)), "anthropic/m")
    kept = without_sealed(Request("m", (given,))).messages[0].parts
    assert kept == (Thinking("hm"), Text("a"), Text(""), picture, ToolCall("1", "look", {}))
