"""The asking loop: each step of the policy is announced and done, and no started reply is requested
twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from core.errors import (AuthFailed, ChatError, ConnectFailed, ModelNotFound, Overloaded,
                         ProviderError,
                         QuotaExhausted, RateLimited, StreamBroken, Unsupported)
from core.events import Delta, Finished, ModelChanged, Notice, Retrying, TextDelta, Usage
from core.messages import user_message
from core.providers import Request
from core.retry.policy import RetryConfig
from core.retry_handler import Item, retry_call, stream_chat_with_retry
from tests.one_model import Answer, Models

EXACT = RetryConfig(max_attempts=4, initial_delay=0.01, max_delay=0.03, multiplier=2.0, jitter=0.0)
ANSWER = [TextDelta("yes"), Finished("stop")]


def scripted(*replies: Sequence[Delta | Exception]) -> Answer:
    left = iter(replies)

    async def stream(request: Request) -> AsyncGenerator[Delta, None]:
        for item in next(left):
            if isinstance(item, Exception):
                raise item
            yield item
    return stream


def run(*answers: Answer,
        config: RetryConfig = EXACT) -> tuple[list[Item], ChatError | None, Models]:
    """The events of asking these models in order, and the final error."""
    models = Models({f"p/{number}": answer for number, answer in enumerate(answers)}, config)

    async def collect() -> tuple[list[Item], ChatError | None, Models]:
        came: list[Item] = []
        try:
            async for item in stream_chat_with_retry(models, Request("m", (user_message("q"),))):
                came.append(item)
        except ChatError as error:
            return came, error, models
        return came, None, models
    return asyncio.run(collect())


def test_it_asks_again_and_announces_each_wait_before_it() -> None:
    came, error, _ = run(scripted([ConnectFailed("no")], [Overloaded("busy")], ANSWER))
    assert error is None
    assert came == [Retrying(2, 0.01, "no"), Retrying(3, 0.02, "busy"), *ANSWER]


def test_the_last_attempt_s_error_is_the_answer() -> None:
    came, error, _ = run(scripted(*[[ConnectFailed(f"no {number}")] for number in range(9)]))
    assert error is not None and error.message == "no 3" and len(came) == 3


def test_the_provider_s_own_delay_wins() -> None:
    came, error, _ = run(scripted([RateLimited("slow down", retry_after=0.075)], ANSWER))
    assert error is None and came[0] == Retrying(2, 0.075, "slow down")


def test_a_wait_of_hours_is_left_to_the_user() -> None:
    came, error, _ = run(scripted([RateLimited("tomorrow", retry_after=7200)], ANSWER))
    assert isinstance(error, RateLimited) and came == []


def test_what_has_begun_is_never_asked_again() -> None:
    came, error, models = run(scripted([TextDelta("half"), StreamBroken("cut")], ANSWER))
    assert (isinstance(error, StreamBroken) and came == [TextDelta("half")]
            and models.asked == ["p/0"])


def test_a_stream_that_broke_before_its_first_word_is_asked_again() -> None:
    came, error, _ = run(scripted([StreamBroken("cut")], ANSWER))
    assert error is None and came[1:] == ANSWER


def at_host(error: ProviderError, host: str, left: int) -> ProviderError:
    error.host, error.hosts_left = host, left
    return error


def test_another_host_is_asked_at_once_and_the_model_has_not_failed() -> None:
    avoided = []

    async def stream(request: Request) -> AsyncGenerator[Delta, None]:
        avoided.append(request.avoid)
        if len(avoided) < 3:
            raise at_host(Overloaded(f"h{len(avoided)} is busy."), f"h{len(avoided)}",
                          3 - len(avoided))
        for delta in ANSWER:
            yield delta
    came, error, models = run(stream)
    assert (error is None and avoided == [frozenset(), {"h1"}, {"h1", "h2"}]
            and models.failures == [])
    assert came == [Notice("h1 is busy. Another host is asked."),
                    Notice("h2 is busy. Another host is asked."), *ANSWER]


def test_a_call_with_one_answer_goes_to_another_host_too() -> None:
    left, slept = iter([at_host(ConnectFailed("h1 is away"), "h1", 1)]), list[float]()

    async def call() -> str:
        for error in left:
            raise error
        return "vectors"

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
    assert (asyncio.run(retry_call(call, RetryConfig(max_attempts=1), sleep)) == "vectors"
            and slept == [0.0])


@pytest.mark.parametrize("error",
                         [AuthFailed("key"), ModelNotFound("model"), QuotaExhausted("money")])
def test_what_does_not_pass_is_reported_at_once(error: ProviderError) -> None:
    came, raised, _ = run(scripted([error], ANSWER))
    assert raised is error and came == []


@pytest.mark.parametrize("problem",
                         [KeyError("choices"), RuntimeError("a fault of ours"), AttributeError("x"),
                          OSError(5, "x")])
def test_a_fault_in_one_dialect_is_the_next_model_s_turn(problem: Exception) -> None:
    came, error, models = run(scripted([problem]), scripted(ANSWER))
    assert (error is None and models.asked == ["p/0", "p/1"] and came[1:] == ANSWER
            and isinstance(came[0], ModelChanged))
    _, error, _ = run(scripted([problem]))
    assert isinstance(error, ProviderError) and type(problem).__name__ in error.message


def test_what_is_refused_is_left_out_and_said() -> None:
    came, error, models = run(scripted([Unsupported("no", feature="seed")],
                                       [Unsupported("no", feature="top_k")], ANSWER))
    assert error is None and came == [Notice("p/0 does not take seed."),
                                      Notice("p/0 does not take top_k."), *ANSWER]
    same = Unsupported("no", feature="seed")
    came, error, models = run(scripted([same], [same]), scripted(ANSWER))
    assert (error is None and models.asked
            == ["p/0", "p/0", "p/1"]), ("it is left out once; then the next model is asked")


@pytest.mark.parametrize("end", [[Finished("stop")], [Usage(3, 0), Finished("stop")],
                                 [Finished("tool_calls")], [TextDelta(""), Finished("stop")]])
def test_an_empty_answer_is_the_next_model_s_turn(end: list[Delta | Exception]) -> None:
    came, error, _ = run(scripted(end), scripted(ANSWER))
    assert error is None and came[-2:] == ANSWER
    (change,) = [item for item in came if isinstance(item, ModelChanged)]
    assert change.reason == "p/0 gave an empty answer."
    came, error, models = run(scripted(end))
    assert error is None and came[-1] == Finished("stop") and models.asked == ["p/0"]


def test_a_call_is_retried_like_a_stream() -> None:
    waits: list[float] = []
    results: list[object] = [ConnectFailed("no"), RateLimited("wait", retry_after=0.25), "models"]

    async def call() -> object:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
    assert asyncio.run(retry_call(call, EXACT, sleep)) == "models"
    assert waits == [0.01, 0.25]


def test_a_call_gives_up() -> None:
    async def call() -> None:
        raise AuthFailed("key")
    with pytest.raises(AuthFailed):
        asyncio.run(retry_call(call, EXACT))
