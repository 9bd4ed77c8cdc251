"""A server may answer with another model than requested: its name is recorded, and reported once.
"""

from __future__ import annotations

import asyncio
import json
import random
import string
from typing import Any

import pytest

from core.chat.turn import run_chat_turn
from core.config import Settings
from core.errors import RateLimited
from core.events import Answering, Event, MessageAdded, Notice
from core.messages import Message, Text, user_message
from core.model_manager import Providers, Target
from core.models.fallback import Chain, respond_with_fallbacks
from core.providers import Adapts, Endpoint, Options, Request, load_dialect
from core.providers.answering import is_another
from core.providers.errors_http import classify
from core.retry_handler import RetryConfig
from tests.dialects import exchange, reply_of, server_events, stream_answer
from tests.fake_server import Answer, FakeServer, lines_answer

ASKED = Request("asked-model", (Message("user", (Text("hi"),)),))


def answers(name: str) -> dict[str, Answer]:
    """The same short reply in every dialect, from a model of this name."""
    usage = {"input_tokens": 1, "output_tokens": 1}
    end = {"type": "response.completed",
           "response": {"model": name, "status": "completed", "output": [], "usage": usage}}
    return {
        "openai": stream_answer(server_events(
            [{"model": name,
              "choices": [{"index": 0, "delta": {"content": "Hi."}, "finish_reason": "stop"}]}])),
        "openai-responses": stream_answer(server_events([
            {"type": "response.created", "response": {"model": name}},
            {"type": "response.output_text.delta", "output_index": 0, "delta": "Hi."}, end])),
        "anthropic": stream_answer(server_events([
            {"type": "message_start", "message": {"model": name, "usage": usage}},
            {"type": "content_block_start", "index": 0,
             "content_block": {"type": "text", "text": "Hi."}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
            {"type": "message_stop"}])),
        "gemini": stream_answer(server_events(
            [{"modelVersion": name,
              "candidates": [{"content": {"parts": [{"text": "Hi."}]}, "finishReason": "STOP"}]}])),
        "mistral": stream_answer(server_events(
            [{"model": name,
              "choices": [{"index": 0, "delta": {"content": "Hi."}, "finish_reason": "stop"}]}])),
        "ollama":
        lines_answer(
            [{"model": name, "message": {"role": "assistant", "content": "Hi."}, "done": True,
              "done_reason": "stop"}]),
    }


@pytest.mark.parametrize("dialect", sorted(answers("")))
def test_every_dialect_says_who_answers(dialect: str) -> None:
    seed = random.randrange(1 << 30)
    other = "".join(random.Random(seed).choices(string.ascii_lowercase, k=12))
    deltas, _ = exchange(dialect, answers(other)[dialect], ASKED)
    assert deltas[0] == Answering(other) and reply_of(deltas).text == "Hi.", f"seed {seed}"
    for same in ("asked-model", "asked-model-2026-01-31", "models/asked-model",
                 "/path/asked-model.gguf", "", " "):
        deltas, _ = exchange(dialect, answers(same)[dialect], ASKED)
        assert not any(isinstance(delta, Answering) for delta in deltas), same


@pytest.mark.parametrize(("asked", "answered", "another"), [
    ("gpt-4o", "gpt-4o-2024-08-06", False),
    ("claude-3-5-haiku-latest", "claude-3-5-haiku-20241022", False),
    ("mistral-small-latest", "mistral-small-2506", False), ("llama3.2", "llama3.2:latest", False),
    ("openai/gpt-oss-20b:groq", "openai/gpt-oss-20b", False), ("m", "/models/M.gguf", False),
    ("qwen3:14b", "qwen3:4b", True), ("claude-sonnet-4", "claude-sonnet-4-5", True),
    ("openrouter/auto", "z-ai/glm-5", True),
    ("m", "gpt-3.5-turbo", True), ("m", "", False)])
def test_a_snapshot_is_the_same_model(asked: str, answered: str, another: bool) -> None:
    assert is_another(asked, answered) is another


def turns(url: str, count: int, **options: Any) -> list[Event]:
    async def run() -> list[Event]:
        providers = Providers(Settings({}, providers={"here": {"base_url": f"{url}/v1"}}))
        chain = Chain([Target("here", "asked-model")], providers, RetryConfig(1, 0.0, 0.0))
        request = Request("asked-model", (user_message("hi"),), options=Options(**options))
        try:
            return [event for _ in range(count) async for event in run_chat_turn(
                lambda asked, pieces: respond_with_fallbacks(chain, asked, pieces), request,
                model="here/asked-model")]
        finally:
            await providers.close()
    return asyncio.run(run())


def test_the_name_is_recorded_each_time_and_reported_once() -> None:
    with FakeServer(answers("other")["openai"]) as server:
        events = turns(server.url, 2)
    assert ([event.message.model for event in events if isinstance(event, MessageAdded)]
            == ["here/other"] * 2)
    assert [event.text for event in events if isinstance(event, Notice)] == [
        "here/asked-model was requested, but the server responds with other."]


# ---- options that are sent in another way

@pytest.mark.parametrize(("host", "model", "options", "word"), [
    ("groq", "openai/gpt-oss-120b", Options(think=False), "lowest effort (low)"),
    ("groq", "openai/gpt-oss-120b", Options(think="max"), "high"),
    ("openai-responses", "gpt-6", Options(think="max"), "high"),
    ("mistral", "magistral", Options(think="low"), "high, which stands for low"),
    ("gemini", "gemini-3-pro", Options(think=False), "cannot be turned off"),
    ("gemini", "gemini-2.0-flash", Options(think=True), "does not think"),
    ("anthropic", "claude-sonnet-4-5", Options(think=True, temperature=0.5, top_p=0.9),
     "no temperature and no top_p"),
    ("anthropic", "claude-sonnet-4-5", Options(think=True, max_tokens=100), "1025 tokens")])
def test_what_is_asked_for_instead_is_said(host: str, model: str, options: Options,
                                           word: str) -> None:
    from core.providers.hosts import find_host
    row = find_host(host)
    assert row is not None
    provider = load_dialect(row.dialect)(
        Endpoint("http://127.0.0.1:9", "key", host, quirks=row.quirks))
    assert isinstance(provider, Adapts)
    said = provider.adapted(Request(model, ASKED.messages, options=options))
    assert len(said) == 1 and word in said[0]
    assert provider.adapted(Request(model, ASKED.messages)) == []


def test_it_is_a_notice_of_the_first_turn() -> None:
    with FakeServer(answers("asked-model")["openai"]) as server:
        events = turns(server.url, 2, think="max")
        assert server.requests[0].json["reasoning_effort"] == "high"
    assert ([event.text for event in events if isinstance(event, Notice)]
            == ["here/asked-model: the highest effort here is high."])


# ---- how a refusal reads

ENDPOINT = Endpoint("https://api.example.org/v1", "secret-key-123", "openai")


@pytest.mark.parametrize("words", [
    "Your key is not authorized to use model x", "This team can only access models=[a]",
    "You have no permission for the model x",
    "The model x is not enabled for your project"])
def test_a_key_that_may_not_use_the_model_is_not_called_wrong(words: str) -> None:
    error = classify(ENDPOINT, 401, {}, json.dumps({"error": {"message": words}}).encode())
    assert ("accept the key" not in error.message and "--list-models" in error.hint
            and "OPENAI_API_KEY" not in error.hint)


@pytest.mark.parametrize(("seconds", "words"),
                         [(3600, "1 h"), (5400, "1 h 30 min"), (90, "2 min"), (86400, "24 h")])
def test_a_long_wait_is_said(seconds: int, words: str) -> None:
    error = classify(ENDPOINT, 429, {"retry-after": str(seconds)}, b"slow down")
    assert isinstance(error, RateLimited) and f"for {words};" in error.hint


@pytest.mark.parametrize(("body", "shown"), [
    ("\ufeff<html><body><center><h1>502 Bad Gateway</h1></center><hr>nginx</body></html>",
     "502 Bad Gateway nginx"),
    ("<!DOCTYPE html>\n<html><head><title>\n a &amp; b </title></head><style>x{}</style></html>",
     "a & b"),
    ('\ufeff{"error": null, "message": "all is busy"}', "all is busy"),
    ("plain words", "plain words"),
    ("<h1>Bad</h1> gateway", "Bad gateway")])
def test_a_page_is_quoted_by_its_words(body: str, shown: str) -> None:
    assert classify(ENDPOINT, 502, {}, body.encode()).message.endswith(f": {shown}")
