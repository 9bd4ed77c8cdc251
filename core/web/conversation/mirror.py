"""Shows a turn of another program on the page while it is being written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from core.events import TextDelta, ThinkingDelta
from core.messages import Message
from core.store.rows import OpenReply
from core.web.conversation.events import (PageEvent, TurnEvents, message_end, result_event,
                                          tool_event)

QUIET_SECONDS = 1.5  # seconds without news after which the other program is checked


class Mirror:
    """The part of another program's turn that was shown: the streaming reply and the number of its
    frames.
    """

    def __init__(self) -> None:
        self.reply, self.seen = 0, 0
        self._shown = TurnEvents()
        self._text = self._thinking = ""    # the shown part of the streaming reply
        self._news = time.monotonic()

    @property
    def is_quiet(self) -> bool:
        return time.monotonic() - self._news > QUIET_SECONDS

    def follow(self, reply: OpenReply) -> Iterator[PageEvent]:
        """Yield the events of new frames."""
        if reply.id != self.reply:
            self._begin(reply.id)
        for chunk in reply.chunks:
            self.seen += 1
            self._news = time.monotonic()
            yield from (self._show_text(chunk.text) if chunk.kind == "text"
                        else self._show_thinking(chunk.text))

    def add(self, messages: Sequence[Message]) -> Iterator[PageEvent]:
        """Yield the events of messages that are now complete, without the parts already shown."""
        self._news = time.monotonic()
        for message in messages:
            if message.role == "assistant":
                yield from self._show_thinking(message.thinking.removeprefix(self._thinking))
                yield from self._show_text(message.text.removeprefix(self._text))
                yield from self._shown.end()
                yield from map(tool_event, message.tool_calls)
                yield from message_end(message)
            elif message.role == "tool":
                yield from map(result_event, message.tool_results)
            self._begin(0)

    def _begin(self, reply: int) -> None:
        self.reply, self.seen, self._text, self._thinking = reply, 0, "", ""

    def _show_text(self, text: str) -> Iterator[PageEvent]:
        self._text += text
        return self._shown.show(TextDelta(text))

    def _show_thinking(self, text: str) -> Iterator[PageEvent]:
        self._thinking += text
        return self._shown.show(ThinkingDelta(text))

    def end(self) -> Iterator[PageEvent]:
        return self._shown.end()


def is_over(message: Message) -> bool:
    """Return whether a turn ends with this message."""
    return message.role == "assistant" and not message.tool_calls
