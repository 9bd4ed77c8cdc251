"""Who answers when the first model cannot: the next candidate, with a rest for those that failed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

from core.errors import AuthFailed, BadRequest, ChatError, ContextTooLong, ProviderError, StreamBroken, Unsupported, UsageError
from core.events import Delta, ModelChanged, Notice, Retrying, Waiting
from core.model_manager import Providers, Target, resolve_target
from core.providers import Request
from core.retry_handler import RetryBudget, RetryConfig, stream_chat_with_retry

Item = Delta | Waiting | Retrying | ModelChanged | Notice
# Why a target cannot do what a request needs ("no tools", "its window is too small"), or "".
Unfit = Callable[[Target, Request], Awaitable[str]]
# What a server is doing while nothing comes ("loading qwen3:14b (9.3 GB)"), or "".
Describe = Callable[[Target, Request], Awaitable[str]]

COOL_DOWN = 60.0      # seconds that a target rests after it failed
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
                 fallback_on_auth: bool = False, unfit: Unfit | None = None, describe: Describe | None = None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._named = tuple(targets)      # what the person asked for: the model, then its fallbacks
        self.targets = self._named        # the same with the one that answered last in front
        self._providers = providers
        self._config = config
        self._cool_down = cool_down
        self._on_auth = fallback_on_auth
        self._unfit = unfit
        self._describe = describe
        self._clock = clock
        self._records: dict[Target, _Record] = {}
        self._budget = RetryBudget()
        self.failures: list[tuple[Target, ProviderError]] = []    # the last ones, for whoever counts them

    @property
    def first(self) -> Target:
        return self.targets[0]

    def choose(self, target: Target) -> None:
        """The person wants this one first, before the fallbacks that were named; what is known against it is forgotten."""
        self._named = (target, *self._named[1:])
        self.targets = tuple(dict.fromkeys(self._named))
        self._records.pop(target, None)

    async def respond(self, request: Request) -> AsyncGenerator[Item, None]:
        """Yield one reply from the first candidate that gives one. Raises the last error when none does."""
        asked: Target = self.first
        last_error: ProviderError | None = None
        for target, reason in [(target, self._resting(target)) for target in self._in_order()]:
            unfit = await self._why_unfit(target, request, last_error)
            if unfit:
                yield Notice(f"{target} is passed over: {unfit}.")
                continue
            if target != asked:
                yield ModelChanged(str(asked), str(target), last_error.message if last_error else reason)
                asked = target
            begun = False
            try:
                async with aclosing(self._ask(target, request)) as stream:
                    async for item in stream:
                        begun = begun or not isinstance(item, (Retrying, Waiting, Notice))
                        yield item
                self._answered(target)
                return
            except ProviderError as error:
                self._failed(target, error, begun=begun)
                if begun or not self._may_pass_on(error):
                    raise
                last_error = error
        raise last_error or UsageError("No model can answer this.", "Name one that can with /model or --model-fallbacks.")

    def _in_order(self) -> list[Target]:
        """Those that may be asked now, in order, and then those that rest: better a tired model than none."""
        return sorted(self.targets, key=lambda target: bool(self._resting(target)))

    def _resting(self, target: Target) -> str:
        record = self._records.get(target)
        left = record.rests_until - self._clock() if record else 0
        return f"{target} failed a moment ago and rests for {left:.0f} s." if left > 0 else ""

    async def _why_unfit(self, target: Target, request: Request, error: ProviderError | None) -> str:
        """The first choice is always asked: the person chose it. Others must be able to do the job."""
        if self._unfit is None or target == self.first and error is None:
            return ""
        return await self._unfit(target, request)

    async def _ask(self, target: Target, request: Request) -> AsyncGenerator[Item, None]:
        try:
            resolved = await resolve_target(target, self._providers)
            self._providers.open(target.provider)
        except UsageError as error:
            raise BadRequest(error.message, error.hint) from error
        asked = replace(request, model=resolved.model)

        async def what() -> str:
            return await self._describe(resolved, asked) if self._describe else ""
        attempts = stream_chat_with_retry(partial(self._providers.stream, resolved), asked, self._config, budget=self._budget)
        async with aclosing(announced(attempts, what)) as stream:
            async for item in stream:
                yield item

    def _answered(self, target: Target) -> None:
        self._records.pop(target, None)
        self.targets = tuple(dict.fromkeys((target, *self._named)))

    def _failed(self, target: Target, error: ProviderError, *, begun: bool) -> None:
        """A model that broke off is asked to go on once; the second time, or when it did not begin, it rests."""
        self.failures = [*self.failures[-9:], (target, error)]
        record = self._records.setdefault(target, _Record())
        record.breaks += 1
        if not begun or record.breaks > 1:
            record.rests_until = self._clock() + max(self._cool_down, error.retry_after or 0)
            record.breaks = 0

    def _may_pass_on(self, error: ProviderError) -> bool:
        """A wrong key or a request that is wrong everywhere is told rather than hidden behind another model.

        A key that is missing (nothing was asked, so there is no status) is told by the change of the model."""
        if isinstance(error, AuthFailed):
            return self._on_auth or error.status is None
        return isinstance(error, (Unsupported, ContextTooLong, StreamBroken)) or not isinstance(error, BadRequest)


def respond_with_fallbacks(targets: Sequence[Target], providers: Providers, request: Request,
                           config: RetryConfig) -> AsyncGenerator[Item, None]:
    """One reply from the first target that gives one, for callers without a chat of their own."""
    return Chain(targets, providers, config).respond(request)


async def announced(stream: AsyncGenerator[Delta | Notice | Retrying, None],
                    what: Callable[[], Awaitable[str]]) -> AsyncGenerator[Item, None]:
    """The same stream, saying Waiting while nothing has come yet. Once something has, it is passed on without any overhead."""
    started = time.monotonic()
    async with aclosing(stream):
        while True:
            step = asyncio.ensure_future(anext(stream, None))
            pause = FIRST_WAIT
            try:
                while not (await asyncio.wait({step}, timeout=pause))[0]:
                    pause = WAIT_STEP
                    yield Waiting(time.monotonic() - started, await _safely(what))
            finally:
                if not step.done():
                    step.cancel()
                    await asyncio.wait({step})
            item = step.result()
            if item is None:
                return
            yield item
            if not isinstance(item, Retrying):
                break
            started = time.monotonic() + item.delay
        async for item in stream:
            yield item


async def _safely(what: Callable[[], Awaitable[str]]) -> str:
    """A description is a courtesy: when it cannot be had, there is none."""
    try:
        return await asyncio.wait_for(what(), WAIT_STEP)
    except (ChatError, TimeoutError):
        return ""
