"""Prompt caching: each request begins with the same bytes as the one before, and the provider is
asked to cache them.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.messages import Message, Text, ToolCall, tool_message, user_message
from core.messages import ToolResult
from core.providers import Endpoint, Options, Request
from core.providers.anthropic_request import request_body
from core.providers.hosts import find_host
from core.providers.openai_request import request_body as openai_body
from tests.dialects import server_events, stream_answer
from tests.fake_server import Answer, FakeServer, Received, json_answer

Environment = dict[str, str]
MARK = {"type": "ephemeral"}


def reply(cached: int = 0) -> Answer:
    usage = {"input_tokens": 40, "output_tokens": 2, "cache_read_input_tokens": cached}
    return stream_answer(server_events([
        {"type": "message_start", "message": {"model": "claude-haiku-4-5", "usage": usage}},
        {"type": "content_block_start", "index": 0,
         "content_block": {"type": "text", "text": "Yes."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"}]))


@pytest.fixture
def claude(environment: Environment, tmp_path: Path) -> Iterator[FakeServer]:
    with FakeServer(reply(60)) as server:
        config = tmp_path / "config.yaml"
        config.write_text("provider: anthropic\nmodel: claude-haiku-4-5\nproviders:\n  "
                          f"anthropic:\n    base_url: {server.url}\n    api_key: test-key\n")
        environment["STREAM_CHAT_CONFIG"] = str(config)
        yield server


def unmarked(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: unmarked(inner) for name, inner in value.items() if name != "cache_control"}
    return [unmarked(inner) for inner in value] if isinstance(value, list) else value


def marks(value: Any) -> int:
    if isinstance(value, dict):
        return ("cache_control" in value) + sum(map(marks, value.values()))
    return sum(map(marks, value)) if isinstance(value, list) else 0


def test_every_turn_begins_with_the_bytes_of_the_one_before(
        claude: FakeServer, program: list[str], environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("The code is 42.\n" * 20)
    config = ["--config", environment.pop("STREAM_CHAT_CONFIG")]
    for turn, words in enumerate((["--system", "Be brief.", "one"], ["-c", "two"], ["-c", "three"],
                                  ["-c", "--usage", "four"])):
        done = subprocess.run([*program, *config, *words], env=environment,
                              stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert marks(claude.requests[turn].json) == (0 if turn == 0 else 2)
        assert turn < 3 or "60 from the cache" in done.stderr
    bodies = [unmarked(request.json) for request in claude.requests]
    for before, after in zip(bodies, bodies[1:], strict=False):
        size = len(before["messages"])
        assert json.dumps(after["messages"][:size]) == json.dumps(before["messages"])
        assert {**after, "messages": ()} == {**before, "messages": ()}
    stats = subprocess.run([*program, *config, "--stats"], env=environment, capture_output=True,
                           text=True, timeout=120)
    assert "% cached" in stats.stdout


def conversation(rounds: int) -> tuple[Message, ...]:
    messages: list[Message] = [user_message("look")]
    for number in range(rounds):
        messages += [Message("assistant", (ToolCall(f"c{number}", "look", {}),), "anthropic/m",
                             None, "tool_calls"),
                     tool_message((ToolResult(f"c{number}", "look", "seen"),))]
    return tuple(messages)


@pytest.mark.parametrize("rounds", [0, 1, 2, 30])
def test_the_last_two_of_the_users_messages_are_marked(rounds: int) -> None:
    body = request_body(Request("claude-haiku-4-5", conversation(rounds), "system"), {})
    marked = [place for place, message in enumerate(body["messages"]) if marks(message)]
    users = [place for place, message in enumerate(body["messages"]) if message["role"] == "user"]
    assert marked == (users[-2:] if rounds else [])
    assert all(body["messages"][place]["content"][-1]["cache_control"] == MARK for place in marked)


def test_a_server_that_refuses_the_marks_is_asked_without_them(
        environment: Environment, program: list[str]) -> None:
    def script(request: Received) -> Answer:
        if marks(request.json):
            words = "messages.2.content.0.text.cache_control: Extra inputs are not permitted"
            return json_answer({"type": "error",
                                "error": {"type": "invalid_request_error", "message": words}}, 400)
        return reply()
    environment["ANTHROPIC_API_KEY"] = "test-key"
    with FakeServer(script) as server:
        for words in (["one"], ["-c", "two"]):
            done = subprocess.run([*program, "-p", "anthropic", "--base-url", server.url, "-m",
                                   "claude-haiku-4-5", *words],
                                  env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, timeout=120)
            assert done.returncode == 0 and done.stdout == "Yes.\n", done.stderr
        assert len(server.requests) == 3 and "does not support cache_control" in done.stderr


def openrouter(model: str, *messages: Message) -> dict[str, Any]:
    row = find_host("openrouter")
    assert row is not None
    return openai_body(Request(model, messages, options=Options()),
                       Endpoint(row.base_url, "k", row.name, quirks=row.quirks))


@pytest.mark.parametrize("ask", [openrouter])
def test_a_router_is_asked_to_keep_the_conversation_of_models_that_want_it(
        ask: Callable[..., dict[str, Any]]) -> None:
    talk = (user_message("one"),
            Message("assistant", (Text("Yes."),), "openrouter/m", None, "stop"),
            user_message("two"))
    assert ask("anthropic/claude-haiku-4-5", *talk)["cache_control"] == MARK
    assert "cache_control" not in ask("anthropic/claude-haiku-4-5", talk[0])
    assert "cache_control" not in ask("openai/gpt-5", *talk)
