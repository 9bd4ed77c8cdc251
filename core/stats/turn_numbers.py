"""Collects statistics of a turn's model calls from its events, and stores them at its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol

from core.errors import ChatError, ProviderError, StreamBroken
from core.events import (Event, MessageAdded, ModelChanged, Resuming, Retrying, TextDelta,
                         ThinkingDelta, Waiting)
from core.messages import Message, Usage
from core.model_manager import Providers, Target, parse_target
from core.models.fallback import Chain
from core.store.identity import new_message_ids
from core.store.rows import CallRow
from db import Store

PAST = 30 * 86400.0     # seconds: older calls say little about the machine as it is now
FRESH = 10.0            # seconds for which calls that were read are not read again
LEAST_SECONDS = 0.02    # a speed measured over less time is not meaningful


class _Call:
    """One model call, running or ended. Times are of the monotonic clock; `begun` is the time of
    its last attempt.
    """

    __slots__ = ("target", "begun", "first", "ended", "retries", "fallbacks", "usage", "finish",
                 "error", "host")

    def __init__(self, target: Target, begun: float, fallbacks: int = 0) -> None:
        self.target, self.begun, self.fallbacks = target, begun, fallbacks
        self.first: float | None = None
        self.ended: float | None = None
        self.retries = 0
        self.usage: Usage | None = None
        self.finish: str | None = None
        self.error: str | None = None
        self.host = ""

    @property
    def seconds(self) -> float:
        return max(0.0, (self.ended if self.ended is not None else time.monotonic()) - self.begun)

    def speed(self) -> float | None:
        """Tokens per second, as timed by the server (Ollama, in nanoseconds), or else from the
        first content to the end.
        """
        tokens = self.usage.output_tokens if self.usage else None
        timed = (self.usage.details or {}).get("eval_duration") if self.usage else None
        if isinstance(timed, (int, float)) and timed > 0:
            spent = timed / 1e9
        else:
            spent = 0.0 if self.first is None or self.ended is None else self.ended - self.first
        return tokens / spent if tokens and tokens > 1 and spent >= LEAST_SECONDS else None


class TurnNumbers:
    """Collects the calls of one turn.

    `awaited` is True until a call's first content, so that later deltas need no check. With
    `prepared`, preparing a request may take long, and its call begins with note_sent().
    """

    def __init__(self, target: Target, chain: Chain, providers: Providers,
                 clock: Callable[[], float] = time.monotonic, *, prepared: bool = False) -> None:
        self._chain = chain
        self._providers = providers
        self._clock = clock
        self._calls: list[_Call] = []
        self._open: _Call | None = None
        self._target = target
        self._fallbacks = 0
        self._created = time.time()
        chain.failures.clear()
        self.awaited, self._prepared = True, prepared
        if not prepared:
            self._begin()

    def note_sent(self) -> None:
        """Note that the request is sent now, for the first time or again in a shorter form."""
        if self._open is None:
            self._begin()
        else:
            self._open.begun = self._clock()

    def _begin(self) -> None:
        self._open = _Call(self._target, self._clock(), fallbacks=self._fallbacks)
        self.awaited, self._fallbacks = True, 0

    def note_first(self) -> None:
        """Note a call's first content."""
        self.awaited = False
        if self._open is not None:
            self._open.first = self._clock()

    def note(self, event: Event) -> None:
        """Note any event except a delta."""
        match event:
            case Retrying(delay=delay) if self._open is not None:
                self._open.retries += 1
                self._open.begun = self._clock() + delay
            case ModelChanged(new=new):
                self._change(parse_target(new, known=self._providers.settings.providers))
            case MessageAdded(message) if message.role == "assistant":
                self._end(message)
            case MessageAdded() if self._prepared:
                self.awaited = True
            case MessageAdded():
                self._begin()
            case Resuming():
                self._blame()
                self._begin()

    def _change(self, target: Target) -> None:
        """Note that the next model is asked; one that was skipped was not called."""
        opened, failures = self._open, dict(self._chain.failures)
        self._chain.failures.clear()
        if opened is not None:
            self._fallbacks = opened.fallbacks
            if opened.target in failures:
                opened.error = kind_of(failures[opened.target])
                self._close(opened)
        self._target = target
        self._fallbacks += 1
        self._begin()

    def _end(self, message: Message) -> None:
        opened = self._open or _Call(self._target, self._clock())
        opened.usage, opened.finish = message.usage, message.finish
        named = parse_target(message.model or "", known=self._providers.settings.providers)
        if named.provider == opened.target.provider and named.model:
            opened.target = named  # a server may answer with another model than the requested one
        self._close(opened)

    def _close(self, call: _Call) -> None:
        call.ended = self._clock()
        call.host = self._host(call.target)
        self._calls.append(call)
        self._open = None

    def _blame(self) -> None:
        """Record why the call that just ended broke off."""
        if self._calls and self._chain.failures:
            self._calls[-1].error = kind_of(self._chain.failures[-1][1])
        self._chain.failures.clear()

    def note_error(self, error: BaseException) -> None:
        """Record the error that ended the turn."""
        if isinstance(error, ChatError):
            kind = kind_of(error)
            if self._open is None and self._calls:
                self._calls[-1].error = kind
            elif self._open is not None and isinstance(error, ProviderError):
                self._open.error = kind
                self._close(self._open)
        elif self._open is not None:
            self._open.finish = "interrupted"
            self._close(self._open)

    def rows(self, session: str) -> list[CallRow]:
        """The statistics of the turn's calls, as rows for the store."""
        return [CallRow(self._created, session, call.target.provider, call.target.model, call.host,
                        None if call.first is None else max(0.0, call.first - call.begun),
                        call.seconds,
                        *((call.usage.input_tokens, call.usage.output_tokens,
                           call.usage.cached_tokens) if call.usage
                          else (None, None, None)),
                        call.speed(), self._cost(call), call.retries, call.fallbacks, call.finish,
                        call.error)
                for call in self._calls]

    def _host(self, target: Target) -> str:
        try:
            return origin(self._providers.asked(target.provider).endpoint.base_url)
        except ChatError:
            return ""

    def _cost(self, call: _Call) -> float | None:
        """The cost in dollars; None for local models, which also saves loading the price table."""
        said = (call.usage.details or {}).get("cost") if call.usage else None
        if (call.usage is None or said is None
            and self._providers.host(call.target.provider).kind != "cloud"):
            return None
        from core.models.facts import cost_of
        return cost_of(call.usage, call.target, self._providers)

    def save(self, session: str, store: Store | None) -> None:
        """Store the statistics; a store that fails is ignored here, since the session reports it.
        """
        if store is None or not self._calls:
            return
        try:
            rows = self.rows(session)
            with store.hurried():
                store.add_calls(list(zip(new_message_ids(len(rows)), rows)))
        except (ChatError, ArithmeticError, ValueError, TypeError):
            pass


class PastCalls:
    """The calls of the last 30 days, for forecasts."""

    def __init__(self, store: Callable[[], Store | None]) -> None:
        self._store = store
        self._read: list[CallRow] = []
        self._when = -FRESH

    def of(self, provider: str, model: str) -> list[CallRow]:
        """A model's calls that succeeded at the first attempt, oldest first."""
        if time.monotonic() - self._when >= FRESH:
            self._when, self._read = time.monotonic(), self._all()
        return [call for call in self._read if call.provider == provider and call.model == model
                and call.first is not None and not call.retries]

    def _all(self) -> list[CallRow]:
        """All recent calls; empty if the store fails, which the session reports."""
        store = self._store()
        try:
            return store.calls(time.time() - PAST) if store is not None else []
        except ChatError:
            return []


def kind_of(error: ChatError) -> str:
    """The error's kind; for a broken stream, the kind of the error reported inside it."""
    return (error.cause.kind if isinstance(error, StreamBroken) and error.cause is not None
            else error.kind)


def origin(url: str) -> str:
    """Scheme and host of a URL, without a user, a path or a query."""
    scheme, separator, rest = url.partition("://")
    host = rest.partition("/")[0].partition("?")[0].rpartition("@")[2]
    return f"{scheme}://{host}" if separator else ""


class Kept(Protocol):
    """A session: an ID, and the store that it is in."""

    id: str

    @property
    def store(self) -> Store | None: ...


async def measured(events: AsyncGenerator[Event, None], numbers: TurnNumbers,
                   session: Kept) -> AsyncGenerator[Event, None]:
    """Yield a turn's events, and store its statistics however it ends."""
    try:
        async with aclosing(events):
            async for event in events:
                if isinstance(event, (TextDelta, ThinkingDelta)):
                    if numbers.awaited:
                        numbers.note_first()
                elif not isinstance(event, Waiting):
                    numbers.note(event)
                yield event
    except (ChatError, asyncio.CancelledError, GeneratorExit, KeyboardInterrupt) as error:
        numbers.note_error(error)
        raise
    finally:
        numbers.save(session.id, session.store)
