"""Asks for a reply until it is complete, as the policy says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Protocol, TypeVar

from core.dataclass import dataclass, replace
from core.errors import (ChatError, ContextTooLong, EmptyReply, ProviderError, StreamBroken,
                         UsageError, unexpected)
from core.events import (Answering, Delta, Finished, ModelChanged, Notice, Reading, Retrying,
                         Waiting,
                         is_content)
from core.providers import Request
from core.retry.policy import (REQUESTS, SHORTER, Again, Candidate, Continue, Elsewhere, Failure,
                               GiveUp,
                               Next, RetryConfig, Shorter, State, Step, Without, backoff_delay,
                               moved, next_step,
                               weighed)
from core.retry.silence import Silence, pausing

__all__ = ["RetryConfig", "backoff_delay", "retry_call", "stream_chat_with_retry"]
T = TypeVar("T")


class RetryBudget:
    """Keeps retries from becoming a load of their own: a few are free, then three
    for every twenty requests.

    Without it, a full outage multiplies the traffic by the number of attempts just when
    servers can bear it least.
    """

    def __init__(self, reserve: float = 9.0, share: float = 0.15) -> None:
        self.left = self._most = reserve
        self._share = share

    def note_request(self) -> None:
        self.left = min(self._most, self.left + self._share)


@dataclass(slots=True)
class TurnLimits:
    """What all requests of one turn share: how many are left, and who is not asked again."""

    requests: int = REQUESTS
    refused: frozenset[Candidate] = frozenset()


@dataclass(frozen=True, slots=True)
class BrokeOff:
    """The reply broke off; what follows continues it."""

    error: ProviderError


Item = Delta | Waiting | Retrying | ModelChanged | Notice | BrokeOff


class Pieces(Protocol):
    """The reply as far as it has arrived, kept by whoever consumes the loop.

    `resumes` is how often it may be continued.
    """

    limits: TurnLimits
    resumes: int

    @property
    def text(self) -> str: ...

    def onward(self) -> Request:
        """The conversation with the reply so far, as a request to continue it."""
        ...

    def fault(self) -> ProviderError | None:
        """What is wrong with the reply that has ended, if anything."""
        ...


class Line(Protocol):
    """Who can be asked, and how (core/models/fallback.py)."""

    config: RetryConfig
    budget: RetryBudget
    # seconds of silence before the first report of a wait, and between two
    pauses: tuple[float, float]

    def begin(self,
              refused: frozenset[Candidate]) -> tuple[Sequence[Candidate], ModelChanged | None]:
        """Who may be asked for a new reply, best first, and the change of model it means."""
        ...

    async def open(self, candidate: Candidate,
                   request: Request) -> AsyncGenerator[Delta | Notice, None]:
        """The stream of this candidate. Raises a ProviderError when it cannot be asked at all."""
        ...

    async def why_not(self, candidate: Candidate, request: Request) -> str: ...

    async def describe(self, candidate: Candidate, request: Request,
                       read: Sequence[Reading]) -> str:
        """What the server does while it is silent; `read` is what it says of reading the prompt."""
        ...

    def change(self, candidate: Candidate, why: str) -> ModelChanged | None: ...

    def without(self, candidate: Candidate, request: Request, feature: str) -> str:
        """Leave this out of all requests to the candidate; what to report, "" if it has none."""
        ...

    def note_name(self, candidate: Candidate, name: str) -> str:
        """Another model of this name responds; what to report, "" when it is known."""
        ...

    def note_answer(self, candidate: Candidate) -> None: ...
    def note_failure(self, candidate: Candidate, failure: Failure) -> None: ...

    def note_host_failure(self, candidate: Candidate, failure: Failure) -> str:
        """One host of the candidate failed and another is asked; returns what to report."""
        ...


class Shaping(Protocol):
    """Makes requests fit the window of a model (core/chat/asking.py)."""

    async def shorten(self, candidate: Candidate,
                      error: ContextTooLong) -> tuple[Request, Sequence[str]] | None: ...

    def fit(self, request: Request) -> AsyncGenerator[Waiting | Notice, None]:
        """Find out what to send instead of this request: `sent` afterwards."""
        ...

    sent: Request | None     # the last request as it was sent


async def stream_chat_with_retry(line: Line, request: Request, pieces: Pieces | None = None,
                                 shaping: Shaping | None = None) -> AsyncGenerator[Item, None]:
    """Yield one reply, from whoever gives it, in as many pieces as it takes.

    Raises the last error when nobody does.

    Every wait, change and omission is an item of its own before it happens.
    """
    asked = _Asking(line, request, pieces, shaping)
    async with aclosing(asked.begin()) as news:
        async for item in news:
            yield item
    while asked.state is not None:
        failure: Failure | None = None
        begun = False
        try:
            async with aclosing(await asked.open()) as stream:
                finished = False
                while not begun and not finished:
                    first = asyncio.ensure_future(anext(stream, None))
                    async with aclosing(asked.silence.during(first)) as waits:
                        async for wait in waits:
                            yield wait
                    delta = first.result()
                    if delta is None:
                        break
                    if isinstance(delta, Reading):
                        asked.read.append(delta)
                        continue
                    begun, finished = is_content(delta), isinstance(delta, Finished)
                    asked.check(delta)
                    for item in asked.named(delta):
                        yield item
                if begun:
                    async for delta in stream:
                        finished = isinstance(delta, Finished)
                        yield delta
            asked.end(finished=finished)
            return
        except ProviderError as error:
            failure = Failure.of(error, begun)
        except ChatError:
            raise
        # a fault of ours in one dialect is not the end of the conversation
        except Exception as problem:
            failure = Failure(ProviderError(unexpected(problem).message), begun)
        async with aclosing(asked.after(failure)) as news:
            async for item in news:
                yield item


class _Asking:
    """What is asked next. `state` is None once the reply has come to its end."""

    def __init__(self, line: Line, request: Request, pieces: Pieces | None,
                 shaping: Shaping | None) -> None:
        self._line, self._pieces, self._shaping = line, pieces, shaping
        self._limits = pieces.limits if pieces is not None else TurnLimits()
        # as the turn has it, made to fit, and as this model takes it
        self._whole = self._fitted = self._sent = request
        self._why = ""                          # why the model before could not answer
        self._last: ProviderError | None = None
        self.state: State | None = None
        self.read: list[Reading] = []           # how far the prompt has been read
        self.silence = self._silence()

    @property
    def _now(self) -> State:
        assert self.state is not None
        return self.state

    async def begin(self) -> AsyncGenerator[Item, None]:
        """Find who is asked first. Raises UsageError when nobody may be asked."""
        async with aclosing(self._fit()) as told:
            async for notice in told:
                yield notice
        candidates, change = self._line.begin(self._limits.refused)
        pieces = self._pieces
        self.state = State(candidates[0], tuple(candidates[1:]), refused=self._limits.refused,
                           config=self._line.config,
                           requests=self._limits.requests,
                           resumes=pieces.resumes if pieces is not None else 0)
        if change is not None:
            yield change
        async with aclosing(self._choose()) as chosen:
            async for item in chosen:
                yield item

    async def open(self) -> AsyncGenerator[Delta | Notice, None]:
        self.read = []
        self.silence = self._silence()
        if self._now.attempts == 1:
            self._line.budget.note_request()
        return await self._line.open(self._now.candidate,
                                     replace(self._sent, avoid=self._now.hosts))

    def check(self, delta: Delta | Notice) -> None:
        """Raise EmptyReply when this is the end of a reply of which nothing has arrived."""
        if (isinstance(delta, Finished) and delta.reason in ("stop", "tool_calls")
            and not self._text):
            raise EmptyReply(f"{self._now.candidate} gave an empty answer.")

    def named(self, delta: Delta | Notice) -> Iterator[Item]:
        """The delta, and a notice where it says that another model responds than was asked."""
        if not isinstance(delta, Answering):
            yield delta
            return
        notice = self._line.note_name(self._now.candidate, delta.model)
        yield Answering(f"{self._now.candidate.provider}/{delta.model}")
        if notice:
            yield Notice(notice)

    def end(self, *, finished: bool) -> None:
        """The stream has ended: raise what is wrong with the reply, or be done."""
        if not finished:
            raise StreamBroken("The answer ended without its end marker.")
        fault = self._pieces.fault() if self._pieces is not None else None
        if fault is not None:
            raise fault
        self._line.note_answer(self._now.candidate)
        self.state = None

    async def after(self, failure: Failure) -> AsyncGenerator[Item, None]:
        """Prepare the next request, saying what is done. Raises the error when there is none."""
        failure = weighed(failure, self._now)
        step, told = await self._decide(failure)
        told = (*told, *self._note(step, failure))
        self._last, self._why = failure.error, failure.error.message
        if isinstance(step, GiveUp):
            if isinstance(failure.error, EmptyReply):
                self.state = None
                yield Finished("stop")
                return
            raise failure.error
        self._move(step, failure)
        if failure.begun:
            yield BrokeOff(failure.error)
        if self._pieces is not None and failure.begun:
            self._whole = self._pieces.onward()
            self.state = replace(self._now, text=self._pieces.text)
        for text in told:
            yield Notice(text)
        async with aclosing(self._prepare(step, failure)) as news:
            async for item in news:
                yield item

    async def _prepare(self, step: Step, failure: Failure) -> AsyncGenerator[Item, None]:
        """Wait, where the step says so; then make the request that is sent."""
        delay = step.delay if isinstance(step, (Again, Next, Continue)) else 0.0
        if delay or isinstance(step, Again):
            yield Retrying(max(self._now.attempts, self._now.walks, self._now.breaks), delay,
                           failure.error.message)
            async with aclosing(pausing(delay, self._line.pauses)) as waits:
                async for wait in waits:
                    yield wait
        if failure.begun:
            async with aclosing(self._fit()) as told:
                async for notice in told:
                    yield notice
        elif isinstance(step, Next):
            self._restore()
        if isinstance(step, Next):
            async with aclosing(self._choose()) as chosen:
                async for item in chosen:
                    yield item

    async def _decide(self, failure: Failure) -> tuple[Step, Sequence[str]]:
        """The next step that can be done: there may be nothing to leave out.

        Also what is to be reported about it.
        """
        state, line = replace(self._now, spare=self._line.budget.left), self._line
        while True:
            step = next_step(failure, state)
            match step, failure.error:
                case Shorter(), ContextTooLong() as error:
                    shorter = (await self._shaping.shorten(state.candidate, error)
                               if self._shaping is not None else None)
                    if shorter is not None:
                        self._sent, told = shorter
                        return step, told
                    state = replace(state, shorter=SHORTER)
                case Without(feature), _:
                    notice = line.without(state.candidate, self._sent, feature)
                    if notice:
                        return step, (notice,)
                    state = replace(state, without=state.without | {feature})
                case _:
                    return step, ()

    def _note(self, step: Step, failure: Failure) -> Sequence[str]:
        """Record who failed: one host, or the model. Returns what is to be reported."""
        candidate = self._now.candidate
        if isinstance(step, Elsewhere):
            return (self._line.note_host_failure(candidate, failure),)
        self._line.note_failure(candidate, failure)
        return ()

    def _move(self, step: Step, failure: Failure) -> None:
        before = replace(self._now, spare=self._line.budget.left)
        self.state = after = moved(before, step, failure)
        self._line.budget.left = after.spare
        self._limits.requests, self._limits.refused = (after.requests,
                                                       self._limits.refused | after.refused)
        if self._pieces is not None:
            self._pieces.resumes = after.resumes

    async def _fit(self) -> AsyncGenerator[Waiting | Notice, None]:
        """Start from the whole request, made to fit."""
        self._fitted = self._sent = self._whole
        if self._shaping is not None:
            async with aclosing(self._shaping.fit(self._whole)) as news:
                async for item in news:
                    yield item
            self._fitted = self._sent = self._shaping.sent or self._whole

    def _restore(self) -> None:
        """What was left out for one model is no loss for the next."""
        self._sent = self._fitted
        if self._shaping is not None:
            self._shaping.sent = self._fitted

    async def _choose(self) -> AsyncGenerator[Item, None]:
        """Skip models that cannot answer this request. Raises the last error when none is left."""
        while no := await self._line.why_not(self._now.candidate, self._sent):
            yield Notice(f"{self._now.candidate} is skipped: {no}.")
            self._why = f"{self._now.candidate} cannot be asked: {no}."
            failure = Failure(ProviderError(self._why))
            step = next_step(failure, self._now)
            if not isinstance(step, Next):
                raise self._last or UsageError(self._why, "Name one that can with /model or "
                                               "--model-fallbacks.")
            self._move(step, failure)
        change = self._line.change(self._now.candidate, self._why)
        if change is not None:
            yield change

    @property
    def _text(self) -> str:
        return self._pieces.text if self._pieces is not None else ""

    def _silence(self) -> Silence:
        async def what() -> str:
            return await self._line.describe(self._now.candidate, self._sent, self.read)
        return Silence(what, self._line.pauses)


async def retry_call(call: Callable[[], Awaitable[T]], config: RetryConfig,
                     sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> T:
    """The same policy for a call with one answer (a model list, the name of the default model)."""
    state = State(Candidate("", ""), config=config)
    while True:
        try:
            return await call()
        except ProviderError as error:
            failure = Failure.of(error)
            step = next_step(failure, state)
            if not isinstance(step, (Again, Elsewhere)):
                raise
        await sleep(step.delay if isinstance(step, Again) else 0.0)
        state = moved(state, step, failure)
