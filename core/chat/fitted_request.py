"""Fits one request into a window: inserts the context and leaves out the oldest turns if needed.

Context that was sent with earlier questions stays in place, byte for byte, so that prompt caches
hit; additional context for a question is inserted just before its text. If there is no room for
that, all context is chosen again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence

from core.context.shown import AlreadyShown, Forms, with_attached
from core.context.prepared import NOTHING, Prepared
from core.dataclass import dataclass, replace
from core.messages import Message
from core.providers import Request
from core.window.budget import Budget, plan_budget
from core.window.compaction import fixed_messages, shorten_results, trim_history
from core.window.tokens import TokenEstimator, tool_features

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.context_loader import ContextSet

# tokens of context that a later question gets at least, unless a quarter of the first question's
# room is less
LATER_ROOM = 4_096
DROPPED = "What was attached earlier is not sent: it does not fit the model's window any more."
Count = Callable[[Request], Awaitable[int]]       # asks the provider how many tokens a request has


@dataclass(frozen=True, slots=True)
class Fitted:
    """A request that fits the model's window. `notices` say what is included and what is not.

    `left_out` are the indices of messages that are not sent. `shortened` is the number of
    characters of tool results that are not sent. `context` contains the names of sources that are
    included, included completely, and left out. `question` is the user's last message with its new
    attachments, to be stored; None if nothing was attached. `line` is the notice about the context.
    """

    request: Request
    budget: Budget
    notices: tuple[str, ...] = ()
    left_out: tuple[int, ...] = ()
    shortened: int = 0
    context: tuple[tuple[str, ...], ...] = ()
    question: Message | None = None
    line: str = ""


async def fit_request(request: Request, window: int | None, estimator: TokenEstimator, *,
                      model: str = "", context: ContextSet | None = None, vision: bool = True,
                      pinned: Collection[int] = (), count: Count | None = None,
                      forms: Forms | None = None, waiting: int = 0) -> Fitted:
    """Insert the context and leave out the oldest turns if needed; none if `window` is None.

    `count` asks the provider for the exact number of tokens. It is called once; if the request is
    still too large, it is fitted again with the corrected estimate. `forms` are those of earlier
    requests. `waiting` is the number of earlier messages that were not loaded because the others
    fill the window. Raises UsageError if the system prompt and tools alone are too large.
    """
    fitting = _Fitting(request, window, estimator, model or request.model, context,
                       forms or Forms(), vision=vision,
                       pinned=pinned, waiting=waiting)
    fitted = await fitting.fit()
    if count is None:
        return fitted
    counted = await count(fitted.request)
    estimator.learn(fitted.request, counted, model or request.model)
    if window is None or counted + fitted.budget.reserve <= window:
        return fitted
    return await fitting.fit()


@dataclass(frozen=True, slots=True)
class _Placed:
    """The messages with the context in place, `tokens` of it in all; `question` as in Fitted."""

    messages: tuple[Message, ...]
    tokens: int
    prepared: Prepared = NOTHING
    question: Message | None = None
    notices: tuple[str, ...] = ()


class _Fitting:
    """The process of fitting one request."""

    def __init__(self, request: Request, window: int | None, estimator: TokenEstimator, name: str,
                 context: ContextSet | None,
                 forms: Forms, *, vision: bool, pinned: Collection[int], waiting: int) -> None:
        self._request, self._window, self._estimator, self._name = request, window, estimator, name
        self._context, self._vision, self._pinned, self._waiting = context, vision, pinned, waiting
        self._forms, self._words = forms, forms.words(request.messages)

    def _count(self, messages: Sequence[Message]) -> int:
        """The tokens of these messages without attachments."""
        return self._estimator.messages(self._forms.words(messages), self._name)

    def _budget(self) -> Budget:
        request, estimator, name = self._request, self._estimator, self._name
        return plan_budget(self._window, max_tokens=request.options.max_tokens,
                           system=estimator.text(request.system or "", name),
                           tools=estimator.tokens(tool_features(request.tools), name),
                           history=self._count(self._words),
                           fixed=self._count(fixed_messages(self._words, self._pinned)))

    async def fit(self) -> Fitted:
        budget = self._budget()
        placed = await self._place(budget)
        budget, prepared = budget.with_context(placed.tokens), placed.prepared
        trimmed = trim_history(placed.messages, budget.for_history, self._count,
                               pinned=self._pinned,
                               waiting=self._waiting)
        kept = shorten_results(trimmed.messages, budget.for_history, self._count)
        notices = [text for text in (prepared.line, *prepared.notes, *placed.notices,
                                     trimmed.notice, kept.notice) if text]
        return Fitted(replace(self._request, messages=self._forms.sent(kept.messages)),
                      replace(budget, history=self._count(kept.messages)), tuple(notices),
                      trimmed.left_out, kept.characters,
                      (prepared.included, prepared.whole, prepared.left_out), placed.question,
                      prepared.line)

    async def _place(self, budget: Budget) -> _Placed:
        """Choose the context and insert it into the messages."""
        messages = self._forms.in_force(self._request.messages)
        parts = self._forms.material(messages)
        used = self._estimator.messages(messages, self._name) - budget.history
        shown, left = AlreadyShown(parts, used), budget.for_history - budget.history - used
        if self._context is None:
            return (_Placed(messages, used) if left >= 0 or not parts
                    else _Placed(self._words, 0, notices=(DROPPED,)))
        if not self._context.sources:
            return _Placed(self._words, 0)
        changes = tuple(self._context.check(shown))
        # after a change, short context is chosen again rather than sent twice
        stays = not changes or used > LATER_ROOM
        if shown and stays and self._context.holds(shown.origins()):
            least = min(budget.for_context // 4, LATER_ROOM)
            room = max(budget.for_context - used, least, left // 2)
            prepared = await self._prepare(budget, room, shown)
            if prepared.tokens <= left:
                return replace(self._placed(messages, used, prepared), notices=changes)
        prepared = await self._prepare(budget, budget.for_context, AlreadyShown())
        return replace(self._placed(self._words, 0, prepared, anew=bool(parts)), notices=changes)

    async def _prepare(self, budget: Budget, room: int, shown: AlreadyShown) -> Prepared:
        assert self._context is not None
        questions = [message.text for message in self._words if message.role == "user"] or [""]
        return await self._context.prepare(questions[-1], budget, model=self._name,
                                           vision=self._vision,
                                           has_tools=bool(self._request.tools),
                                           earlier=questions[:-1], shown=shown, room=room)

    def _placed(self, messages: tuple[Message, ...], used: int, prepared: Prepared, *,
                anew: bool = False) -> _Placed:
        if not prepared and not anew:
            return _Placed(messages, used, prepared)
        attached = replace(prepared.attached, anew=anew)
        place = max((place for place, message in enumerate(messages) if message.role == "user"),
                    default=None)
        if place is None:
            alone = with_attached(Message("user", ()), attached, prepared.images)
            return _Placed((alone, *messages), used + prepared.tokens, prepared)
        question = with_attached(messages[place], attached, prepared.images)
        return _Placed((*messages[:place], question, *messages[place + 1:]), used + prepared.tokens,
                       prepared, question)
