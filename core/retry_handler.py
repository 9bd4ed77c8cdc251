"""The loop that requests a reply and follows the retry policy until the reply is complete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Protocol, TypeVar

from core.dataclass import dataclass, replace
from core.errors import (ChatError, ContextTooLong, EmptyReply, ProviderError, StreamBroken,
                         UsageError, unexpected)
from core.events import (Answering, Delta, Finished, ModelChanged, Notice, Reading, Retrying,
                         Waiting, is_content)
from core.providers import Request
from core.retry.policy import (REQUESTS, SHORTER, Again, Candidate, Continue, Elsewhere, Failure,
                               GiveUp, Next, RetryConfig, Shorter, State, Step, Without,
                               backoff_delay, moved, next_step, weighed)
from core.retry.silence import Silence, pausing

__all__ = ["RetryConfig", "backoff_delay", "retry_call", "stream_chat_with_retry"]
T = TypeVar("T")


class RetryBudget:
    """Limits retries: a reserve of them at first, then three for every twenty requests.

    Without it, an outage would multiply the traffic by the number of attempts just when servers
    can bear it least.
    """

    def __init__(self, reserve: float = 9.0, share: float = 0.15) -> None:
        self.left = self._most = reserve
        self._share = share

    def note_request(self) -> None:
        self.left = min(self._most, self.left + self._share)


@dataclass(slots=True)
class TurnLimits:
    """The limits that all requests of a turn share: requests left, and models not to ask again."""

    requests: int = REQUESTS
    refused: frozenset[Candidate] = frozenset()


@dataclass(frozen=True, slots=True)
class BrokeOff:
    """The reply broke off; what follows continues it."""

    error: ProviderError


Item = Delta | Waiting | Retrying | ModelChanged | Notice | BrokeOff


class Pieces(Protocol):
    """The reply received so far, kept by the consumer of the loop.

    `resumes` is how often it may still be continued.
    """

    limits: TurnLimits
    resumes: int

    @property
    def text(self) -> str: ...

    def next_request(self) -> Request:
        """The conversation with the reply so far, as a request to continue it."""
        ...

    def fault(self) -> ProviderError | None:
        """The fault of the finished reply; None if it has none."""
        ...


class Line(Protocol):
    """The models that can be asked, in order, and how to ask them (core/models/fallback.py)."""

    config: RetryConfig
    budget: RetryBudget
    # seconds of silence before a wait is first reported, and between reports
    pauses: tuple[float, float]

    def begin(self,
              refused: frozenset[Candidate]) -> tuple[Sequence[Candidate], ModelChanged | None]:
        """(candidates for a new reply, best first; the change of model if the first is new)."""
        ...

    async def open(self, candidate: Candidate,
                   request: Request) -> AsyncGenerator[Delta | Notice, None]:
        """The stream of this candidate. Raises ProviderError if it cannot be asked."""
        ...

    async def why_not(self, candidate: Candidate, request: Request) -> str:
        """Why this candidate cannot answer the request; "" if it can."""
        ...

    async def describe(self, candidate: Candidate, request: Request,
                       read: Sequence[Reading]) -> str:
        """What the server is doing while it sends nothing; `read` is its progress on the prompt."""
        ...

    def change(self, candidate: Candidate, why: str) -> ModelChanged | None:
        """The change of model to report; None if the candidate is the model that answered last."""
        ...

    def without(self, candidate: Candidate, request: Request, feature: str) -> str:
        """Omit a feature from all requests to the candidate; return a notice, "" if not used."""
        ...

    def note_name(self, candidate: Candidate, name: str) -> str:
        """Record that the model `name` answers instead; return a notice, "" if already known."""
        ...

    def note_answer(self, candidate: Candidate) -> None: ...
    def note_failure(self, candidate: Candidate, failure: Failure) -> None: ...

    def note_host_failure(self, candidate: Candidate, failure: Failure) -> str:
        """Record that a host of the candidate failed and another is asked; return a notice."""
        ...


class Shaping(Protocol):
    """Makes requests fit the window of a model (core/chat/asking.py)."""

    async def shorten(self, candidate: Candidate,
                      error: ContextTooLong) -> tuple[Request, Sequence[str]] | None:
        """(a shorter request, notices); None if the request cannot be made shorter."""
        ...

    def fit(self, request: Request) -> AsyncGenerator[Waiting | Notice, None]:
        """Work out what to send for this request, and set `sent` to it."""
        ...

    sent: Request | None     # the last request as it was sent


async def stream_chat_with_retry(line: Line, request: Request, pieces: Pieces | None = None,
                                 shaping: Shaping | None = None) -> AsyncGenerator[Item, None]:
    """Yield one complete reply, from as many models and in as many pieces as it takes.

    Every wait, change of model and omission is yielded as an item before it happens. Raises the
    last ProviderError if no model answers.
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
        # a bug in one dialect must not end the conversation: another model may answer
        except Exception as problem:
            failure = Failure(ProviderError(unexpected(problem).message), begun)
        async with aclosing(asked.after(failure)) as news:
            async for item in news:
                yield item


class _Asking:
    """The state of one call of the loop. `state` is None when the reply is complete."""

    def __init__(self, line: Line, request: Request, pieces: Pieces | None,
                 shaping: Shaping | None) -> None:
        self._line, self._pieces, self._shaping = line, pieces, shaping
        self._limits = pieces.limits if pieces is not None else TurnLimits()
        # the turn's request, the request made to fit, and what this model is sent
        self._whole = self._fitted = self._sent = request
        self._why = ""                          # why the previous model could not answer
        self._last: ProviderError | None = None
        self.state: State | None = None
        self.read: list[Reading] = []           # the server's progress on the prompt
        self.silence = self._silence()

    @property
    def _now(self) -> State:
        assert self.state is not None
        return self.state

    async def begin(self) -> AsyncGenerator[Item, None]:
        """Choose the first candidate. Raises UsageError if no model can be asked."""
        async with aclosing(self._fit()) as told:
            async for notice in told:
                yield notice
        candidates, change = self._line.begin(self._limits.refused)
        pieces = self._pieces
        self.state = State(candidates[0], tuple(candidates[1:]), refused=self._limits.refused,
                           config=self._line.config, requests=self._limits.requests,
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
        """Raise EmptyReply if this delta ends a reply without any text."""
        if (isinstance(delta, Finished) and delta.reason in ("stop", "tool_calls")
            and not self._text):
            raise EmptyReply(f"{self._now.candidate} gave an empty answer.")

    def named(self, delta: Delta | Notice) -> Iterator[Item]:
        """The delta, with a notice if it says that another model answers than the one asked."""
        if not isinstance(delta, Answering):
            yield delta
            return
        notice = self._line.note_name(self._now.candidate, delta.model)
        yield Answering(f"{self._now.candidate.provider}/{delta.model}")
        if notice:
            yield Notice(notice)

    def end(self, *, finished: bool) -> None:
        """Finish after the end of the stream. Raises ProviderError if the reply is not complete."""
        if not finished:
            raise StreamBroken("The answer ended without its end marker.")
        fault = self._pieces.fault() if self._pieces is not None else None
        if fault is not None:
            raise fault
        self._line.note_answer(self._now.candidate)
        self.state = None

    async def after(self, failure: Failure) -> AsyncGenerator[Item, None]:
        """Prepare the next request, reporting each step. Raises the error if there is none."""
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
            self._whole = self._pieces.next_request()
            self.state = replace(self._now, text=self._pieces.text)
        for text in told:
            yield Notice(text)
        async with aclosing(self._prepare(step, failure)) as news:
            async for item in news:
                yield item

    async def _prepare(self, step: Step, failure: Failure) -> AsyncGenerator[Item, None]:
        """Wait if the step says so, then prepare the request to send."""
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
        """(next step, notices). Asks the policy again if there is nothing to shorten or omit."""
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
        """Record whether a host or the model failed; return notices."""
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
        """Fit the whole request to the window."""
        self._fitted = self._sent = self._whole
        if self._shaping is not None:
            async with aclosing(self._shaping.fit(self._whole)) as news:
                async for item in news:
                    yield item
            self._fitted = self._sent = self._shaping.sent or self._whole

    def _restore(self) -> None:
        """Undo what was omitted for the previous model."""
        self._sent = self._fitted
        if self._shaping is not None:
            self._shaping.sent = self._fitted

    async def _choose(self) -> AsyncGenerator[Item, None]:
        """Skip models that cannot answer this request. Raises the last error if none is left."""
        while no := await self._line.why_not(self._now.candidate, self._sent):
            yield Notice(f"{self._now.candidate} is skipped: {no}.")
            self._why = f"{self._now.candidate} cannot be asked: {no}."
            failure = Failure(ProviderError(self._why))
            step = next_step(failure, self._now)
            if not isinstance(step, Next):
                raise self._last or UsageError(self._why, "Choose another with /model or "
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
    """Apply the policy to a call with a single result (a model list, a default model's name).

    Raises ProviderError.
    """
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
