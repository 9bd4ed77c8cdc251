"""Paints what happens in a turn as it streams."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from core.chat.conversation import Chat
from core.chat.joining import BROKEN
from core.console.screen import Screen
from core.events import Event, MessageAdded, ModelChanged, Resuming, TextDelta, ThinkingDelta, ToolFinished, ToolRequested, Waiting
from core.messages import Message
from core.model_manager import Providers
from core.rendering.event_words import describe_event, finish_note, sentence
from core.safe_text import safe_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.rendering import MarkdownStream, PlainStream, ThinkingStream


class Painter:
    """Paints the events of one turn, and says so when a reply that has begun falls silent."""

    def __init__(self, screen: Screen, chat: Chat) -> None:
        self._screen = screen
        self._chat = chat
        self._asked = ""      # the model that answers, where it has changed
        self._heard = 0.0     # when the last event came
        self._broken = ""     # the text of a reply that broke off and is being finished
        self._waiting = False
        self._held: dict[str, ToolRequested] = {}      # calls that are shown in a question
        self._text: MarkdownStream | PlainStream | None = None
        self._thinking: ThinkingStream | None = None

    async def paint(self, events: AsyncGenerator[Event, None]) -> Message | None:
        """Consume the events; return the last reply. Whatever ends the turn, what came is on the screen."""
        last: Message | None = None
        silence = asyncio.create_task(self._tell_silence())
        try:
            async with aclosing(events):
                async for event in events:
                    self.show(event)
                    if isinstance(event, MessageAdded) and event.message.role == "assistant":
                        last = event.message
        finally:
            silence.cancel()
            if self._waiting:
                self._screen.write("\r\x1b[K")
            self.end()
        return last

    async def _tell_silence(self) -> None:
        """A line below the reply, every second that nothing comes, from `silence_notice` seconds on."""
        notice = self._screen.silence_notice
        with suppress(OSError):     # the terminal is gone, which the next frame finds out too
            while notice:
                stream = self._text or self._thinking
                silent = time.monotonic() - self._heard
                if stream is not None and silent >= notice:
                    stream.status(self._silence(silent))
                await asyncio.sleep(min(notice, 1.0) if silent >= notice else notice - silent)

    def _silence(self, seconds: float) -> str:
        provider = (self._asked or str(self._chat.target)).partition("/")[0]
        limit = idle_limit(provider, self._chat.providers)
        return f"no text for {seconds:.0f} s; Ctrl-C stops" + (f"; it is cut off after {limit:g} s of silence" if limit else "")

    def show(self, event: Event) -> None:
        self._heard = time.monotonic()
        if self._waiting and not isinstance(event, Waiting):
            self._screen.write("\r\x1b[K")
            self._waiting = False
        match event:
            case Waiting(seconds, what):
                self._wait(seconds, what)
            case Resuming(reason):
                self._screen.note(f"\u2014 {sentence(reason)} The answer goes on from there. \u2014")
            case TextDelta(text=text):
                if self._thinking is not None:
                    self._end_thinking()
                    self._screen.write("\n")
                if self._text is None:
                    self._text = self._screen.reply_stream(self._broken)
                self._text.feed(text)
            case ThinkingDelta(text=text):
                self._end_text()
                self._thinking = self._thinking or self._screen.thinking_stream()
                self._thinking.feed(text)
            case MessageAdded(message):
                self.end()
                self._broken = message.text if message.finish in BROKEN else ""
                if message.role == "assistant" and finish_note(message):
                    self._screen.note(finish_note(message))
            case ToolRequested(call) if self._chat.toolbox is not None and self._chat.toolbox.asks(call):
                self.end()
                self._held[call.id] = event      # the question shows it
            case _:
                self.end()
                if isinstance(event, ToolFinished):
                    self._show_held(event)
                if isinstance(event, ModelChanged):
                    self._asked = event.new
                for line in describe_event(event):
                    self._screen.note(line)

    def _show_held(self, finished: ToolFinished) -> None:
        """A call that needed no question in the end: an answer to another one settled it."""
        held = self._held.pop(finished.result.id, None)
        for line in describe_event(held) if held is not None and not finished.asked else ():
            self._screen.note(line)

    def _wait(self, seconds: float, what: str) -> None:
        """One line that is written over; only where lines can be."""
        if not self._screen.dumb:
            line = f"{what or 'waiting'}, {max(0.0, seconds):.0f} s"[: self._screen.width() - 1]
            self._screen.write(f"\r\x1b[K\x1b[2m{safe_line(line)}\x1b[0m" if self._screen.color else f"\r\x1b[K{safe_line(line)}")
            self._waiting = True

    def end(self) -> None:
        """Close what is open: all of it is shown, and the cursor stands at the start of a line."""
        self._end_thinking()
        self._end_text()

    def _end_thinking(self) -> None:
        if self._thinking is not None:
            stream, self._thinking = self._thinking, None
            stream.finish()

    def _end_text(self) -> None:
        if self._text is not None:
            stream, self._text = self._text, None
            stream.finish()


def idle_limit(provider: str, providers: Providers) -> float:
    """Seconds of silence after which an answer of this provider is cut off; 0 where nobody listens for it."""
    watched = providers.host(provider).server
    return providers.asked(provider).endpoint.idle_timeout if watched else 0.0
