"""Every fault, in every phase of an answer, in every dialect: the answer is complete in the end, to
the character, and no tool runs twice.

In process, against real sockets (tests/faulty_proxy.py). The first response is faulty, the
following ones are correct.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from core.chat.joining import joined
from core.chat.turn import run_chat_turn
from core.config import Settings
from core.errors import ChatError, ProviderError
from core.events import (Event, MessageAdded, ModelChanged, Resuming, Retrying, TextDelta,
                         ToolFinished, ToolRequested, Waiting)
from core.messages import Message, ToolCall, ToolResult, user_message
from core.model_manager import Providers, Target
from core.providers.from_settings import retry_config_of
from core.models.fallback import Chain, respond_with_fallbacks
from core.providers import Options, Request, ToolSpec
from tests.fake_server import Answer, Cut, FakeServer, Pause, Received, Reset, Step, json_answer
from tests.faulty_proxy import (ARGUMENTS, BREAKS, DIALECTS, IDLE, NO_ANSWERS, ODDITIES, TEXT, TOOL,
                                broken_answer, content_type,
                                has_result, no_answer, odd_answer, refused, said_already,
                                whole_answer, wire)
from tests.virtual_time import SkippingLoop, run_skipping

SETTINGS = {"retry_initial_delay": 0.01, "retry_max_delay": 0.02, "connect_timeout": 60.0,
            "idle_timeout": IDLE}
LOOK = ToolSpec(TOOL, "looks", {"type": "object", "properties": {"where": {"type": "string"}}})
SEED = int(os.environ.get("STREAM_CHAT_TEST_SEED", "") or random.randrange(1 << 32))
Faulty = Callable[[Received, int], Answer | None]


@dataclass(slots=True)
class Outcome:
    """The outcome of a turn."""

    events: list[Event] = field(default_factory=list)
    error: ChatError | None = None
    ran: list[ToolCall] = field(default_factory=list)
    loop_errors: list[Any] = field(default_factory=list)
    asked: int = 0
    spare_asked: int = 0

    @property
    def messages(self) -> tuple[Message, ...]:
        return joined([event.message for event in self.events if isinstance(event, MessageAdded)])

    @property
    def shown(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, TextDelta))

    def count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.events)


class Model:
    """A server that sends TEXT in a dialect, or the faulty response that `faulty` returns for
    request number n (from 1).
    """

    def __init__(self, dialect: str, faulty: Faulty, *, call: bool = False) -> None:
        self.dialect, self.faulty, self.call, self.chats = dialect, faulty, call, 0

    def __call__(self, request: Received) -> Answer:
        if request.method == "GET":
            return json_answer({"models": []})      # what is loaded is asked during a silence
        self.chats += 1
        return self.faulty(request, self.chats) or self.sound(request)

    def sound(self, request: Received) -> Answer:
        if has_result(request):
            return whole_answer(self.dialect, wire(self.dialect, "seen."))
        return whole_answer(self.dialect,
                            wire(self.dialect, TEXT[said_already(request):], call=self.call))


async def turn(dialect: str, url: str, spare_url: str, outcome: Outcome, *, tools: bool,
               settings: dict[str, Any],
               alone: bool = False) -> None:
    given = Settings({**SETTINGS, **settings}, providers={
        dialect: {"base_url": url}, "spare": {"base_url": spare_url, "dialect": "openai"}})
    providers = Providers(given)
    targets = [Target(dialect, "m"), *([] if alone else [Target("spare", "m")])]
    chain = Chain(targets, providers, retry_config_of(given))
    asyncio.get_running_loop().set_exception_handler(lambda loop,
                                                     context: outcome.loop_errors.append(context))

    async def run_tool(call: ToolCall) -> ToolFinished:
        outcome.ran.append(call)
        return ToolFinished(ToolResult(call.id, call.name, "RESULT"), 0.0)
    request = Request("m", (user_message("Go."),), tools=(LOOK,) if tools else (),
                      options=Options(max_tokens=9_999))
    try:
        async with asyncio.timeout(3_000), aclosing(run_chat_turn(
                partial(respond_with_fallbacks, chain), request, run_tool, model=str(targets[0]),
                resumes=3 if given.resume else 0)) as events:
            async for event in events:
                outcome.events.append(event)
    except ChatError as error:
        outcome.error = error
    finally:
        await providers.close()
    assert len(asyncio.all_tasks()) == 1, "a task is left over"


def outcome_of(dialect: str, faulty: Faulty, *, call: bool = False, alone: bool = False,
               **settings: Any) -> Outcome:
    outcome = Outcome()
    model, spare = (Model(dialect, faulty, call=call),
                    Model("openai", lambda request, number: None, call=call))
    loop = SkippingLoop()
    with FakeServer(model, skip=loop.skip) as server, FakeServer(spare, skip=loop.skip) as other:
        run_skipping(turn(dialect, server.url, other.url, outcome, tools=call, settings=settings,
                          alone=alone), loop)
    outcome.asked, outcome.spare_asked = model.chats, spare.chats
    assert not outcome.loop_errors
    return outcome


def check_whole(outcome: Outcome) -> None:
    """The text is shown and stored once and completely."""
    assert outcome.error is None, outcome.error
    assert outcome.shown == TEXT
    assert ([message.text for message in outcome.messages] == [TEXT]
            and outcome.messages[0].finish == "stop")


def once(answer: Callable[[Received], Answer]) -> Faulty:
    return lambda request, number: answer(request) if number == 1 else None


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("phase", ["before", "middle", "end"])
@pytest.mark.parametrize("fault", BREAKS)
def test_a_break_is_mended(dialect: str, phase: str, fault: str) -> None:
    outcome = outcome_of(dialect,
                         once(lambda request: broken_answer(dialect, wire(dialect, TEXT), phase,
                                                            fault)))
    check_whole(outcome)
    assert outcome.asked == 2 and outcome.spare_asked == 0
    assert (outcome.count(Resuming) == (0 if phase == "before" else 1)
            and outcome.count(Retrying) == (phase == "before"))


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("fault", ["fin", "rst", "no-marker", "silence", "error"])
@pytest.mark.parametrize("phase", ["call", "end"])
def test_a_tool_of_a_cut_message_does_not_run(dialect: str, phase: str, fault: str) -> None:
    """All arguments may have arrived; it runs once, from the complete message."""
    cut = broken_answer(dialect, wire(dialect, TEXT, call=True), phase, fault)
    outcome = outcome_of(dialect, once(lambda request: cut), call=True)
    assert outcome.error is None and outcome.shown == TEXT + "seen."
    assert [dict(call.arguments) for call in outcome.ran] == [ARGUMENTS]
    assert outcome.count(ToolRequested) == 1 and outcome.messages[-1].text == "seen."


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("oddity", ODDITIES)
def test_an_odd_form_does_not_matter(dialect: str, oddity: str) -> None:
    """`rare tokens` and `slow bytes` take longer than the idle timeout in total, which is not
    limited.
    """
    outcome = outcome_of(dialect,
                         once(lambda request: odd_answer(dialect, wire(dialect, TEXT), oddity)))
    check_whole(outcome)
    assert outcome.asked == 1


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("kind", NO_ANSWERS)
def test_no_answer_is_asked_for_again(dialect: str, kind: str) -> None:
    outcome = outcome_of(dialect, once(lambda request: no_answer(kind)))
    check_whole(outcome)
    assert outcome.asked == 2 and outcome.count(Retrying) == 1


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("kind", [*NO_ANSWERS, "refused"])
def test_no_answer_at_all_is_another_model_s_turn(dialect: str, kind: str) -> None:
    if kind == "refused":
        outcome = Outcome()
        with FakeServer(Model("openai", lambda request, number: None)) as other:
            asyncio.run(turn(dialect, "http://127.0.0.1:1", other.url, outcome, tools=False,
                             settings={"retry_max_attempts": 2}))
    else:
        outcome = outcome_of(dialect, lambda request, number: no_answer(kind), retry_max_attempts=2)
    check_whole(outcome)
    assert outcome.count(ModelChanged) == 1 and outcome.messages[0].model == "spare/m"


HEALS = (408, 409, 425, 429, 500, 502, 503, 504, 520, 529)
REFUSED = (400, 401, 402, 403, 404, 405, 406, 410, 411, 413, 414, 415, 418, 422, 426, 428, 431, 451,
           499)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("status", HEALS)
def test_every_status_that_passes_is_asked_again(dialect: str, status: int) -> None:
    outcome = outcome_of(dialect, once(lambda request: refused(status)))
    check_whole(outcome)
    assert (outcome.asked, outcome.spare_asked) == (2, 0)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("status", REFUSED)
def test_every_other_status_is_the_next_model_s_turn(dialect: str, status: int) -> None:
    """Whatever the words, the model is asked once, the fallback answers, and the reason is
    reported.
    """
    outcome = outcome_of(dialect, once(lambda request: refused(status)))
    check_whole(outcome)
    assert (outcome.asked, outcome.spare_asked, outcome.count(ModelChanged)) == (1, 1, 1)
    assert outcome.messages[0].model == "spare/m"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("status", REFUSED)
def test_a_refusal_by_the_only_model_is_reported(dialect: str, status: int) -> None:
    outcome = outcome_of(dialect, lambda request, number: refused(status), alone=True)
    assert outcome.asked == 1 and isinstance(outcome.error, ProviderError)
    assert all(isinstance(event, Waiting)
               for event in outcome.events), "on a slow machine the wait is reported, nothing else"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date", "milliseconds", "body"])
def test_every_form_of_retry_after(dialect: str, status: int, form: str) -> None:
    outcome = outcome_of(dialect, once(lambda request: refused(status, form)),
                         retry_initial_delay=7.0, retry_max_delay=7.0)
    check_whole(outcome)
    delays = [event.delay for event in outcome.events if isinstance(event, Retrying)]
    assert len(delays) == 1 and delays[0] <= 1.1, "the server's own delay counts, not ours"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_cut_at_any_byte(dialect: str) -> None:
    chance = random.Random(f"{SEED}/{dialect}")
    body = b"".join(wire(dialect, TEXT).events)
    ends: list[list[Step]] = [[Cut()], [Pause(0.03), Reset()], []]
    for _ in range(12):
        at, end = chance.randrange(1, len(body)), chance.choice(ends)
        answer = Answer([body[:at], *end], content_type=content_type(dialect))

        def faulty(request: Received, number: int, answer: Answer = answer) -> Answer | None:
            return answer if number == 1 else None
        outcome = outcome_of(dialect, faulty)
        assert (outcome.shown, outcome.error,
                outcome.spare_asked) == (TEXT, None, 0), f"seed {SEED}: cut at {at} by {end}"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_break_after_break(dialect: str) -> None:
    """Three interruptions in different places; after the third, another model continues."""
    chance = random.Random(f"{SEED}/{dialect}/again")

    def faulty(request: Received, number: int) -> Answer:
        made = wire(dialect, TEXT[said_already(request):])
        body = b"".join(made.events)
        return Answer([body[:chance.randrange(len(body) // 4, len(body) // 2)], Cut()],
                      content_type=content_type(dialect))
    outcome = outcome_of(dialect, faulty, retry_max_attempts=2)
    assert (outcome.shown, outcome.error) == (TEXT, None), f"seed {SEED}"
    assert outcome.messages[0].model == "spare/m" and outcome.count(ModelChanged) == 1


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("fault", BREAKS)
def test_without_resuming_the_part_is_kept(dialect: str, fault: str) -> None:
    outcome = outcome_of(dialect,
                         once(lambda request: broken_answer(dialect, wire(dialect, TEXT), "middle",
                                                            fault)), resume=False)
    assert (isinstance(outcome.error, ProviderError) and outcome.error.exit_code == 3
            and outcome.asked == 1)
    assert outcome.shown == outcome.messages[0].text != "" and TEXT.startswith(outcome.shown)
    assert outcome.messages[0].finish in ("truncated", "error")
