"""A chat as a front end drives it: settings, session, models and tools together, one method for one turn."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace

from core.config import Settings
from core.errors import StoreError
from core.events import Event, MessageAdded, ModelChanged, Notice
from core.messages import Message
from core.model_manager import (Providers, Target, build_model_list, options_from_args, resolve_target, respond_with_fallbacks,
                                retry_config_from_args)
from core.providers import Options, Request
from core.session_manager import Session
from core.tool_executor import Toolbox
from core.transcript import Transcript
from core.turn import Respond, Response, run_chat_turn

# Asks the person something and returns the words of the answer; None when there is nobody to ask.
Ask = Callable[[str], Awaitable[str]]


class Chat:
    """Mutable on purpose: this is what /model, /system and /new change between turns."""

    def __init__(self, settings: Settings, session: Session, providers: Providers, target: Target, *,
                 open_session: Callable[[str | None], Session], toolbox: Toolbox | None = None, ask: Ask | None = None) -> None:
        self.settings = settings
        self.session = session
        self.providers = providers
        self.target = target
        self.fallbacks = tuple(build_model_list(settings)[1:])
        self.system: str | None = settings.system
        self.options: Options = options_from_args(settings)
        self.open_session = open_session   # by ID; None for a new one
        self.toolbox = toolbox
        self.ask = ask
        self._transcript = Transcript(settings.dest) if settings.dest else None

    def request(self) -> Request:
        """What is sent next: the whole conversation."""
        return Request(self.target.model, tuple(self.session.messages), self.system,
                       self.toolbox.specs if self.toolbox else (), self.options)

    async def turn(self, message: Message) -> AsyncGenerator[Event, None]:
        """Save the person's message, then yield what happens; each event is saved before it is yielded."""
        if self.target.model == "":
            self.target = await resolve_target(self.target, self.providers)
        self.session.set_model(str(self.target))
        self.session.add_user(message)
        for notice in self._write_down(message):
            yield notice
        async with aclosing(self.answer()) as events:
            async for event in events:
                yield event

    async def answer(self) -> AsyncGenerator[Event, None]:
        """Let the model answer the conversation as it stands."""
        if self.toolbox:
            self.toolbox.begin_turn()
        run_tool = self.toolbox.execute_tool_call if self.toolbox else None
        turn = run_chat_turn(self._respond(), self.request(), run_tool, model=str(self.target), rounds=self.settings.tool_rounds)
        async with aclosing(self.session.record(turn)) as events:
            async for event in events:
                if isinstance(event, ModelChanged):
                    self._follow(event)
                yield event
                if isinstance(event, MessageAdded):
                    for notice in self._write_down(event.message):
                        yield notice

    def _write_down(self, message: Message) -> list[Notice]:
        """Add to the transcript. A transcript that fails is told once and given up: the session has everything."""
        try:
            if self._transcript:
                self._transcript.add(message)
        except StoreError as error:
            self._transcript = None
            return [Notice(error.message)]
        return []

    def _respond(self) -> Respond:
        config = retry_config_from_args(self.settings)

        def respond(request: Request) -> AsyncGenerator[Response, None]:
            return respond_with_fallbacks((self.target, *self.fallbacks), self.providers, request, config)
        return respond

    def _follow(self, event: ModelChanged) -> None:
        """Stay on the model that took over, so that the next turn asks it first."""
        for number, target in enumerate(self.fallbacks):
            if str(target) == event.new:
                others = (self.target, *self.fallbacks[:number], *self.fallbacks[number + 1:])
                self.target, self.fallbacks = target, others

    def set_options(self, **changes: object) -> None:
        self.options = replace(self.options, **changes)  # type: ignore[arg-type]  # checked by the dataclass's own fields

    async def close(self) -> None:
        await self.providers.close()
