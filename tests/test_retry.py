"""Retries: only before the first content, the provider's own delay first, every wait announced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from core.errors import (AuthFailed, BadResponse, ConnectFailed, ModelNotFound, Overloaded, ProviderError, QuotaExhausted,
                         RateLimited, StreamBroken)
from core.events import Delta, Finished, Retrying, TextDelta
from core.messages import user_message
from core.providers import Request
from core.retry_handler import RetryConfig, Stream, backoff_delay, next_delay, retry_call, stream_chat_with_retry

EXACT = RetryConfig(max_attempts=4, initial_delay=1.0, max_delay=3.0, multiplier=2.0, jitter=0.0)
ANSWER = [TextDelta("yes"), Finished("stop")]


def scripted(*replies: Sequence[Delta | Exception]) -> Stream:
    left = iter(replies)

    async def stream(request: Request) -> AsyncGenerator[Delta, None]:
        for item in next(left):
            if isinstance(item, Exception):
                raise item
            yield item
    return stream


def run(stream: Stream, config: RetryConfig = EXACT) -> tuple[list[Delta | Retrying], list[float], ProviderError | None]:
    """What came, how long was waited, and the error in the end."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def collect() -> tuple[list[Delta | Retrying], list[float], ProviderError | None]:
        came: list[Delta | Retrying] = []
        try:
            async for item in stream_chat_with_retry(stream, Request("m", (user_message("q"),)), config, sleep):
                came.append(item)
        except ProviderError as error:
            return came, waits, error
        return came, waits, None
    return asyncio.run(collect())


def test_it_asks_again_and_announces_each_wait_before_it() -> None:
    came, waits, error = run(scripted([ConnectFailed("no")], [Overloaded("busy")], ANSWER))
    assert error is None
    assert came == [Retrying(2, 1.0, "no"), Retrying(3, 2.0, "busy"), *ANSWER]
    assert waits == [1.0, 2.0]


def test_the_last_attempt_s_error_is_the_answer() -> None:
    came, waits, error = run(scripted(*[[ConnectFailed(f"no {number}")] for number in range(9)]))
    assert error is not None and error.message == "no 3"
    assert waits == [1.0, 2.0, 3.0] and len(came) == 3


def test_the_provider_s_own_delay_wins() -> None:
    came, waits, error = run(scripted([RateLimited("slow down", retry_after=7.5)], ANSWER))
    assert error is None and waits == [7.5] and came[0] == Retrying(2, 7.5, "slow down")


def test_a_wait_of_hours_is_left_to_the_person() -> None:
    _, waits, error = run(scripted([RateLimited("tomorrow", retry_after=7200)], ANSWER))
    assert isinstance(error, RateLimited) and waits == []


def test_what_has_begun_is_never_asked_again() -> None:
    came, waits, error = run(scripted([TextDelta("half"), StreamBroken("cut")], ANSWER))
    assert isinstance(error, StreamBroken) and waits == [] and came == [TextDelta("half")]


def test_a_stream_that_broke_before_its_first_word_is_asked_again() -> None:
    came, _, error = run(scripted([StreamBroken("cut")], ANSWER))
    assert error is None and came[1:] == ANSWER


@pytest.mark.parametrize("error", [AuthFailed("key"), ModelNotFound("model"), QuotaExhausted("money")])
def test_what_waiting_does_not_heal_is_told_at_once(error: ProviderError) -> None:
    came, waits, raised = run(scripted([error], ANSWER))
    assert raised is error and waits == [] and came == []


@pytest.mark.parametrize("error", [ConnectFailed("x"), RateLimited("x"), Overloaded("x"), BadResponse("x")])
def test_what_waiting_may_heal_is_tried(error: ProviderError) -> None:
    assert next_delay(EXACT, 1, error) == 1.0
    assert next_delay(EXACT, 4, error) is None


def test_one_attempt_is_one_attempt() -> None:
    came, waits, error = run(scripted([ConnectFailed("no")], ANSWER), RetryConfig(max_attempts=1))
    assert isinstance(error, ConnectFailed) and came == [] and waits == []


def test_delays_grow_up_to_their_limit_and_jitter_only_shortens() -> None:
    config = RetryConfig(initial_delay=0.5, max_delay=8, multiplier=2, jitter=0.5)
    assert [backoff_delay(config, attempt, lambda: 0.0) for attempt in range(1, 7)] == [0.5, 1, 2, 4, 8, 8]
    assert backoff_delay(config, 3, lambda: 1.0) == 1.0
    assert backoff_delay(RetryConfig(multiplier=1e300), 100, lambda: 0.0) == 30.0


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
    assert waits == [1.0, 0.25]


def test_a_call_gives_up() -> None:
    async def call() -> None:
        raise AuthFailed("key")
    with pytest.raises(AuthFailed):
        asyncio.run(retry_call(call, EXACT))
