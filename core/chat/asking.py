"""What a turn asks: each request is made to fit the model's window before it is sent,
and again when a server refuses it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from core.dataclass import replace
from core.errors import ContextTooLong
from core.events import Notice, ShownProgress, Waiting
from core.messages import GO_ON, Message
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
    """One for each turn; `respond` is what run_chat_turn calls.

    `sent` is the last request as it was sent.

    Requests of one turn grow at their end. As long as the last one that was fitted still fits
    together with the messages since, it is sent as it was, so that prompt caches hit; then it is
    fitted anew, and what is newly left out is reported.
    """

    def __init__(self, chain: Chain, may_not_fit: Callable[[Request], bool],
                 fitter: Callable[[], Fitter],
                 progress: ShownProgress | None = None) -> None:
        self.sent: Request | None = None
        self.note_sent: Callable[[], None] = lambda: None     # called whenever a request goes out
        # stores what was attached to the question
        self.keep_question: Callable[[Message], None] = lambda message: None
        # what may be loaded before the first message of a request
        self.earlier: Earlier | None = None
        self._chain, self._may_not_fit, self._fitter, self._progress = (chain, may_not_fit, fitter,
                                                                        progress)
        self._whole: Request | None = None                   # the last request as the turn has it
        # the last one that was fitted, and the result
        self._fitted: tuple[Target, Request, Fitted] | None = None
        self._told: object = None

    def respond(self, request: Request, pieces: Pieces | None = None) -> AsyncGenerator[Item, None]:
        """One reply; each request for it is made to fit before it is sent."""
        return respond_with_fallbacks(self._chain, request, pieces, self)

    async def fit(self, request: Request) -> AsyncGenerator[Waiting | Notice, None]:
        """Find out what can be sent instead of this request,
        and report what goes in and what does not.
        """
        self._whole = self.sent = request
        if self._may_not_fit(request):
            async with aclosing(self._fit(request)) as news:
                async for item in news:
                    yield item
        self.note_sent()

    async def _fit(self, request: Request) -> AsyncGenerator[Waiting | Notice, None]:
        """Find out what can be sent; say what goes in and what does not."""
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
        """The request with its beginning as it was fitted before, if all of it fits like that."""
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
        """What can be sent instead of a request that was refused as too long,
        and what is left out now.
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
        """Send this from now on; returns what to report, which is nothing when it was reported
        before in this turn.
        """
        fitted = replace(fitted, request=replace(fitted.request,
                                                 messages=(*fitted.request.messages, *tail)))
        self.sent, self._fitted = fitted.request, (target, request, fitted)
        if fitted.question is not None:
            self.keep_question(fitted.question)
        told = (fitted.left_out, fitted.shortened, fitted.context)
        if told == self._told:
            return ()
        self._told = told
        return fitted.notices

    def _clear(self) -> None:
        if self._progress is not None:
            self._progress.clear()


def _parted(request: Request) -> tuple[Request, tuple[Message, ...]]:
    """The conversation, and the instruction at its end to continue a broken reply,
    which is not a turn of the user.
    """
    last = request.messages[-1] if request.messages else None
    if last is None or last.role != "user" or not last.text.startswith(GO_ON):
        return request, ()
    return replace(request, messages=request.messages[:-1]), (last,)
