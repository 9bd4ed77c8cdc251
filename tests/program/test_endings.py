"""Unknown finish reasons in every dialect: the reply is never taken for complete, and never dropped
silently.
"""

from __future__ import annotations

import os
import random
import string
import subprocess

import pytest

from core.events import MessageAdded, Notice, ToolRequested
from core.providers.finish import finish_of
from tests.fake_server import Answer, FakeServer, Received, chat_line, lines_answer
from tests.faulty_proxy import DIALECTS, TEXT, content_type, said_already, wire
from tests.program.test_faults import Outcome, outcome_of

SEED = int(os.environ.get("STREAM_CHAT_TEST_SEED", "") or random.randrange(1 << 32))
# What says in each dialect that a reply of text is complete.
ENDS = {"ollama": b'"stop"', "openai": b'"stop"', "mistral": b'"stop"', "anthropic": b'"end_turn"',
        "gemini": b'"STOP"',
        "cohere": b'"COMPLETE"'}
CALLS = {"ollama": b'"stop"', "openai": b'"tool_calls"}', "mistral": b'"tool_calls"}',
         "anthropic": b'"tool_use"}',
         "gemini": b'"STOP"', "cohere": b'"TOOL_CALL"'}
WORDS = ["network_error", "abort", "timeout", "cancelled", "compaction", "OTHER", "USER_CANCEL",
         "LANGUAGE"]


def ending(dialect: str, word: str, *, call: bool = False) -> Outcome:
    """The outcome of a reply that ends with this word."""
    body = b"".join(wire(dialect, TEXT, call=call).events)
    old = (CALLS if call else ENDS)[dialect]
    new = b'"' + word.encode() + (b'"}' if old.endswith(b"}") else b'"')
    head, _, tail = body.rpartition(old)
    return outcome_of(dialect, lambda request,
                      number: Answer([head + new + tail], content_type=content_type(dialect)),
                      call=call,
                      alone=True)


def last(outcome: Outcome) -> str | None:
    return [event.message.finish for event in outcome.events if isinstance(event, MessageAdded)][-1]


@pytest.mark.parametrize("dialect", ENDS)
def test_an_unknown_end_is_incomplete_and_said(dialect: str) -> None:
    print("seed", SEED)
    chance = random.Random(f"{SEED}/{dialect}")
    made = ["".join(chance.choices(string.ascii_lowercase, k=chance.randrange(3, 12))) + "_qx"
            for _ in range(3)]
    made += [chance.choice(("終了", "ошибка", "خطأ", "???", "___", str(chance.randrange(1, 600))))]
    for word in [*WORDS, *made]:
        outcome = ending(dialect, word)
        assert outcome.error is None and outcome.shown == TEXT and outcome.asked == 1
        assert last(outcome) == "incomplete", word
        assert any(isinstance(event, Notice) and repr(word) in event.text
                   for event in outcome.events)


@pytest.mark.parametrize("dialect", CALLS)
def test_a_call_before_an_unknown_end_is_not_run_and_that_is_said(dialect: str) -> None:
    outcome = ending(dialect, "OTHER", call=True)
    assert outcome.ran == [] and outcome.count(ToolRequested) == 0 and last(outcome) == "incomplete"
    assert any(isinstance(event, Notice) and "not run" in event.text for event in outcome.events)


@pytest.mark.parametrize(("word", "finish"), [
    ("LENGTH", "length"), ("MAX_TOKENS", "length"), ("max_output_tokens", "length"),
    ("model_context_window_exceeded", "length"),
    ("token limit reached", "length"), ("model_length", "length"), ("ERROR_LIMIT", "length"),
    ("SAFETY", "content_filter"), ("sensitive", "content_filter"),
    ("content_filter: SAFETY", "content_filter"),
    ("IMAGE_PROHIBITED_CONTENT", "content_filter"), ("ERROR_TOXIC", "content_filter"),
    ("SPII", "content_filter"),
    ("refusal", "refusal"), ("tool_calls", "tool_calls"), ("TOOL_CALL", "tool_calls"),
    ("function_call", "tool_calls"),
    ("UNEXPECTED_TOOL_CALL", "tool_calls"), ("tool_server_crashed", "incomplete"),
    ("stop", "stop"), ("STOP", "stop"), ("eos", "stop"), ("<|end_of_text|>", "stop"),
    ("COMPLETE", "stop"), ("", "stop")])
def test_words(word: str, finish: str) -> None:
    assert finish_of(word).reason == finish and finish_of(word).detail == word


def test_a_pause_continues_by_itself() -> None:
    """Anthropic's pause_turn: what has arrived is sent back, and the model continues."""
    seen: list[Received] = []

    def paused(request: Received, number: int) -> Answer | None:
        seen.append(request)
        if number > 1:
            return None
        body = b"".join(wire("anthropic", TEXT[:200]).events).replace(b'"end_turn"',
                                                                      b'"pause_turn"')
        return Answer([body], content_type=content_type("anthropic"))
    outcome = outcome_of("anthropic", paused, alone=True, resume=False)
    assert outcome.error is None and outcome.shown == TEXT and outcome.asked == 2
    assert [message.text for message in outcome.messages] == [TEXT] and last(outcome) == "stop"
    assert seen[1].json["messages"][-1]["role"] == "assistant" and said_already(seen[1]) == 200


def test_every_dialect_is_here() -> None:
    assert set(ENDS) == set(DIALECTS) - {"openai-responses"}, "which has a status instead"


def test_a_model_that_repeats_itself_without_end(program: list[str],
                                                 environment: dict[str, str]) -> None:
    """The text is kept, and the exit code says that the answer is incomplete."""
    line = chat_line("m", "I am sorry. " * 10)
    with FakeServer(lines_answer([line] * 2_000)) as server:
        environment["OLLAMA_HOST"] = server.url
        done = subprocess.run([*program, "-m", "m", "q"], env=environment, capture_output=True,
                              timeout=60,
                              stdin=subprocess.DEVNULL)
        assert done.returncode == 3 and done.stdout.startswith(b"I am sorry. I am sorry. ")
        assert done.stderr.count(b'Stopped: ollama/m repeats "I am sorry.') == 1
    assert len(server.chats) == 1 and len(done.stdout) < 100_000
