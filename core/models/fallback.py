"""The chain of models: the chosen one, and its fallbacks while it is unavailable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence

from core.config import Settings
from core.dataclass import dataclass, replace
from core.errors import (AuthFailed, BadRequest, ChatError, ConnectFailed, ContextTooLong,
                         EmptyReply, ModelNotFound, Paused,
                         ProviderError, QuotaExhausted, UsageError)
from core.events import Delta, ModelChanged, Notice, Reading
from core.model_manager import POOL, Providers, Target, resolve_target
from core.providers.from_settings import retry_config_of
from core.models.successor import is_default, stream_or_successor, stream_prepared
from core.providers import Adapts, Options, Request
from core.providers.hosts import DEFAULT_PROVIDER
from core.providers.parameters import denied, left_out, left_out_notice, without
from core.retry.policy import Candidate, Failure, RetryConfig
from core.retry.silence import FIRST_WAIT, WAIT_STEP
from core.retry_handler import Item, Pieces, RetryBudget, Shaping, stream_chat_with_retry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.models.pool import Pool

# Returns why a target lacks what a request needs ("no tools", "its window is too small"), or "".
Unfit = Callable[[Target, Request], Awaitable[str]]
# Returns why a target may not be used at all, or "".
Forbidden = Callable[[Target], str]
# Returns what a silent server is doing ("loading qwen3:14b (9.3 GB)"), or "".
Describe = Callable[[Target, Request, Sequence[Reading]], Awaitable[str]]

COOL_DOWN = 60.0      # seconds for which a failed target is not used
QUOTA_REST = 900.0    # the same if its quota is used up
# seconds for a target to respond when it is checked after that
LOOK_TIMEOUT = 3.0


@dataclass(slots=True)
class _Record:
    """The state of a target in this run: until when it rests, consecutive broken replies, and its
    running check.
    """

    rests_until: float = 0.0
    breaks: int = 0
    look: asyncio.Task[None] | None = None


class Chain:
    """The candidates of a chat in order: the chosen model, then its fallbacks.

    A failed one rests, and the next one is used. When a better one's rest is over, it is checked in
    parallel with a request, so that nobody waits for it, and used again from the next request on.
    """

    def __init__(self, targets: Sequence[Target], providers: Providers, config: RetryConfig, *,
                 cool_down: float = COOL_DOWN,
                 forbidden: Forbidden | None = None, unfit: Unfit | None = None,
                 describe: Describe | None = None,
                 budget: RetryBudget | None = None,
                 pauses: tuple[float, float] = (FIRST_WAIT, WAIT_STEP),
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._pools: dict[Target, Pool] = {}
        self._named: tuple[Target, ...] = ()     # as chosen, before pools are expanded
        self._providers = providers
        self.targets: tuple[Target, ...] = tuple(targets)
        self._take(targets)
        self.config = config
        self.budget = budget or RetryBudget()
        self.pauses = pauses
        # the last used ones, for statistics
        self.failures: list[tuple[Target, ProviderError]] = []
        self._cool_down = cool_down
        self._forbidden = forbidden
        self._unfit = unfit
        self._describe = describe
        self._clock = clock
        self._records: dict[Target, _Record] = {}
        # names of other responding models that were reported
        self._names: set[tuple[Candidate, str]] = set()
        # reported changes of options per model
        self._missed: set[str] = set()
        # targets that work again, to be reported
        self._back: set[Target] = set()
        self._speaking: Target = self.targets[0]    # the last reported responding model

    def _take(self, targets: Sequence[Target]) -> None:
        self._named = tuple(dict.fromkeys(targets))
        self._pools = {target: self._opened(target)
                       for target in self._named if target.provider == POOL}
        self.rank()

    def _opened(self, target: Target) -> Pool:
        from core.models.pool import open_pool
        return open_pool(target, self._providers)

    def rank(self) -> None:
        """Reorder the members of pools; called at the beginning of a turn."""
        ranked = {target: pool.ranked() for target, pool in self._pools.items()}
        members = [member for target in self._named for member in ranked.get(target, [target])]
        self.targets = tuple(dict.fromkeys(members))

    def _pool_of(self, target: Target) -> Pool | None:
        return next((pool for pool in self._pools.values() if target in pool.members), None)

    @property
    def chosen(self) -> Target:
        """The model or pool that the user chose, even while a fallback is used."""
        return self._named[0]

    @property
    def first(self) -> Target:
        """The target that is used next."""
        return self._in_order()[0]

    def choose(self, target: Target, fallbacks: Sequence[Target] | None = None) -> None:
        """Put this target first, before the given fallbacks or its own; its past failures are
        forgotten.
        """
        self._take((target, *(self._named[1:] if fallbacks is None else fallbacks)))
        self._forget(target)
        self._speaking = self.targets[0]

    def _forget(self, target: Target) -> None:
        record = self._records.pop(target, None)
        if (record is not None and record.look is not None
            and record.look is not asyncio.current_task()):
            record.look.cancel()

    async def close(self) -> None:
        """Cancel running checks."""
        looks = [record.look for record in self._records.values() if record.look is not None]
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)

    # ---- called by the asking loop

    def begin(self,
              refused: frozenset[Candidate]) -> tuple[Sequence[Candidate], ModelChanged | None]:
        ordered = self._in_order()
        self._look_at_the_rested()
        allowed = [target for target in ordered
                   if Candidate(target.provider, target.model) not in refused] or ordered
        first, before = allowed[0], self._speaking
        self._speaking = first
        better = (first in self.targets and before in self.targets
                  and self.targets.index(first) < self.targets.index(before))
        back = better and first in self._back
        self._back.discard(first)
        change = ModelChanged(str(before), str(first), f"{first} answers again.") if back else None
        return [Candidate(target.provider, target.model) for target in allowed], change

    async def why_not(self, candidate: Candidate, request: Request) -> str:
        """Return why a candidate must not get this request, or "".

        The chosen model is used whatever it lacks, unless it is forbidden; fallbacks must have
        everything that the request needs.
        """
        target = target_of(candidate)
        no = self._forbidden(target) if self._forbidden else ""
        if no or self._unfit is None or target == self.chosen:
            return no
        return await self._unfit(target, request)

    def change(self, candidate: Candidate, why: str) -> ModelChanged | None:
        target, before = target_of(candidate), self._speaking
        self._speaking = target
        if target == before:
            return None
        return ModelChanged(str(before), str(target), why or self._resting(before))

    async def open(self, candidate: Candidate,
                   request: Request) -> AsyncGenerator[Delta | Notice, None]:
        """Yield the stream of one request, with the provider's settings and without features that
        the model lacks.
        """
        target = await self._resolved(candidate)
        pool = self._pool_of(target)
        stream = self._stream(target, request)
        return stream if pool is None else pool.counted(target, stream)

    def _stream(self, target: Target, request: Request) -> AsyncGenerator[Delta | Notice, None]:
        missed = self._not_reported(target, request)
        if missed or is_default(target, self._providers) or target in self._providers.successors:
            return stream_or_successor(target, request, self._providers, missed)
        return stream_prepared(target, request, self._providers)

    def _not_reported(self, target: Target, request: Request) -> str:
        """Return a sentence about options that are changed for this model and were not reported
        yet.

        Flags that the chosen model does not support were rejected before.
        """
        if request.options == Options() and not self._providers.entry(target.provider):
            return ""
        asked = self._providers.prepared(target, replace(request, model=target.model))
        said = [text for text in (*_denied(target, request, self._providers),
                                  *_not_as_set(target, asked, self._providers))
                if text not in self._missed]
        self._missed.update(said)
        return " ".join(said)

    async def _resolved(self, candidate: Candidate) -> Target:
        try:
            target = await resolve_target(target_of(candidate), self._providers)
            self._providers.open(target.provider)
            return target
        except UsageError as error:
            raise BadRequest(error.message, error.hint) from error

    def without(self, candidate: Candidate, request: Request, feature: str) -> str:
        return self._providers.without(target_of(candidate), request, feature)

    async def describe(self, candidate: Candidate, request: Request,
                       read: Sequence[Reading]) -> str:
        if self._describe is None:
            return ""
        return await self._describe(target_of(candidate), request, read)

    def note_name(self, candidate: Candidate, name: str) -> str:
        if (candidate, name) in self._names:
            return ""
        self._names.add((candidate, name))
        return f"{candidate} was requested, but the server responds with {name}."

    def note_answer(self, candidate: Candidate) -> None:
        self._forget(target_of(candidate))

    def note_failure(self, candidate: Candidate, failure: Failure) -> None:
        """Record a failure. A model whose reply broke off gets one chance to continue; the second
        time, or if it did not begin, it rests.

        A model that rejected this request does not rest: it may accept the next one.
        """
        target, error, cause = target_of(candidate), failure.error, failure.cause
        self._note_error(target, error)
        if isinstance(cause, (AuthFailed, BadRequest, ContextTooLong, EmptyReply, Paused)):
            return
        record = self._records.setdefault(target, _Record())
        record.breaks += 1
        if not failure.begun or record.breaks > 1 or not cause.retryable:
            rest = QUOTA_REST if isinstance(cause, QuotaExhausted) else self._cool_down
            record.rests_until = self._clock() + max(rest, error.retry_after or 0)
            record.breaks = 0

    def note_host_failure(self, candidate: Candidate, failure: Failure) -> str:
        """Return a notice about a failed host. The model does not rest, since the provider avoids
        that host.
        """
        self._note_error(target_of(candidate), failure.error)
        return f"{failure.error.message} Trying another host of {candidate.provider}."

    def _note_error(self, target: Target, error: ProviderError) -> None:
        self._providers.explain(target.provider, error)
        _suggest(target, error)
        self.failures = [*self.failures[-9:], (target, error)]

    # ---- resting

    def _in_order(self) -> list[Target]:
        """Return the available targets in order, then the resting ones as a last resort."""
        return sorted(self.targets, key=lambda target: bool(self._resting(target)))

    def _resting(self, target: Target) -> str:
        """Return why this target is not used now, or "". A rest ends with a check of the target."""
        record = self._records.get(target)
        if record is None or not record.rests_until:
            return ""
        return (f"{target} failed recently and is not used for "
                f"{max(0.0, record.rests_until - self._clock()):.0f} s.")

    def _look_at_the_rested(self) -> None:
        for target, record in self._records.items():
            due = record.rests_until and self._clock() >= record.rests_until
            if due and len(self.targets) > 1 and (record.look is None or record.look.done()):
                record.look = asyncio.ensure_future(self._look_at(target))

    async def _look_at(self, target: Target) -> None:
        """Check a target; any response in time ends its rest, even an error."""
        try:
            async with asyncio.timeout(LOOK_TIMEOUT):
                await self._providers.open(target.provider).models()
        except ProviderError as error:
            if error.status is None or error.status >= 500:
                return self._rest_again(target)
        except (ChatError, TimeoutError):
            return self._rest_again(target)
        self._forget(target)
        self._back.add(target)

    def _rest_again(self, target: Target) -> None:
        record = self._records.get(target)
        if record is not None:
            record.rests_until = self._clock() + self._cool_down


def _denied(target: Target, request: Request, providers: Providers) -> Iterator[str]:
    """Yield sentences about what is left out because the configuration denies it to the model."""
    named = replace(request, model=str(target))
    for feature in denied(providers.entry(target.provider), target.model):
        if feature != "vision" and without(named, feature) is not named:     # reported elsewhere
            yield left_out_notice(named, feature)


def _not_as_set(target: Target, request: Request, providers: Providers) -> Iterator[str]:
    """Yield sentences about options of this request that are left out or changed."""
    if request.options == Options():
        return
    names = left_out(request.options, providers.host(target.provider).dialect)
    if names:
        yield (f"{target} does not support these parameters, so they are left out: "
               f"{', '.join(names)}.")
    provider = providers.open(target.provider)
    for text in provider.adapted(request) if isinstance(provider, Adapts) else ():
        yield f"{target}: {text}."


def target_of(candidate: Candidate) -> Target:
    return Target(candidate.provider, candidate.model)


def _suggest(target: Target, error: ProviderError) -> None:
    """Suggest the cloud provider of a model that was requested from the default provider."""
    if target.provider == DEFAULT_PROVIDER and isinstance(error, (ModelNotFound, ConnectFailed)):
        from core.models.facts import provider_of
        provider = provider_of(target.model)
        if provider:
            error.hint = (f"Did you mean {provider}/{target.model}?"
                          + (f"\n{error.hint}" if error.hint else ""))


def chain_of(settings: Settings, providers: Providers, target: Target,
             fallbacks: Sequence[Target]) -> Chain:
    """Return the chain of a chat from the settings."""
    async def fits(candidate: Target, request: Request) -> str:
        from core.models.fitness import unfit
        return await unfit(candidate, request, providers)

    async def describe(candidate: Target, request: Request, read: Sequence[Reading]) -> str:
        from core.models.waiting import doing
        return await doing(candidate, request, providers, read)

    def may_not(candidate: Target) -> str:
        from core.models.fitness import forbidden
        return forbidden(candidate, providers)
    return Chain((target, *fallbacks), providers, retry_config_of(settings),
                 forbidden=may_not if settings.local_only else None, unfit=fits, describe=describe)


def respond_with_fallbacks(chain: Chain, request: Request, pieces: Pieces | None = None,
                           shaping: Shaping | None = None) -> AsyncGenerator[Item, None]:
    """Yield one reply, from the first model of the chain that answers."""
    return stream_chat_with_retry(chain, request, pieces, shaping)
