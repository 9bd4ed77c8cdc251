"""A chat as a front end drives it: settings, session, models and tools together, one method for one turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace

from core.config import Settings
from core.errors import ProviderError, StoreError, UsageError
from core.events import Event, MessageAdded, Notice, Waiting
from core.fallback import chain_of
from core.joining import BROKEN
from core.messages import Image, Message
from core.model_manager import Providers, Target, fallbacks_of, options_from_args, resolve_target
from core.providers import Options, Request
from core.session_manager import Session
from core.stats import TurnNumbers, measured
from core.transcript import Transcript
from core.turn import Respond, run_chat_turn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.comparison import Comparison
    from core.tool_executor import Approve, Toolbox
    from core.usage_report import TurnMeter
    from core.window import WindowWatch

RESUMES = 6   # how often a reply that breaks off is asked to go on, within one turn

# Asks the person something and returns the words of the answer; None when there is nobody to ask.
Ask = Callable[[str], Awaitable[str]]


class Chat:
    """Mutable on purpose: this is what /model, /system and /new change between turns."""

    def __init__(self, settings: Settings, session: Session, providers: Providers, target: Target, *,
                 open_session: Callable[[str | None], Session], toolbox: Toolbox | None = None, ask: Ask | None = None,
                 make_toolbox: Callable[[], Toolbox] | None = None) -> None:
        self.settings = settings
        self.session = session
        self.providers = providers
        self.chain = chain_of(settings, providers, target, fallbacks_of(target, settings))
        self.system: str | None = settings.system
        self.options: Options = options_from_args(settings)
        self.open_session = open_session   # by ID; None for a new one
        self.toolbox = toolbox
        self.make_toolbox = make_toolbox   # for who switches tools on in a chat without them
        self.approve: Approve | None = None   # how a front end asks whether a tool may run; None: nobody can be asked
        self.ask = ask
        self._window: WindowWatch | None = None
        self.compared: Comparison | None = None   # by /compare, until the next one
        self.show_usage: bool = settings.usage and not settings.json
        self._transcript = Transcript(settings.dest) if settings.dest else None

    @property
    def target(self) -> Target:
        """The model that is asked first: the one that was chosen, or that took over."""
        return self.chain.first

    @target.setter
    def target(self, target: Target) -> None:
        self.chain.choose(target, fallbacks_of(target, self.settings))

    @property
    def window(self) -> WindowWatch:
        """What knows the model's window; loaded when the first answer is there."""
        if self._window is None:
            from core.window import WindowWatch
            self._window = WindowWatch(self.providers)
        return self._window

    def request(self) -> Request:
        """What is sent next: the whole conversation."""
        return Request(self.target.model, tuple(self.session.messages), self.system,
                       self.toolbox.specs if self.toolbox else (), self.options)

    async def turn(self, message: Message) -> AsyncGenerator[Event, None]:
        """Save the person's message, then yield what happens; each event is saved before it is yielded."""
        if not self.target.model:
            await self._resolve()
        self.session.set_model(str(self.target))
        self.session.add_user(message)
        for notice in self.write_down(message):
            yield notice
        async with aclosing(self.answer()) as events:
            async for event in events:
                yield event

    async def _resolve(self) -> None:
        """Find the model where only the provider was named. One that does not answer is left to its fallbacks, if it has any."""
        try:
            self.target = await resolve_target(self.target, self.providers)
        except ProviderError:
            if len(self.chain.targets) == 1:
                raise

    async def go_on(self) -> AsyncGenerator[Event, None]:
        """Let the model finish its last reply, which is not whole. Raises UsageError when there is none."""
        last = self.session.messages[-1] if self.session.messages else None
        if last is None or last.role != "assistant" or last.finish not in BROKEN:
            raise UsageError("There is no unfinished reply to go on with.")
        async with aclosing(self.answer(last)) as events:
            async for event in events:
                yield event

    async def answer(self, continued: Message | None = None) -> AsyncGenerator[Event, None]:
        """Let the model answer the conversation as it stands, or finish the reply `continued` at its end."""
        for notice in await self._learn():
            yield notice
        meter = self._meter()
        turn = self._run_turn(continued)
        numbers = TurnNumbers(self.target, self.chain, self.providers)
        recorded = measured(self.session.record(turn), numbers, self.session)
        async with aclosing(recorded) as events:
            async for event in events:
                yield event
                if meter is not None:
                    meter.note(event)
                if isinstance(event, MessageAdded):
                    for notice in [*self.write_down(event.message), *await self._look_at_window(event.message)]:
                        yield notice
        if meter is not None and meter.line():
            yield Notice(meter.line())

    def _run_turn(self, continued: Message | None) -> AsyncGenerator[Event, None]:
        rounds, resumes = self.settings.tool_rounds, RESUMES if self.settings.resume else 0
        if not self.toolbox:
            return run_chat_turn(self.chain.respond, self.request(), None, model=str(self.target), rounds=rounds, resumes=resumes,
                                 continued=continued)
        self.toolbox.approve = self.approve
        if self.toolbox.context.session != self.session.id:
            self.toolbox.begin_session(self.session.id, private=bool(self.settings.context))
        return chat_with_tools(self.chain.respond, self.request(), self.toolbox, model=str(self.target), rounds=rounds,
                               resumes=resumes, continued=continued)

    def _meter(self) -> TurnMeter | None:
        """What counts tokens and prices, if the person wants to see them: it reads a table of prices."""
        if not self.show_usage:
            return None
        from core.usage_report import TurnMeter
        return TurnMeter(self.providers)

    async def _learn(self) -> list[Notice]:
        """Before images are sent, know whether the model sees them: some servers drop them without a word."""
        images = sum(isinstance(part, Image) for message in self.session.messages for part in message.parts)
        if not images or self.target in self.providers.learned:
            return []
        from core.model_facts import learn
        from core.parameters import told
        facts = await learn(self.target, self.providers)
        return [Notice(told(self.request(), "vision"))] if facts.vision is False else []

    async def _look_at_window(self, message: Message) -> list[Notice]:
        """Whether the model saw all that this reply answers."""
        if message.role != "assistant":
            return []
        request = self.request()
        cut = await self.window.check(replace(request, messages=request.messages[:-1]), message)
        return [Notice(cut)] if cut else []

    def write_down(self, message: Message) -> list[Notice]:
        """Add to the transcript. A transcript that fails is told once and given up: the session has everything."""
        try:
            if self._transcript:
                self._transcript.add(message)
        except StoreError as error:
            self._transcript = None
            return [Notice(error.message)]
        return []

    def set_options(self, **changes: object) -> None:
        self.options = replace(self.options, **changes)  # type: ignore[arg-type]  # checked by the dataclass's own fields

    async def close(self) -> None:
        if self.toolbox:
            await self.toolbox.close()
        await self.providers.close()


async def chat_with_tools(respond: Respond, request: Request, toolbox: Toolbox, *, model: str, rounds: int = 16, resumes: int = 0,
                          continued: Message | None = None) -> AsyncGenerator[Event, None]:
    """A turn in which the model may call what is in the toolbox; the rest is as in run_chat_turn."""
    from core.context.form import OPENING
    toolbox.begin_turn()
    toolbox.note_messages(request.messages)
    toolbox.private = toolbox.private or any(OPENING in message.text for message in request.messages)
    preparing = asyncio.ensure_future(toolbox.prepare())
    try:
        started = time.monotonic()
        while not (await asyncio.wait({preparing}, timeout=1.0))[0]:
            yield Waiting(time.monotonic() - started, "waiting for the MCP servers")
        for text in preparing.result():
            yield Notice(text)
    finally:
        preparing.cancel()
    request = replace(request, tools=toolbox.specs)
    async with aclosing(run_chat_turn(respond, request, toolbox.execute_tool_call, model=model, rounds=rounds, resumes=resumes,
                                      continued=continued)) as events:
        async for event in events:
            yield event
