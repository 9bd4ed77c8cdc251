"""Shows what other programs write to the session: above the prompt as they write, and in a turn
that waited for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from core.chat.conversation import Chat
from core.chat.joining import BROKEN
from core.console.screen import Screen
from core.errors import ChatError
from core.events import OthersSaid
from core.rendering.widths import text_width
from core.terminal.replay import INCOMPLETE, show_last_exchange, show_messages

if TYPE_CHECKING:
    from prompt_toolkit.application import Application

    from core.terminal.keyboard import Keyboard

LOOK_SECONDS = 0.5      # seconds between two looks while the user types or thinks
Show = Callable[[], None]


def show_others(screen: Screen, others: OthersSaid) -> None:
    """Show the added messages, or the end of a conversation that changed. Of a reply that is partly
    on the screen, only the rest is shown.
    """
    messages, begun = others.messages, screen.begun_reply
    screen.begun_reply = ""
    if begun and messages and not others.changed and messages[0].text.startswith(begun):
        show_piece(screen, begun, messages[0].text[len(begun):])
        screen.gap()
        if messages[0].finish in BROKEN:
            screen.say("warning", INCOMPLETE)
        messages = messages[1:]
        if messages:
            show_messages(screen, messages)
            screen.gap()
        return
    screen.gap()
    screen.note(others.text)
    if messages:
        (show_last_exchange if others.changed else show_messages)(screen, messages)
    screen.gap()


def show_piece(screen: Screen, before: str, text: str) -> None:
    """A part of a reply of which `before` is already on the screen: the stream keeps them apart.
    """
    if not before:
        screen.gap()
    stream = screen.reply_stream(before)
    stream.feed(text)
    stream.finish()


def show_new(chat: Chat, screen: Screen) -> None:
    """Show what was written since the last look."""
    with suppress(ChatError):     # a failing store is reported when something must be saved
        others = chat.session.look()
        if others is not None:
            show_others(screen, others)


class Following:
    """The reply that another program is writing to the session, as far as it was read."""

    def __init__(self, chat: Chat, screen: Screen) -> None:
        self._chat, self._screen = chat, screen
        self._reply = self._seen = 0        # which reply, and how many of its frames are in `_text`
        self._text = ""
        self._beat = -1
        self.tail = ""      # its part that is not on the screen yet: the paragraph being written

    def news(self) -> Show | None:
        """A function that shows what is new; None if nothing is. Raises StoreError."""
        session = self._chat.session
        others = session.look()
        if others is not None:
            self._reply, self._text, self.tail = 0, "", ""
            return partial(show_others, self._screen, others)
        if session.store is None or self._beat == (beat := session.store.pulse()):
            return None
        self._beat = beat
        reply = session.store.open_reply(session.id, self._reply, self._seen)
        if reply is None:
            self.tail = ""
            return None
        if reply.id != self._reply:
            self._reply, self._seen, self._text = reply.id, 0, ""
        self._seen += len(reply.chunks)
        self._text += "".join(chunk.text for chunk in reply.chunks if chunk.kind == "text")
        return self._show_paragraphs()

    def _show_paragraphs(self) -> Show | None:
        begun = self._screen.begun_reply
        if not self._text.startswith(begun):    # it was on the screen above another reply
            begun = self._screen.begun_reply = ""
        end = paragraphs_end(self._text)
        self.tail = self._text[max(end, len(begun)):]
        if end <= len(begun) or not self._text[len(begun):end].strip():
            return None
        self._screen.begun_reply = self._text[:end]
        return partial(show_piece, self._screen, begun, self._text[len(begun):end])


def paragraphs_end(text: str) -> int:
    """Where the last complete paragraph ends; a block of code is complete with its closing fence.
    """
    end = text.rfind("\n\n") + 2
    while end > 1:
        fences = [line for line in text[:end].split("\n")
                  if line.lstrip().startswith(("```", "~~~"))]
        if len(fences) % 2 == 0:
            return end
        end = text.rfind("\n\n", 0, end - 2) + 2
    return 0


def newest(text: str, cells: int) -> str:
    """The last words of a text that fit on one row."""
    words = text.split()
    kept: list[str] = []
    used = 0
    while words and used + text_width(words[-1]) + 1 <= cells:
        kept.append(words.pop())
        used += text_width(kept[-1]) + 1
    return " ".join(reversed(kept))


async def watch(following: Following, app: Application[str], keyboard: Keyboard) -> None:
    """Show what others write above the prompt of `app`, which keeps what was typed, but not while
    an editor has the terminal.
    """
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if app.output.responds_to_cpr:
            await app.renderer.wait_for_cpr_responses()     # they tell where the prompt is
        with suppress(ChatError):
            tail = following.tail
            show = None if keyboard.handed_over else following.news()
            if show is not None:
                _show_above(app, show)
            elif tail != following.tail:
                app.invalidate()


def _show_above(app: Application[str], show: Show) -> None:
    """Show something above the prompt while keys are still read.

    prompt_toolkit's run_in_terminal would leave the keys to the terminal meanwhile, which makes a
    new line of Enter, so that the message would not be sent.
    """
    app.renderer.erase()
    try:
        show()
    finally:
        app.renderer.reset()
        app.renderer.request_absolute_cursor_position()
        app.invalidate()
