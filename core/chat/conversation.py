"""Chat: the settings, session, models and tools of one conversation, as front ends use them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial

from core.chat.asking import Asking
from core.chat.attaching import Attaching
from core.chat.front import Front
from core.chat.joining import BROKEN
from core.chat.kept import with_kept
from core.chat.tool_turn import chat_with_tools
from core.chat.turn import run_chat_turn
from core.config import Settings
from core.dataclass import replace
from core.errors import ChatError, ProviderError, StoreError, UsageError
from core.events import (
    Event, MessageAdded, Notice, OthersSaid, QuotesChecked, TextDelta, ThinkingDelta)
from core.messages import Message, ToolResult, handle_in, images_in
from core.model_manager import Providers, Target, fallbacks_of, resolve_target
from core.models.fallback import Chain, chain_of, respond_with_fallbacks
from core.models.of_session import replaced_model, session_target
from core.providers.from_settings import options_of
from core.providers import Options, Request
from core.running_total import RunningTotal
from core.session_manager import Session
from core.sessions.transcript import Transcript
from core.stats.turn_numbers import PastCalls, TurnNumbers, measured

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.chat.fitting import Fitter
    from core.models.window import WindowWatch
    from core.stats.usage import TurnMeter
    from core.tool_executor import Toolbox
    from core.window.compaction import Plan

# characters that fit the smallest window that servers choose, with room for the answer
FITS = 2_000
RESUMES = 6   # how often a reply that breaks off is continued within one turn


class Chat(Attaching):
    """One conversation. It is mutable: /model, /system and /new change it between turns."""

    def __init__(self, settings: Settings, session: Session, providers: Providers, target: Target,
                 *, open_session: Callable[[str | None], Session], toolbox: Toolbox | None = None,
                 make_toolbox: Callable[[], Toolbox] | None = None, front: Front | None = None,
                 started: Settings | None = None) -> None:
        self.settings = settings    # including those stored with the session
        self.started = started or settings    # without those
        self.session = session
        self.providers = providers
        providers.past = PastCalls(lambda: self.session.store)
        providers.sent.before = lambda: self.session.settled()
        self.chain = chain_of(settings, providers, target, fallbacks_of(target, settings))
        self.system: str | None = settings.system
        self.options: Options = options_of(settings)
        self.open_session = open_session   # by ID; None for a new one
        self.toolbox = toolbox
        self.make_toolbox = make_toolbox   # for switching tools on in a chat without them
        self.front = front or Front()
        self.news: list[str] = []    # notices to show before the next answer
        self._fitter: Fitter | None = None
        self._window: WindowWatch | None = None
        # the requests of the current or last turn
        self._asking: Asking | None = None
        self.found: list[tuple[str, int]] = []    # what /search found last: session and message
        self.compared: object = None      # what /compare asked last
        self.aside: object = None         # what /aside asked last
        self.unsent: Message | None = None    # waits until another program's turn has ended
        self.show_usage: bool = settings.usage and not settings.json
        self._pictures: RunningTotal[int] = RunningTotal(
            0, lambda total, messages: total + sum(map(images_in, messages)))
        self._transcript = Transcript(settings.dest) if settings.dest else None

    @property
    def target(self) -> Target:
        """The model that the next request goes to: the chosen one or its fallback."""
        return self.chain.first

    @target.setter
    def target(self, target: Target) -> None:
        self.chain.choose(target, fallbacks_of(target, self.settings))

    def known_window(self) -> int | None:
        """The model's window in tokens, if it is known without a request."""
        asked, learned = self.options.num_ctx, self.providers.learned.get(self.target)
        found = self._window.known(self.target, asked) if self._window is not None else None
        return found or asked or (learned.context_window if learned is not None else None)

    def request(self) -> Request:
        """A request with the whole conversation; fitting decides what of it is sent."""
        return Request(self.target.model, tuple(self.session.messages), self.system,
                       self.toolbox.specs if self.toolbox else (), self.options)

    def recent_request(self) -> Request:
        """A request with the messages that are loaded; fitting loads more if there is room."""
        return Request(self.target.model, self.session.recent, self.system,
                       self.toolbox.specs if self.toolbox else (), self.options)

    def turn(self, message: Message) -> AsyncGenerator[Event, None]:
        """Save the user's message, then yield the turn's events, each after it is saved."""
        return self.answer(asked=message)

    async def _add(self, message: Message) -> list[Notice]:
        if not self.target.model:
            await self._resolve()
        async with self.session.ready():
            self.session.set_model(str(self.chain.chosen))
            self.session.add_user(message)
        self.keep_attached()
        return self.write_down(message)

    async def _resolve(self) -> None:
        """Find the model if only the provider was named.

        If the provider does not answer, its fallbacks are asked, if there are any.
        """
        try:
            self.target = await resolve_target(self.target, self.providers)
        except ProviderError:
            if len(self.chain.targets) == 1:
                raise

    async def continue_reply(self) -> AsyncGenerator[Event, None]:
        """Let the model continue its last reply. Raises UsageError if that is complete."""
        last = self.session.recent[-1] if self.session.recent else None
        if last is None or last.role != "assistant" or last.finish not in BROKEN:
            raise UsageError("There is no unfinished reply to continue.")
        async with aclosing(self.answer(last)) as events:
            async for event in events:
                yield event

    @property
    def form(self) -> object:
        """The form that an answer must have, set by the user or the provider's entry; None for
        text.
        """
        if (self.options.response_format is not None
            or not self.providers.entry(self.target.provider)):
            return self.options.response_format
        return self.providers.prepared(self.target,
                                       Request("", (),
                                               options=self.options)).options.response_format

    def answer(self, continued: Message | None = None,
               asked: Message | None = None) -> AsyncGenerator[Event, None]:
        """Let the model answer `asked`, or the conversation as it is, or continue its last reply
        `continued`.
        """
        turn, form = self._answer(continued, asked), self.form
        if form is None:
            return turn
        from core.chat.answer_form import in_form
        return in_form(turn, form, lambda: self.session.messages,
                       lambda message: self._answer(None, message))

    async def _answer(self, continued: Message | None,
                      asked: Message | None) -> AsyncGenerator[Event, None]:
        self.unsent = asked
        try:
            async with aclosing(self.session.begin_turn()) as notices:
                async for notice in notices:
                    yield notice
                    if asked is None and isinstance(notice, OthersSaid):
                        raise UsageError("Another program has just written to this conversation; "
                                         "nothing was sent.",
                                         "Read what it wrote, then try again.")
            self.unsent = None
            await self.bring_back()
            self.chain.rank()
            saved = await self._add(asked) if asked is not None else ()
            for notice in [*saved, *map(Notice, self.take_news()), *await self._learn()]:
                yield notice
            if (self.settings.auto_compact and continued is None
                and self.may_not_fit(self.recent_request())):
                async with aclosing(self._compact_if_due()) as events:
                    async for event in events:
                        yield event
            meter = self._meter()
            self._asking = self.asking(self.chain)
            self._asking.keep_question, self._asking.earlier = (self.session.keep_question,
                                                                self.session)
            turn = self._run_turn(self._asking, continued)
            numbers = TurnNumbers(self.target, self.chain, self.providers, prepared=True)
            self._asking.note_sent = numbers.note_sent
            recorded = measured(self.session.record(turn, str(self.target)), numbers, self.session)
            async with aclosing(recorded) as events:
                async for event in events:
                    yield event
                    if meter is not None:
                        meter.note(event)
                    if isinstance(event, MessageAdded):
                        for notice in [*self.write_down(event.message),
                                       *await self._look_at_window(event.message)]:
                            yield notice
                        checked = await self._check_quotes(event.message)
                        if checked is not None:
                            yield checked
            if self.providers.mask is not None and (hidden := self.providers.mask.news()):
                yield Notice(hidden)
            if meter is not None and meter.line():
                yield Notice(meter.line())
        finally:
            self.session.end_turn()

    def take_news(self) -> list[str]:
        """Return the notices that were not shown yet, and clear them."""
        news, self.news = self.news, []
        return news

    def asking(self, chain: Chain) -> Asking:
        """The requests of one turn, which are made to fit and sent to this chain of models."""
        return Asking(chain, self.may_not_fit, lambda: self.fitter, self.front.progress)

    def may_not_fit(self, request: Request) -> bool:
        """Whether a request must be fitted; a short conversation without context need not be."""
        if self._fitter is not None:
            return True
        return _characters(request) > min(FITS, (self.options.num_ctx or FITS) // 2)

    async def _compact_if_due(self) -> AsyncGenerator[Event, None]:
        """Summarise the oldest turns if they take too much room; if that fails, they are not sent.
        """
        try:
            plan = await self.fitter.plan(self.request(), self.target, self.session.pinned,
                                          only_if_due=True)
            if plan is not None:
                async with aclosing(self._summarise(plan)) as events:
                    async for event in events:
                        if not isinstance(event, (TextDelta, ThinkingDelta)):
                            yield event
        except ChatError as error:
            yield Notice(f"The conversation could not be summarised: {error.message}")

    async def compact(self) -> AsyncGenerator[Event, None]:
        """Let the model summarise the oldest turns, and replace them by the summary.

        If it is stopped, nothing changes. Raises UsageError if there is nothing to summarise.
        """
        try:
            async with aclosing(self.session.begin_turn()) as notices:
                async for notice in notices:
                    yield notice
            plan = await self.fitter.plan(self.request(), self.target, self.session.pinned,
                                          only_if_due=False)
            if plan is None:
                raise UsageError("There is nothing to summarise yet: the last exchange and pinned "
                                 "messages are always kept.")
            async with aclosing(self._summarise(plan)) as events:
                async for event in events:
                    yield event
        finally:
            self.session.end_turn()

    async def _summarise(self, plan: Plan) -> AsyncGenerator[Event, None]:
        from core.chat.summarising import Summary
        before, target = self.request(), self.target
        yield Notice(f"Summarising the oldest {len(plan.hidden)} of {len(before.messages)} "
                     "messages ...")
        summary = Summary(partial(respond_with_fallbacks, self.chain), plan, before, str(target))
        async with aclosing(summary.ask()) as events:
            async for event in events:
                yield event
        assert summary.message is not None
        self.session.compact(plan, summary.message)
        yield Notice(self.fitter.compacted(plan, before, self.request(), target))

    def _run_turn(self, asking: Asking, continued: Message | None) -> AsyncGenerator[Event, None]:
        request = self.recent_request()
        if continued is not None:
            request = replace(request, kept=handle_in(continued))
        rounds, resumes = self.settings.tool_rounds, RESUMES if self.settings.resume else 0
        ends = self.settings.stop_repetition
        if not self.toolbox:
            return run_chat_turn(asking.respond, request, None, model=str(self.target),
                                 rounds=rounds, resumes=resumes, continued=continued,
                                 stop_repetition=ends)
        self.toolbox.approve = self.front.approve
        if self.toolbox.context.session != self.session.id:
            self.toolbox.begin_session(self.session.id, private=bool(self.settings.context))
        attached = self._fitter.context if self._fitter is not None else None
        self.toolbox.private = (self.toolbox.private or attached is not None
                                and bool(attached.sources))
        self.toolbox.note_messages(self.session.messages)
        return chat_with_tools(asking.respond, request, self.toolbox, model=str(self.target),
                               rounds=rounds, resumes=resumes, continued=continued,
                               stop_repetition=ends)

    def _meter(self) -> TurnMeter | None:
        """A meter of tokens and prices if the user wants to see them; it loads the price table."""
        if not self.show_usage:
            return None
        from core.stats.usage import TurnMeter
        return TurnMeter(self.providers)

    async def _learn(self) -> list[Notice]:
        """Warn before images go to a model without vision: some servers silently drop them."""
        if not self._pictures.of(self.session.recent):
            return []
        from core.chat.seeing import sight_notices
        return await sight_notices(self.request(), self.target, self.providers)

    async def _look_at_window(self, message: Message) -> list[Notice]:
        """Warn if the server cut the prompt of this reply."""
        if message.role != "assistant":
            return []
        if self._fitter is not None and self._asking is not None and self._asking.sent is not None:
            request = self._asking.sent
        else:
            request = replace(self.recent_request(), messages=self.session.recent[:-1])
        cut = await self.window.check(request, message)
        if self._fitter is not None and not cut:
            self._fitter.learn(request, message.usage, str(self.target))
        return [Notice(cut)] if cut else []

    async def _check_quotes(self, message: Message) -> QuotesChecked | None:
        """Check the answer's quotations, if something is attached and the user wants that."""
        attached = self._fitter.context if self._fitter is not None else None
        if attached is None or not attached.sources or not self.settings.check_quotes:
            return None
        from core.chat.quoting import check_quotes
        return await check_quotes(attached, message)

    def write_down(self, message: Message) -> list[Notice]:
        """Add a message to the transcript.

        A transcript that fails is reported once and not used again: the session has everything.
        """
        try:
            if self._transcript:
                self._transcript.add(message)
        except StoreError as error:
            self._transcript = None
            return [Notice(error.message)]
        return []

    def set_system(self, text: str | None) -> None:
        """Set the system prompt, from the next answer on, and store it with the session."""
        self.system = text
        self.settings = self.settings.replace(system=text or "")

    def enter(self, session: Session) -> list[str]:
        """Continue another session with its system prompt and options; return notices."""
        self.session = session
        self.settings, said = with_kept(self.started, session.settings)
        self.system, self.options = self.settings.system, options_of(self.settings)
        return said

    def use_model_of(self, session: Session) -> list[str]:
        """Choose the model that a session was held with; return a notice if its provider is gone.
        """
        kept = session_target(session.model, self.settings) if session.model else self.target
        self.target = kept or self.target
        return [] if kept else [replaced_model(session.model, self.target)]

    def set_options(self, **changes: object) -> None:
        """Set options of the model, from the next answer on, and store them with the session."""
        self.settings = self.settings.replace(**changes)
        # checked by the dataclass's own fields
        self.options = replace(self.options, **changes)  # type: ignore[arg-type]

    async def close(self) -> None:
        if self.toolbox:
            await self.toolbox.close()
        await self.chain.close()
        await self.providers.close()


def _characters(request: Request) -> int:
    total = len(request.system or "")
    for message in request.messages:
        for part in message.parts:
            text = part.content if isinstance(part, ToolResult) else str(getattr(part, "text", ""))
            total += len(text) if text.isascii() else 3 * len(text)
    return total
