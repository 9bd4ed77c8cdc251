"""Makes each request of a turn fit the model's window, and shorter if a server refuses it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from core.dataclass import replace
from core.errors import ContextTooLong
from core.events import Notice, ShownProgress, Waiting
from core.messages import CONTINUATION, Message
from core.model_manager import Target
from core.models.fallback import Chain, respond_with_fallbacks, target_of
from core.providers import Request
from core.retry.policy import Candidate
from core.retry_handler import Item, Pieces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.chat.fitting import Earlier, Fitter
    from core.chat.fitted_request import Fitted


class Asking:
    """The requests of one turn; run_chat_turn() calls `respond`.

    `sent` is the last request as it was sent.

    Requests of one turn grow at their end. As long as the last fitted request still fits together
    with the messages added since, its beginning is sent unchanged, so that prompt caches hit.
    Otherwise it is fitted again, and what is newly left out is reported.
    """

    def __init__(self, chain: Chain, may_not_fit: Callable[[Request], bool],
                 fitter: Callable[[], Fitter],
                 progress: ShownProgress | None = None) -> None:
        self.sent: Request | None = None
        self.note_sent: Callable[[], None] = lambda: None     # called when a request is sent
        # stores what was attached to the question
        self.keep_question: Callable[[Message], None] = lambda message: None
        # earlier messages that may be loaded before a request's first one
        self.earlier: Earlier | None = None
        self._chain, self._may_not_fit, self._fitter, self._progress = (chain, may_not_fit, fitter,
                                                                        progress)
        self._whole: Request | None = None                   # the turn's last request
        # the last request that was fitted, and the result
        self._fitted: tuple[Target, Request, Fitted] | None = None
        self._told: object = None

    def respond(self, request: Request, pieces: Pieces | None = None) -> AsyncGenerator[Item, None]:
        """Yield one reply; each request for it is made to fit before it is sent."""
        return respond_with_fallbacks(self._chain, request, pieces, self)

    async def fit(self, request: Request) -> AsyncGenerator[Waiting | Notice, None]:
        """Fit a request, set `sent` to the result, and report what is attached and left out."""
        self._whole = self.sent = request
        if self._may_not_fit(request):
            async with aclosing(self._fit(request)) as news:
                async for item in news:
                    yield item
        self.note_sent()

    async def _fit(self, request: Request) -> AsyncGenerator[Waiting | Notice, None]:
        """Fit a request; see fit()."""
        grown = self._grown(request)
        if grown is not None:
            self.sent = grown
            return
        target, fitter, started = self._chain.first, self._fitter(), time.monotonic()
        conversation, tail = _parted(request)
        fitting = asyncio.ensure_future(fitter.fit(conversation, target, self.earlier))
        try:
            while not (await asyncio.wait({fitting}, timeout=1.0))[0]:
                if fitter.doing:
                    yield Waiting(time.monotonic() - started, fitter.doing)
            fitted = fitting.result()
        finally:
            fitting.cancel()
            self._clear()
        for text in self._take(target, request, fitted, tail):
            yield Notice(text)

    def _grown(self, request: Request) -> Request | None:
        """The request with its beginning as fitted before; None if that does not fit."""
        if self._fitted is None:
            return None
        target, before, fitted = self._fitted
        size = len(before.messages)
        if target != self._chain.first or request.messages[:size] != before.messages:
            return None
        grown = replace(request, messages=(*fitted.request.messages, *request.messages[size:]))
        return grown if self._fitter().fits(grown, fitted.budget, target) else None

    async def shorten(self, candidate: Candidate,
                      error: ContextTooLong) -> tuple[Request, Sequence[str]] | None:
        """(a shorter request, notices) after a server refused one as too long; None if impossible.
        """
        assert self._whole is not None and self.sent is not None
        target = target_of(candidate)
        conversation, tail = _parted(self._whole)
        try:
            fitted = await self._fitter().fit_smaller(conversation, self.sent, target, error,
                                                      self.earlier)
        finally:
            self._clear()
        if fitted is None:
            return None
        size = f" of {error.limit:,} tokens" if error.limit else ""
        why = (f"{target} refused this as too long for its window{size}; it is asked again "
               "with less.")
        told = self._take(target, self._whole, fitted, tail)
        self.note_sent()
        return self.sent, (why, *told)

    def _take(self, target: Target, request: Request, fitted: Fitted,
              tail: Sequence[Message]) -> Sequence[str]:
        """Use this fitted request from now on; return the notices not yet shown in this turn."""
        fitted = replace(fitted, request=replace(fitted.request,
                                                 messages=(*fitted.request.messages, *tail)))
        self.sent, self._fitted = fitted.request, (target, request, fitted)
        if fitted.question is not None:
            self.keep_question(fitted.question)
        told = (fitted.left_out, fitted.shortened, fitted.context)
        if told == self._told:
            return ()
        self._told = told
        return self._news(fitted)

    def _news(self, fitted: Fitted) -> Sequence[str]:
        """The notices; the line about the context only if it is not the same as in the last turn.
        """
        fitter = self._fitter()
        same = fitted.question is None and fitted.context == fitter.reported
        fitter.reported = fitted.context
        return [text for text in fitted.notices if not (same and text == fitted.line)]

    def _clear(self) -> None:
        if self._progress is not None:
            self._progress.clear()


def _parted(request: Request) -> tuple[Request, tuple[Message, ...]]:
    """(the conversation, the instruction at its end to continue a broken reply).

    That instruction is not a message of the user and must not be fitted like one.
    """
    last = request.messages[-1] if request.messages else None
    if last is None or last.role != "user" or not last.text.startswith(CONTINUATION):
        return request, ()
    return replace(request, messages=request.messages[:-1]), (last,)
