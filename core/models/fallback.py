"""Who answers when the first model cannot: the next candidate, with a rest for those that failed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from core.config import Settings
from core.errors import (AuthFailed, BadRequest, ChatError, ConnectFailed, ContextTooLong, ModelNotFound, ProviderError,
                         QuotaExhausted, StreamBroken, Unsupported, UsageError)
from core.events import Delta, ModelChanged, Notice, Retrying, Waiting, is_content
from core.model_manager import Providers, Target, resolve_target, retry_config_from_args
from core.providers import Request
from core.retry_handler import RetryBudget, RetryConfig, backoff_delay, stream_chat_with_retry

Item = Delta | Waiting | Retrying | ModelChanged | Notice
# Why a target cannot do what a request needs ("no tools", "its window is too small"), or "".
Unfit = Callable[[Target, Request], Awaitable[str]]
# Why a target may not be asked at all, or "".
Forbidden = Callable[[Target], str]
# A shorter form of what a target refused as too long for it, and what the person should be told of that; None when there is none.
Shorten = Callable[[Target, ContextTooLong], Awaitable[tuple[Request, Sequence[str]] | None]]
# What a server is doing while nothing comes ("loading qwen3:14b (9.3 GB)"), or "".
Describe = Callable[[Target, Request], Awaitable[str]]

SHORTER = 2           # how often a request is made shorter for one target
COOL_DOWN = 60.0      # seconds that a target rests after it failed
QUOTA_REST = 900.0    # the same when its quota is used up
FIRST_WAIT = 1.5      # seconds of silence before the person is told
WAIT_STEP = 1.0       # seconds between two such tellings


@dataclass(slots=True)
class _Record:
    """What this run knows of a target: until when it rests, and how often it broke off in a row."""

    rests_until: float = 0.0
    breaks: int = 0


class Chain:
    """The candidates of a chat in their order. The one that answered stays first until somebody says otherwise."""

    def __init__(self, targets: Sequence[Target], providers: Providers, config: RetryConfig, *, cool_down: float = COOL_DOWN,
                 fallback_on_auth: bool = False, forbidden: Forbidden | None = None, unfit: Unfit | None = None,
                 describe: Describe | None = None, budget: RetryBudget | None = None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._named = tuple(dict.fromkeys(targets))      # what the person asked for: the model, then its fallbacks
        self.targets = self._named        # the same with the one that answered last in front
        self._providers = providers
        self._config = config
        self._cool_down = cool_down
        self._on_auth = fallback_on_auth
        self._forbidden = forbidden
        self._unfit = unfit
        self._describe = describe
        self._clock = clock
        self._records: dict[Target, _Record] = {}
        self._budget = budget or RetryBudget()
        self.failures: list[tuple[Target, ProviderError]] = []    # the last ones, for whoever counts them

    @property
    def first(self) -> Target:
        return self.targets[0]

    def choose(self, target: Target, fallbacks: Sequence[Target] | None = None) -> None:
        """The person wants this one first, before its own fallbacks or those that were named; what is known against it is
        forgotten."""
        self._named = (target, *(self._named[1:] if fallbacks is None else fallbacks))
        self.targets = tuple(dict.fromkeys(self._named))
        self._records.pop(target, None)

    async def respond(self, request: Request, shorten: Shorten | None = None) -> AsyncGenerator[Item, None]:
        """Yield one reply from the first candidate that gives one. Raises the last error when none does.

        Those that may be well again in a moment are asked once more after the others, within the budget of retries."""
        asked, why = self.first, ""
        last_error: ProviderError | None = None
        candidates, config = self._in_order(), self._config
        for walk in range(1, self._config.max_attempts + 1):
            failed: dict[Target, ProviderError] = {}
            for target in candidates:
                unfit = await self._why_not(target, request)
                if unfit:
                    yield Notice(f"{target} is passed over: {unfit}.")
                    why = f"{target} cannot be asked: {unfit}."
                    continue
                if target != asked:
                    yield ModelChanged(str(asked), str(target), why or self._resting(asked))
                    asked = target
                begun = False
                try:
                    async with aclosing(self._ask(target, request, config, shorten)) as stream:
                        async for item in stream:
                            begun = begun or is_content(item)
                            yield item
                    self._answered(target)
                    return
                except ProviderError as error:
                    _suggest(target, error)
                    self._failed(target, error, begun=begun)
                    if begun or not self._may_pass_on(error):
                        raise
                    last_error, why, failed[target] = error, error.message, error
            candidates = self._asked_again(failed) if len(self.targets) > 1 else []
            if not candidates or walk == self._config.max_attempts:
                break
            delay = max(backoff_delay(config, walk), min(failed[target].retry_after or 0 for target in candidates))
            config = replace(config, max_attempts=1)
            yield Retrying(walk + 1, delay, why)
            await asyncio.sleep(delay)
        raise last_error or UsageError(why or "No model can answer this.", "Name one that can with /model or --model-fallbacks.")

    def _asked_again(self, failed: Mapping[Target, ProviderError]) -> list[Target]:
        """Those whose failure may pass soon, as many as there are retries left.

        A server that refuses connections is not waited for while it is the only one; among several that all fail within a
        moment, it may be one that is being started again."""
        return [target for target, error in failed.items() if (error.retryable or isinstance(error, ConnectFailed))
                and (error.retry_after or 0) <= self._config.max_delay and self._budget.take()]

    async def _why_not(self, target: Target, request: Request) -> str:
        """What may not be asked is never asked. What the person chose is asked whatever it lacks; others must be able to do it."""
        no = self._forbidden(target) if self._forbidden else ""
        if no or self._unfit is None or target in (self.first, self._named[0]):
            return no
        return await self._unfit(target, request)

    def _in_order(self) -> list[Target]:
        """Those that may be asked now, in order, and then those that rest: better a tired model than none."""
        return sorted(self.targets, key=lambda target: bool(self._resting(target)))

    def _resting(self, target: Target) -> str:
        record = self._records.get(target)
        left = record.rests_until - self._clock() if record else 0
        return f"{target} failed a moment ago and rests for {left:.0f} s." if left > 0 else ""

    async def _ask(self, target: Target, request: Request, config: RetryConfig,
                   shorten: Shorten | None) -> AsyncGenerator[Item, None]:
        async def what() -> str:
            return await self._describe(target, request) if self._describe else ""
        async with aclosing(announced(self._shortened(target, request, config, shorten), what)) as stream:
            async for item in stream:
                yield item

    async def _shortened(self, target: Target, request: Request, config: RetryConfig,
                         shorten: Shorten | None) -> AsyncGenerator[Delta | Notice | Retrying, None]:
        """Ask again with less when the request is too long for the target, before anybody else is asked."""
        for left in range(SHORTER, -1, -1):
            begun = False
            try:
                async with aclosing(self._attempts(target, request, config)) as stream:
                    async for item in stream:
                        begun = begun or is_content(item)
                        yield item
                return
            except ContextTooLong as error:
                shorter = await shorten(target, error) if shorten is not None and left and not begun else None
                if shorter is None:
                    raise
            request, told = shorter
            for text in told:
                yield Notice(text)

    async def _attempts(self, target: Target, request: Request,
                        config: RetryConfig) -> AsyncGenerator[Delta | Notice | Retrying, None]:
        try:
            target = await resolve_target(target, self._providers)
            self._providers.open(target.provider)
        except UsageError as error:
            raise BadRequest(error.message, error.hint) from error
        attempts = stream_chat_with_retry(partial(self._providers.stream, target), replace(request, model=target.model),
                                          config, budget=self._budget)
        async with aclosing(attempts) as stream:
            async for item in stream:
                yield item

    def _answered(self, target: Target) -> None:
        self._records.pop(target, None)
        self.targets = tuple(dict.fromkeys((target, *self._named)))

    def _failed(self, target: Target, error: ProviderError, *, begun: bool) -> None:
        """A model that broke off is asked to go on once; the second time, or when it did not begin, it rests.

        One that refused this request is not tired: it may take the next."""
        self.failures = [*self.failures[-9:], (target, error)]
        cause = error.cause if isinstance(error, StreamBroken) and error.cause is not None else error
        if isinstance(cause, (AuthFailed, BadRequest, ContextTooLong)):
            return
        record = self._records.setdefault(target, _Record())
        record.breaks += 1
        if not begun or record.breaks > 1 or not cause.retryable:
            rest = QUOTA_REST if isinstance(cause, QuotaExhausted) else self._cool_down
            record.rests_until = self._clock() + max(rest, error.retry_after or 0)
            record.breaks = 0

    def _may_pass_on(self, error: ProviderError) -> bool:
        """A wrong key or a request that is wrong everywhere is told rather than hidden behind another model.

        A key that is missing (nothing was asked, so there is no status) is told by the change of the model."""
        if isinstance(error, AuthFailed):
            return self._on_auth or error.status is None
        return isinstance(error, (Unsupported, ContextTooLong, StreamBroken)) or not isinstance(error, BadRequest)


def _suggest(target: Target, error: ProviderError) -> None:
    """Ollama was asked, since no provider was named, for a model that is a cloud provider's."""
    if target.provider == "ollama" and isinstance(error, (ModelNotFound, ConnectFailed)):
        from core.models.facts import provider_of
        provider = provider_of(target.model)
        if provider:
            error.hint = f"Did you mean {provider}/{target.model}?" + (f"\n{error.hint}" if error.hint else "")


def chain_of(settings: Settings, providers: Providers, target: Target, fallbacks: Sequence[Target]) -> Chain:
    """The chain of a chat, as it is set."""
    async def fits(candidate: Target, request: Request) -> str:
        from core.models.fitness import unfit
        return await unfit(candidate, request, providers)

    async def describe(candidate: Target, request: Request) -> str:
        from core.models.waiting import doing
        return await doing(candidate, request, providers)

    def may_not(candidate: Target) -> str:
        from core.models.fitness import forbidden
        return forbidden(candidate, providers)
    return Chain((target, *fallbacks), providers, retry_config_from_args(settings), fallback_on_auth=settings.fallback_on_auth,
                 forbidden=may_not if settings.local_only else None, unfit=fits, describe=describe)


def respond_with_fallbacks(targets: Sequence[Target], providers: Providers, request: Request,
                           config: RetryConfig) -> AsyncGenerator[Item, None]:
    """One reply from the first target that gives one, for callers without a chat of their own."""
    return Chain(targets, providers, config).respond(request)


async def announced(stream: AsyncGenerator[Delta | Notice | Retrying, None],
                    what: Callable[[], Awaitable[str]]) -> AsyncGenerator[Item, None]:
    """The same stream, saying Waiting while nothing has come yet. Once something has, it is passed on without any overhead."""
    since = again = time.monotonic()
    async with aclosing(stream):
        while True:
            step = asyncio.ensure_future(anext(stream, None))
            async with aclosing(_watched(step, what, since, again)) as waits:
                async for wait in waits:
                    yield wait
            item = step.result()
            if item is None:
                return
            yield item
            if is_content(item):
                break
            if isinstance(item, Retrying):
                since = time.monotonic()
                again = since + item.delay
        async for item in stream:
            yield item


async def _watched(step: asyncio.Future[Any], what: Callable[[], Awaitable[str]], since: float,
                   again: float) -> AsyncGenerator[Waiting, None]:
    """Say every second what is waited for, until `step` is done; `again` is when the pause before an attempt ends.

    What comes is not held up by the description, which may itself have to be waited for. Closing this cancels both.
    """
    tasks: set[asyncio.Future[Any]] = {step}
    pause = FIRST_WAIT
    try:
        while not (await asyncio.wait({step}, timeout=pause))[0]:
            now = time.monotonic()
            if now < again:
                yield Waiting(now - since, f"waiting to ask again ({again - now:.0f} s left)")
            else:
                said = asyncio.ensure_future(_safely(what))
                tasks.add(said)
                await asyncio.wait({step, said}, return_when=asyncio.FIRST_COMPLETED)
                if step.done():
                    return
                tasks.discard(said)
                yield Waiting(time.monotonic() - again, said.result())
            pause = WAIT_STEP
    finally:
        await _end(tasks)


async def _end(tasks: set[asyncio.Future[Any]]) -> None:
    """Cancel what still runs, and wait until it has ended."""
    left = {task for task in tasks if not task.done()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left)
    for task in left:
        if not task.cancelled():
            task.exception()   # looked at, so that nobody complains that it was not


async def _safely(what: Callable[[], Awaitable[str]]) -> str:
    """A description is a courtesy: when it cannot be had, there is none."""
    try:
        return await asyncio.wait_for(what(), WAIT_STEP)
    except (ChatError, TimeoutError, OSError):
        return ""
