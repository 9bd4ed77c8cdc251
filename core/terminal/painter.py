"""Paints what happens in a turn as it streams."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from core.chat.conversation import Chat
from core.chat.joining import BROKEN
from core.console.screen import Screen
from core.events import (
    Event, MessageAdded, ModelChanged, OthersSaid, Resuming, Retrying, TextDelta, ThinkingDelta,
    ToolFinished, ToolRequested,
    Waiting)
from core.messages import Message, ToolCall
from core.model_manager import Providers
from core.rendering.event_lines import (EventLines, Line, argument_of, clause, finish_note,
                                        notice_line)
from core.rendering.marks import styled
from core.rendering.quantities import duration
from core.rendering.widths import shorten
from core.safe_text import safe_line
from core.terminal.warming import warm_for_reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.rendering.markdown import MarkdownStream
    from core.rendering.plain import PlainStream
    from core.rendering.spoken import SpokenStream
    from core.rendering.thinking import ThinkingStream

TICK = 1.0          # seconds between two updates of a live row
HEARTBEAT = 30.0    # seconds between two mentions of a wait on a plain screen
LEAST_SECONDS = 0.5  # seconds of an answer from which its speed is meaningful
SHOWN_AFTER = 0.5   # seconds after which a running tool gets a live row


class Painter:
    """Paints the events of one turn: the answer, a line for each event, and live rows while
    there is nothing to read.

    In a chat (`in_chat`), the time and tokens of the turn stand at its end,
    and hints name commands.
    """

    def __init__(self, screen: Screen, chat: Chat, *, in_chat: bool = False) -> None:
        self._screen = screen
        self._chat = chat
        self._in_chat = in_chat
        self._summary = (Summary() if in_chat and chat.settings.status and not chat.show_usage
                         else None)
        self._lines = EventLines()
        self._block = ""      # what was shown last: text, a line, or nothing (the head of the turn)
        self._asked = ""      # the model that answers, where it has changed
        self._heard = 0.0     # when the last event arrived
        self._broken = ""     # the text of a reply that broke off and is being finished
        self._retry: Retrying | None = None
        self._began = time.monotonic()
        self._told = 0.0      # seconds of waiting that a plain screen has mentioned
        self._running: dict[str, tuple[ToolCall, float]] = {}
        self._text: MarkdownStream | PlainStream | SpokenStream | None = None
        self._thinking: ThinkingStream | None = None

    async def paint(self, events: AsyncGenerator[Event, None]) -> Message | None:
        """Consume the events; return the last reply. However the turn ends, what arrived is on the
        screen.
        """
        last: Message | None = None
        ticking = asyncio.create_task(self._tick())
        loading = asyncio.create_task(warm_for_reply(self._screen.prepare, self._waits,
                                                     first=not self._in_chat))
        if self._screen.typed is not None:
            self._screen.typed.on_open = self.open_thinking
        try:
            async with aclosing(events):
                async for event in events:
                    self.show(event)
                    if isinstance(event, MessageAdded) and event.message.role == "assistant":
                        last = event.message
            self._finish(last)
        finally:
            ticking.cancel()
            loading.cancel()
            if self._screen.typed is not None:
                self._screen.typed.on_open = None
            self._screen.live(())
            self.end()
            self._running.clear()
            for line in self._lines.unanswered():
                self._line(line)
        return last

    def _waits(self) -> bool:
        return self._text is None and self._thinking is None

    async def _tick(self) -> None:
        """Update the live rows: running tools and, after `silence_notice` seconds, a reply that has
        fallen silent.
        """
        notice = self._screen.silence_notice
        with suppress(OSError):     # the terminal is gone, as the next frame will also find
            while True:
                stream = self._text or self._thinking
                silent = time.monotonic() - self._heard
                if stream is not None and notice and silent >= notice:
                    stream.status(self._silence(silent))
                elif self._running:
                    self._show_running()
                wait = min(notice, TICK) if stream is None or silent >= notice else notice - silent
                await asyncio.sleep(wait if notice else TICK)

    def _silence(self, seconds: float) -> str:
        provider = (self._asked or str(self._chat.target)).partition("/")[0]
        limit = idle_limit(provider, self._chat.providers)
        cut = f"; cut off after {limit:g} s" if limit else ""
        return f"! No text for {seconds:.0f} s. Connection open{cut}.   Ctrl-C stops"

    def show(self, event: Event) -> None:
        self._heard = time.monotonic()
        if self._summary is not None:
            self._summary.note(event)
        match event:
            case Waiting(seconds, what):
                self._wait(seconds, what)
            case Retrying():
                self._show_retry(event)
            case TextDelta(text=text):
                self._end_thinking()
                if self._text is None:
                    self._settle()
                    self._begin("text")
                    self._name_speaker()
                    self._text = self._screen.reply_stream(self._broken)
                self._text.feed(text)
            case ThinkingDelta(text=text):
                self._end_text()
                if self._thinking is None:
                    self._settle()
                    self._begin("line")
                    self._thinking = self._screen.thinking_stream(hints=self._in_chat)
                self._thinking.feed(text)
            case MessageAdded(message):
                self._close(message)
            case OthersSaid():
                from core.terminal.others import show_others
                self.end()
                show_others(self._screen, event)
            case ToolRequested(call):
                self.end()
                self._lines.of(event)
                self._running[call.id] = call, time.monotonic()
            case ToolFinished(result):
                self._running.pop(result.id, None)
                self._show_lines(event)
            case _:
                self._show_lines(event)

    def open_thinking(self) -> None:
        """Ctrl-O: keep the model's thinking on the screen, from its beginning and from now on."""
        self._screen.thinking = "on"
        if self._thinking is not None:
            self._thinking.unfold()

    def _begin(self, block: str) -> None:
        """Separate text from the lines around it; the first lines of a turn follow the question
        directly.
        """
        if block == "text" or self._block == "text":
            self._screen.gap()
        self._block = block

    def _name_speaker(self) -> None:
        """Name the speaker where no mark or style can show it."""
        if self._screen.plain and not self._broken:
            self._screen.write(f"{safe_line(self._asked or self._chat.target.model, 60)}:\n")

    def _show_lines(self, event: Event) -> None:
        self.end()
        if isinstance(event, ModelChanged):
            self._asked = event.new
        if isinstance(event, (ModelChanged, Resuming)):
            self._retry = None
        for line in self._lines.of(event):
            self._line(line)

    def _line(self, line: Line) -> None:
        self._begin("line")
        self._screen.show(line)
        if self._running:
            self._show_running()

    def _close(self, message: Message) -> None:
        self.end()
        self._broken = message.text if message.finish in BROKEN else ""
        if message.role == "tool":
            self._running.clear()
        if message.role == "assistant" and finish_note(message):
            self._line(notice_line(finish_note(message)))

    def _wait(self, seconds: float, what: str) -> None:
        if self._text is None and self._thinking is None and not self._running:
            model = safe_line(self._asked or self._chat.target.model, 60)
            why = f": {what}" if what else ""
            if self._screen.plain and seconds - self._told >= HEARTBEAT:
                self._told = seconds
                self._screen.line(f"Still waiting, {seconds:.0f} s{why}.")
            self._now(f"Waiting for {model}, {max(0.0, seconds):.0f} s{why}")

    def _show_retry(self, event: Retrying) -> None:
        """Count retries on a live row; one line remains when they are over."""
        self.end()
        self._retry = event
        if self._screen.dumb:
            self._show_lines(event)
        else:
            self._now(f"{clause(event.reason)}",
                      f". Attempt {event.attempt} in {event.delay:.0f} s")

    def _now(self, text: str, rest: str = "") -> None:
        """A live row; on a narrow screen its beginning is shortened."""
        room = self._screen.width() - len(rest) - 4
        shown = shorten(safe_line(text), max(room, 8))
        rest = rest.removeprefix(".") if shown.endswith("\u2026") else rest
        row = f"{self._screen.sign('now')} {shown}{rest}"
        self._screen.live([row + styled("   Ctrl-C stops", self._screen.theme.dim)])

    def _settle(self) -> None:
        """Leave one line about the retries that were counted."""
        self._screen.live(())
        retry, self._retry = self._retry, None
        if retry is not None and not self._screen.dumb:
            seconds = time.monotonic() - self._began
            self._line(Line("note", f"Answered on attempt {retry.attempt}, after {seconds:.0f} s: "
                            f"{clause(retry.reason)}."))

    def _show_running(self) -> None:
        """A live row for each slow tool."""
        now = time.monotonic()
        rows = [self._screen.event_rows(
            Line("now", argument_of(call), safe_line(call.name, 100), f"{now - since:.0f} s"))[0]
                for call, since in self._running.values() if now - since >= SHOWN_AFTER]
        self._screen.live(rows)

    def _finish(self, last: Message | None) -> None:
        if self._summary is not None and last is not None:
            self.end()
            words = self._summary.words()
            self._screen.speed = (self._chat.session.id, self._chat.target, self._summary.speed())
            if words:
                self._begin("line")
                self._screen.note(words)

    def end(self) -> None:
        """Finish what is open: show all of it and leave the cursor at the start of a line."""
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


class Summary:
    """Counts the time and tokens of a turn, per model that answered."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._tokens: dict[str, int] = {}
        self._first = self._last = 0.0      # when its text arrived

    def note(self, event: Event) -> None:
        if isinstance(event, (TextDelta, ThinkingDelta)):
            self._last = time.monotonic()
            self._first = self._first or self._last
        if isinstance(event, MessageAdded) and event.message.role == "assistant":
            model, usage = event.message.model or "", event.message.usage
            came = usage.output_tokens if usage is not None else None
            self._tokens[model] = self._tokens.get(model, 0) + (came or 0)

    def speed(self) -> float | None:
        """Tokens a second while text arrived; None if that time was too short, or tokens were not
        counted.
        """
        seconds, total = self._last - self._first, sum(self._tokens.values())
        return total / seconds if seconds >= LEAST_SECONDS and total else None

    def words(self) -> str:
        """Such as "391 tokens, 2.1 s" or "18 tokens of a, 26 of b, 6.0 s"."""
        counted = {model: count for model, count in self._tokens.items() if count}
        total = sum(counted.values())
        parts = [f"{total:,} {'token' if total == 1 else 'tokens'}"] if total else []
        if len(counted) > 1:
            parts = [f"{count:,}{'' if number else ' tokens'} of {safe_line(model, 60)}"
                     for number, (model, count) in enumerate(counted.items())]
        return ", ".join([*parts, duration(time.monotonic() - self._began)])


def idle_limit(provider: str, providers: Providers) -> float:
    """Seconds of silence after which an answer of this provider is cut off; 0 if there is no limit.
    """
    watched = providers.host(provider).server
    return providers.asked(provider).endpoint.idle_timeout if watched else 0.0
