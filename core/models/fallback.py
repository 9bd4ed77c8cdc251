"""Who answers: the model that was chosen, and those that stand in for it while it rests."""

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
from core.models.successor import is_default, stream_or_successor
from core.providers import Adapts, Options, Request
from core.providers.hosts import DEFAULT_PROVIDER
from core.providers.parameters import denied, left_out, told, without
from core.retry.policy import Candidate, Failure, RetryConfig
from core.retry.silence import FIRST_WAIT, WAIT_STEP
from core.retry_handler import Item, Pieces, RetryBudget, Shaping, stream_chat_with_retry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.models.pool import Pool

# Why a target cannot do what a request needs ("no tools", "its window is too small"), or "".
Unfit = Callable[[Target, Request], Awaitable[str]]
# Why a target may not be asked at all, or "".
Forbidden = Callable[[Target], str]
# What a server is doing while it is silent ("loading qwen3:14b (9.3 GB)"), or "".
Describe = Callable[[Target, Request, Sequence[Reading]], Awaitable[str]]

COOL_DOWN = 60.0      # seconds that a target rests after it failed
QUOTA_REST = 900.0    # the same when its quota is used up
# seconds in which a model that has rested must answer a question about its models
LOOK_TIMEOUT = 3.0


@dataclass(slots=True)
class _Record:
    """What this run knows of a target: until when it rests, how often it broke off in a row,
    and the look at it that runs.
    """

    rests_until: float = 0.0
    breaks: int = 0
    look: asyncio.Task[None] | None = None


class Chain:
    """The candidates of a chat in their order: the chosen model, then its fallbacks.

    One that failed rests, and the next one stands in. When the rest of a better one is
    over, it is looked at beside a request, so that nobody waits for it, and answers again
    from the next request on.
    """

    def __init__(self, targets: Sequence[Target], providers: Providers, config: RetryConfig, *,
                 cool_down: float = COOL_DOWN,
                 forbidden: Forbidden | None = None, unfit: Unfit | None = None,
                 describe: Describe | None = None,
                 budget: RetryBudget | None = None,
                 pauses: tuple[float, float] = (FIRST_WAIT, WAIT_STEP),
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._pools: dict[Target, Pool] = {}
        self._named: tuple[Target, ...] = ()     # as they were chosen, pools unopened
        self._providers = providers
        self.targets: tuple[Target, ...] = tuple(targets)
        self._take(targets)
        self.config = config
        self.budget = budget or RetryBudget()
        self.pauses = pauses
        # the last ones, for whoever counts them
        self.failures: list[tuple[Target, ProviderError]] = []
        self._cool_down = cool_down
        self._forbidden = forbidden
        self._unfit = unfit
        self._describe = describe
        self._clock = clock
        self._records: dict[Target, _Record] = {}
        # other names that servers answered with, which were reported
        self._names: set[tuple[Candidate, str]] = set()
        # what was reported about options that do not reach a model as they were set
        self._missed: set[str] = set()
        # those that answer again after their rest, which is to be reported
        self._back: set[Target] = set()
        self._speaking: Target = self.targets[0]        # who answers, as far as it was reported

    def _take(self, targets: Sequence[Target]) -> None:
        self._named = tuple(dict.fromkeys(targets))
        self._pools = {target: self._opened(target)
                       for target in self._named if target.provider == POOL}
        self.rank()

    def _opened(self, target: Target) -> Pool:
        from core.models.pool import open_pool
        return open_pool(target, self._providers)

    def rank(self) -> None:
        """Order the members of pools as they are to be asked now; for the beginning of a turn."""
        ranked = {target: pool.ranked() for target, pool in self._pools.items()}
        members = [member for target in self._named for member in ranked.get(target, [target])]
        self.targets = tuple(dict.fromkeys(members))

    def _pool_of(self, target: Target) -> Pool | None:
        return next((pool for pool in self._pools.values() if target in pool.members), None)

    @property
    def chosen(self) -> Target:
        """The model or the pool that the user chose, whoever stands in for it."""
        return self._named[0]

    @property
    def first(self) -> Target:
        """Who is asked next."""
        return self._in_order()[0]

    def choose(self, target: Target, fallbacks: Sequence[Target] | None = None) -> None:
        """Put this one first, before its own fallbacks or those that were named;
        what is known against it is forgotten.
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
        """End the looks that run."""
        looks = [record.look for record in self._records.values() if record.look is not None]
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)

    # ---- what the loop asks for

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
        """What may not be asked is never asked.

        The chosen model is asked whatever it lacks; others must be able to do it.
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
        """The stream of one request, with the provider's own settings and without what
        the model is known to lack.
        """
        target = await self._resolved(candidate)
        pool = self._pool_of(target)
        stream = self._stream(target, request)
        return stream if pool is None else pool.counted(target, stream)

    def _stream(self, target: Target, request: Request) -> AsyncGenerator[Delta | Notice, None]:
        missed = self._not_reported(target, request)
        if missed or is_default(target, self._providers) or target in self._providers.successors:
            return stream_or_successor(target, request, self._providers, missed)
        return self._providers.open(target.provider).stream(
            self._providers.prepared(target, replace(request, model=target.model)))

    def _not_reported(self, target: Target, request: Request) -> str:
        """What of the options does not reach this model as it was set, where
        that was not reported yet.

        Flags that the chosen model has no parameter for were refused before.
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
        return f"{candidate} was asked for, and the server answers with {name}."

    def note_answer(self, candidate: Candidate) -> None:
        self._forget(target_of(candidate))

    def note_failure(self, candidate: Candidate, failure: Failure) -> None:
        """A model that broke off is asked to continue once; the second time, or when it
        did not begin, it rests.

        One that refused this request is not tired: it may take the next.
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
        """The model does not rest: the provider itself leaves the host alone for a while."""
        self._note_error(target_of(candidate), failure.error)
        return f"{failure.error.message} Another host of {candidate.provider} is asked."

    def _note_error(self, target: Target, error: ProviderError) -> None:
        self._providers.explain(target.provider, error)
        _suggest(target, error)
        self.failures = [*self.failures[-9:], (target, error)]

    # ---- rest

    def _in_order(self) -> list[Target]:
        """Those that may be asked now, in order, and then those that rest:
        better a tired model than none.
        """
        return sorted(self.targets, key=lambda target: bool(self._resting(target)))

    def _resting(self, target: Target) -> str:
        """Why this target is not asked now, or "". A rest ends with a look at the target."""
        record = self._records.get(target)
        if record is None or not record.rests_until:
            return ""
        return (f"{target} failed a moment ago and rests for "
                f"{max(0.0, record.rests_until - self._clock()):.0f} s.")

    def _look_at_the_rested(self) -> None:
        for target, record in self._records.items():
            due = record.rests_until and self._clock() >= record.rests_until
            if due and len(self.targets) > 1 and (record.look is None or record.look.done()):
                record.look = asyncio.ensure_future(self._look_at(target))

    async def _look_at(self, target: Target) -> None:
        """Any answer in time ends the rest, also one that does not like the question."""
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
    """Sentences about what is left out because the configuration says that the model cannot do it.
    """
    named = replace(request, model=str(target))
    for feature in denied(providers.entry(target.provider), target.model):
        if feature != "vision" and without(named, feature) is not named:     # reported elsewhere
            yield told(named, feature)


def _not_as_set(target: Target, request: Request, providers: Providers) -> Iterator[str]:
    """Sentences about options of this request that are left out or sent in
    another way than they were set.
    """
    if request.options == Options():
        return
    names = left_out(request.options, providers.host(target.provider).dialect)
    if names:
        yield f"{target} has no such parameter, so it is left out: {', '.join(names)}."
    provider = providers.open(target.provider)
    for text in provider.adapted(request) if isinstance(provider, Adapts) else ():
        yield f"{target}: {text}."


def target_of(candidate: Candidate) -> Target:
    return Target(candidate.provider, candidate.model)


def _suggest(target: Target, error: ProviderError) -> None:
    """The default provider was asked, since none was named,
    for a model that is a cloud provider's.
    """
    if target.provider == DEFAULT_PROVIDER and isinstance(error, (ModelNotFound, ConnectFailed)):
        from core.models.facts import provider_of
        provider = provider_of(target.model)
        if provider:
            error.hint = (f"Did you mean {provider}/{target.model}?"
                          + (f"\n{error.hint}" if error.hint else ""))


def chain_of(settings: Settings, providers: Providers, target: Target,
             fallbacks: Sequence[Target]) -> Chain:
    """The chain of a chat, as it is set."""
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
    """One reply from the first model of the chain that gives one."""
    return stream_chat_with_retry(chain, request, pieces, shaping)
