"""Asks again when a provider fails before it has said anything. It never repeats what has begun to arrive."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from core.errors import ProviderError
from core.events import Delta, Notice, Retrying, is_content
from core.providers import Request

Stream = Callable[[Request], AsyncGenerator[Delta | Notice, None]]
Sleep = Callable[[float], Awaitable[None]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """Delays are seconds. `jitter` is the part of a delay that is random, 0 to 1. `longest_wait` bounds what a
    provider may ask for with Retry-After: beyond it, waiting is left to the person."""

    max_attempts: int = 3
    initial_delay: float = 1.0
    max_delay: float = 30.0
    multiplier: float = 2.0
    jitter: float = 0.5
    longest_wait: float = 120.0


def backoff_delay(config: RetryConfig, attempt: int, chance: Callable[[], float] = random.random) -> float:
    """Seconds to wait after the failed attempt number `attempt` (from 1)."""
    try:
        whole = min(config.max_delay, config.initial_delay * config.multiplier ** (attempt - 1))
    except OverflowError:
        whole = config.max_delay
    return whole * (1 - config.jitter * chance())


def next_delay(config: RetryConfig, attempt: int, error: ProviderError) -> float | None:
    """Seconds until the next attempt, or None when there is to be none. A server's own delay wins over ours."""
    if not error.retryable or attempt >= config.max_attempts:
        return None
    if error.retry_after is None:
        return backoff_delay(config, attempt)
    return error.retry_after if error.retry_after <= config.longest_wait else None


class RetryBudget:
    """Keeps retries from becoming a load of their own: a few are free, then three for every twenty requests.

    Without it, a full outage multiplies the traffic by the number of attempts just when servers can bear it least.
    """

    def __init__(self, reserve: float = 9.0, share: float = 0.15) -> None:
        self._left = self._most = reserve
        self._share = share

    def note_request(self) -> None:
        self._left = min(self._most, self._left + self._share)

    def take(self) -> bool:
        """True when one more retry may be made; it is then spent."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


async def stream_chat_with_retry(stream: Stream, request: Request, config: RetryConfig, sleep: Sleep = asyncio.sleep, *,
                                 budget: RetryBudget | None = None) -> AsyncGenerator[Delta | Notice | Retrying, None]:
    """Yield the deltas of the first attempt that begins to answer; every wait is announced before it starts."""
    attempt = 1
    if budget is not None:
        budget.note_request()
    while True:
        begun = False
        try:
            async with aclosing(stream(request)) as deltas:
                async for delta in deltas:
                    begun = begun or is_content(delta)
                    yield delta
            return
        except ProviderError as error:
            delay = None if begun else next_delay(config, attempt, error)
            if delay is None or budget is not None and not budget.take():
                raise
            attempt += 1
            yield Retrying(attempt, delay, error.message)
            await sleep(delay)


async def retry_call(call: Callable[[], Awaitable[T]], config: RetryConfig, sleep: Sleep = asyncio.sleep) -> T:
    """The same for a call with one answer (a model list, a token count)."""
    attempt = 1
    while True:
        try:
            return await call()
        except ProviderError as error:
            delay = next_delay(config, attempt, error)
            if delay is None:
                raise
            attempt += 1
            await sleep(delay)
