"""Keeps a chat's requests within its model's window, by choosing context and leaving out turns."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Protocol

from core.chat.fitted_request import Count, Fitted, fit_request
from core.config import Settings
from core.config.directories import cache_directory
from core.context.shown import Forms
from core.dataclass import replace
from core.errors import ChatError, ContextTooLong, UsageError
from core.events import Progress
from core.messages import Message, Usage
from core.model_manager import Providers, Target, find_target
from core.models.facts import known_facts, learn
from core.models.fitness import forbidden
from core.models.window import WindowWatch
from core.providers import CanCount, CanTellWindow, Request
from core.running_total import RunningTotal
from core.session_manager import Session
from core.sessions.summary import pinned_places
from core.window.budget import Budget, plan_budget
from core.window.compaction import (COMPACT_AT, Plan, compaction_line, fixed_messages,
                                    plan_compaction)
from core.window.tokens import LearnedFile, TokenEstimator, tool_features

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.context.embedding import Embedder
    from core.context_loader import ContextSet

# tokens that fit the smallest window that servers choose by themselves, with room for the answer
SMALL = 1_400
SHORTER = 0.7     # share of the refused request's size that is tried next
SHORTER_AT_ALL = 0.98
COUNT_FROM = 0.6  # share of the window from which a provider is asked for the exact count


class Earlier(Protocol):
    """A session with only its newest messages loaded (core/sessions/loaded.py)."""

    @property
    def waiting(self) -> int: ...

    def before(self, message: Message) -> tuple[Message, ...]: ...


class Fitter:
    """Fits the requests of one chat; created when something is attached or the conversation grows.

    `doing` describes the current step if it may take long.
    """

    def __init__(self, settings: Settings, providers: Providers, watch: WindowWatch) -> None:
        learned = (LearnedFile(os.path.join(cache_directory(settings.environment), "tokens.json"))
                   if settings.save else None)
        self.settings = settings
        self.estimator = TokenEstimator(learned)
        self.context: ContextSet | None = None
        self.doing = ""
        # the context of the last request whose notices were shown (Fitted.context)
        self.reported: object = None
        self._providers = providers
        self._watch = watch
        self._forms = Forms()
        # windows (tokens) of models that refused a request that seemed to fit
        self._limits: dict[tuple[str, int | None], int] = {}
        self._pins: RunningTotal[tuple[int, tuple[int, ...]]] = RunningTotal((0, ()), _with_pins)
        self._one_by_one = asyncio.Lock()     # only one request uses the context at a time

    def open_context(self, session: Session, *, ask: Callable[[str], Awaitable[bool]] | None,
                     stdin: str,
                     progress: Progress | None) -> ContextSet:
        """The attached sources of the chat, always the same object, now for this session."""
        if self.context is None:
            from core.config.places import protected_places
            from core.context_loader import ContextSet
            self.context = ContextSet(grep=self.settings.context_grep, stdin=stdin,
                                      estimator=self.estimator,
                                      protected=protected_places(self.settings,
                                                                 self.settings.database_url or ""))
        self.context.store, self.context.session = session.store, session.id
        self.context.ask, self.context.progress = ask, progress
        if self.settings.embedding_model:
            self.context.embedder = (self.context.embedder
                                     or self._embedder(self.settings.embedding_model))
            self.context.embedder.store = session.store if self.settings.save else None
        return self.context

    def _embedder(self, name: str) -> Embedder:
        from core.context.embedding import Embedder
        target = find_target(name, self.settings)

        async def embed(texts: Sequence[str]) -> list[list[float]]:
            if not target.model:
                raise UsageError(f"{name} does not name a model.")
            no = forbidden(target, self._providers)
            if no:
                raise UsageError(f"{no}.")
            return await self._providers.embed(target, texts)
        return Embedder(str(target), embed)

    async def fit(self, request: Request, target: Target, earlier: Earlier | None = None) -> Fitted:
        """Fit a request for a model.

        Messages before its first one are loaded from `earlier` as long as there is room for them.
        Raises UsageError if the system prompt and tools alone do not fit.
        """
        async with self._one_by_one:
            return await self._fit(request, target, earlier)

    async def _fit(self, request: Request, target: Target, earlier: Earlier | None) -> Fitted:
        window = await self.window(request, target)
        if earlier is not None:
            request = self._with_earlier(request, window, target, earlier)
        self.doing = ""    # the context reports its own progress
        sees = (not (self._has_images() and self._may_ask(target))
                or (await learn(target, self._providers)).vision is not False)
        return await fit_request(request, window, self.estimator, model=str(target),
                                 context=self.context, vision=sees,
                                 pinned=self._pinned(request),
                                 count=self._counter(request, target, window), forms=self._forms,
                                 waiting=earlier.waiting if earlier is not None else 0)

    def _with_earlier(self, request: Request, window: int | None, target: Target,
                      earlier: Earlier) -> Request:
        """The request with earlier messages, until the window is full; with all of them if the
        window is not known.
        """
        while request.messages and (window is None or self.history(request, target) <= window):
            more = earlier.before(request.messages[0])
            if not more:
                break
            request = replace(request, messages=(*more, *request.messages))
        return request

    async def fit_smaller(self, request: Request, sent: Request, target: Target,
                          error: ContextTooLong,
                          earlier: Earlier | None = None) -> Fitted | None:
        """Fit a request again after the target refused `sent` as too long; None if nothing more can
        be left out.
        """
        waiting = earlier is not None and earlier.waiting
        if not waiting and not self._can_shrink(request):
            return None
        key = (str(target), request.options.num_ctx)
        tokens, before = self.estimator.request(sent, str(target)), self._limits.get(key)
        self._limits[key] = self._smaller(error, tokens, before)
        try:
            fitted = await self.fit(request, target, earlier)
        except UsageError:
            fitted = None
        if fitted is not None and self.estimator.request(fitted.request,
                                                         str(target)) < tokens * SHORTER_AT_ALL:
            return fitted
        if not error.limit:    # the smaller window was only a guess
            self._limits.pop(key)
        return None

    def _pinned(self, request: Request) -> tuple[int, ...]:
        """The indices of the messages that are never left out."""
        return self._pins.of(request.messages)[1]

    def _can_shrink(self, request: Request) -> bool:
        attached = self.context is not None and bool(self.context.sources)
        return (attached or len(fixed_messages(request.messages, self._pinned(request)))
                < len(request.messages) or any(
            message.tool_results for message in request.messages))

    def _smaller(self, error: ContextTooLong, tokens: int, before: int | None) -> int:
        """The window to fit into next, in estimated tokens: the server may count more for the same
        text.
        """
        limit = error.limit or tokens
        if error.limit and error.needed:
            limit = int(limit * min(1.0, tokens / error.needed))
        return limit if before is None or limit < before else int(before * SHORTER)

    def fits(self, request: Request, budget: Budget, target: Target) -> bool:
        """Whether this request, which has grown, still fits the budget's window."""
        return self.estimator.request(request,
                                      str(target)) + budget.reserve + budget.margin <= budget.window

    def _has_images(self) -> bool:
        return self.context is not None and any(item.kind == "image" for item in self.context.items)

    def _counter(self, request: Request, target: Target, window: int | None) -> Count | None:
        """A function that asks the provider for its count; None if it cannot count or the request
        is much smaller than the window.

        A count that fails is ignored.
        """
        if window is None or not self._may_ask(target):
            return None
        try:
            provider = self._providers.open(target.provider)
        except ChatError:
            return None
        if not isinstance(provider, CanCount):
            return None

        async def count(fitted: Request) -> int:
            estimated = self.estimator.request(fitted, str(target))
            if estimated < COUNT_FROM * window:
                return estimated
            try:
                return await provider.count(fitted)
            except ChatError:
                return estimated
        return count

    def _may_ask(self, target: Target) -> bool:
        """Whether the provider may be asked to count or list: with --local-only, only local ones.
        """
        return bool(target.model) and not forbidden(target, self._providers)

    async def window(self, request: Request, target: Target) -> int | None:
        """The window in tokens that the server gives this model; None if it is not known."""
        known = await self._window(request, target)
        limit = self._limits.get((str(target), request.options.num_ctx))
        return min(limit, known or limit) if limit else known

    async def _window(self, request: Request, target: Target) -> int | None:
        if not self._may_ask(target):
            return None
        asked = request.options.num_ctx
        host = self._providers.host(target.provider)
        if not self._providers.lists_running(target.provider) or host.kind == "cloud":
            allocated = await self._allocated(request, target)
            if allocated is not None:
                return allocated
            facts = known_facts(target, self._providers)
            return facts.context_window or (await learn(target, self._providers)).context_window
        found = self._watch.known(target, asked) or asked
        if found is None and self.context is None and self.estimator.request(request,
                                                                             str(target)) < SMALL:
            return None
        found = found or await self._watch.window(target, asked)
        return found or await self._loaded_window(request, target)

    async def _allocated(self, request: Request, target: Target) -> int | None:
        """The window of a model on a provider that sets it itself; None if that cannot be found
        out. Errors are reported by the request itself.
        """
        try:
            provider = self._providers.open(target.provider)
            return await provider.window(request) if isinstance(provider, CanTellWindow) else None
        except ChatError:
            return None

    async def _loaded_window(self, request: Request, target: Target) -> int | None:
        """Load the model, which is about to be used anyway: only then is its window known."""
        self.doing = f"loading {target.model} to find out the size of its window"
        try:
            empty = self._providers.prepared(target,
                                             Request(target.model, (), options=request.options))
            async with aclosing(self._providers.open(target.provider).stream(empty)) as stream:
                async for _ in stream:
                    pass
        except ChatError:
            return None    # reported when the request itself fails
        return await self._watch.window(target, request.options.num_ctx, again=True)

    def learn(self, request: Request, usage: Usage | None, target: str) -> None:
        """Learn from the number of tokens that the server counted."""
        if usage is not None and not usage.cached_tokens:
            self.estimator.learn(request, usage.input_tokens, target)

    # ---- summaries

    def budget(self, request: Request, target: Target, window: int | None) -> Budget:
        """The shares of the window for the current conversation, without context."""
        name = str(target)
        return plan_budget(window, max_tokens=request.options.max_tokens,
                           system=self.estimator.text(request.system or "", name),
                           tools=self.estimator.tokens(tool_features(request.tools), name),
                           history=self.history(request, target))

    def as_sent(self, request: Request) -> Request:
        """The request with all attachments in place, as a provider receives it."""
        return replace(request, messages=self._forms.sent(self._forms.in_force(request.messages)))

    def history(self, request: Request, target: Target) -> int:
        """The tokens of the conversation without attachments."""
        return self.estimator.messages(self._forms.words(request.messages), str(target))

    async def plan(self, request: Request, target: Target, pinned: tuple[int, ...], *,
                   only_if_due: bool) -> Plan | None:
        """The turns that a summary would replace; None if there are none, or (with `only_if_due`)
        no need.
        """
        budget = self.budget(request, target, await self.window(request, target))
        room = budget.for_history
        if only_if_due and budget.history <= room * COMPACT_AT:
            return None

        def count(messages: Sequence[Message]) -> int:
            return self.estimator.messages(messages, str(target))
        share = room if only_if_due else min(room, budget.history)
        return plan_compaction(self._forms.words(request.messages), share, count, pinned=pinned,
                               most=room)

    def compacted(self, plan: Plan, before: Request, after: Request, target: Target) -> str:
        """The notice about the tokens that a summary saved."""
        return compaction_line(plan, self.history(before, target), self.history(after, target))


def _with_pins(found: tuple[int, tuple[int, ...]],
               messages: Sequence[Message]) -> tuple[int, tuple[int, ...]]:
    """(number of messages, indices of pinned ones), with these messages added."""
    count, pinned = found
    added = (count + place for place in pinned_places(messages))
    return count + len(messages), (*pinned, *added)


__all__ = ["Fitter"]
