"""Converts live and stored events of a conversation into page events."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from core.chat.conversation import Chat
from core.chat.joining import BROKEN
from core.context.shown import without_attached
from core.errors import ChatError, ModelNotFound
from core.events import (Event, MessageAdded, ModelChanged, Notice, QuotesChecked, Resuming,
                         Retrying, TextDelta, ThinkingDelta, ToolFinished, ToolRequested, Waiting,
                         is_refusal, usage_dict)
from core.messages import Image, Message, Text, Thinking, ToolCall, ToolResult, Usage
from core.model_manager import can_fetch
from core.regex import regex
from core.rendering.event_lines import notice_line
from core.rendering.page import PageStream

PageEvent = dict[str, Any]
BROKE_OFF = "The reply was cut off here."
LEFT_OUT = regex(r"\b(?:was|were) left out\b")
FINISHES = {
    "length": "The reply stopped at its length limit.",
    "content_filter": "The provider's filter stopped the reply.",
    "refusal": "The model refused to answer.",
}


class TurnEvents:
    """Converts the events of one turn into page events.

    `show` converts one event, `end` closes open elements.
    """

    def __init__(self) -> None:
        self._text: PageStream | None = None
        self._thinking_since: float | None = None

    def show(self, event: Event) -> Iterator[PageEvent]:
        match event:
            case TextDelta(text=text, extra=extra) if is_refusal(extra):
                yield {"type": "notice", "level": "warn", "text": text}
            case TextDelta(text=text):
                if text:
                    yield from self._end_thinking()
                    yield from self._add_text(text)
            case ThinkingDelta(text=text):
                if text:
                    yield from self._end_text()
                    self._thinking_since = self._thinking_since or time.monotonic()
                    yield {"type": "thinking", "text": text}
            case _:
                yield from self._other(event)

    def _other(self, event: Event) -> Iterator[PageEvent]:
        match event:
            case Waiting(seconds, what):
                yield {"type": "waiting", "seconds": round(seconds), "text": what}
                return
            case Usage():
                yield {"type": "usage", **usage_dict(event)}
                return
        yield from self.end()
        match event:
            case ToolRequested(call):
                yield tool_event(call)
            case ToolFinished(result, seconds):
                yield {**result_event(result), "seconds": round(seconds, 2)}
            case Retrying(attempt, delay, reason):
                yield {"type": "retry", "attempt": attempt, "delay": round(delay, 1),
                       "text": reason}
            case ModelChanged(old, new, reason):
                yield {"type": "seam", "text": reason, "from": old, "model": new}
            case Resuming(reason):
                yield {"type": "seam", "text": reason}
            case Notice(text):
                yield {"type": "notice", "level": level_of(text), "text": text}
            case QuotesChecked(count, found, line=line):
                yield {"type": "notice", "level": "info" if found == count else "warn",
                       "text": line}
            case MessageAdded(message):
                if message.role == "assistant":
                    yield from message_end(message)

    def end(self) -> Iterator[PageEvent]:
        yield from self._end_thinking()
        yield from self._end_text()

    def _add_text(self, text: str) -> Iterator[PageEvent]:
        if self._text is None:
            self._text = PageStream()
            yield {"type": "text_start"}
        operations = self._text.feed(text)
        yield {"type": "text", "raw": text, "ops": operations}

    def _end_text(self) -> Iterator[PageEvent]:
        if self._text is not None:
            operations = self._text.finish()
            self._text = None
            yield {"type": "text_end", "ops": operations}

    def _end_thinking(self) -> Iterator[PageEvent]:
        if self._thinking_since is not None:
            seconds = time.monotonic() - self._thinking_since
            self._thinking_since = None
            yield {"type": "thinking_end", "seconds": round(seconds, 1)}


def stored_events(messages: Sequence[Message], first: int = 0,
                  files: Mapping[int, Sequence[str]] = MappingProxyType({}),
                  versions: Mapping[int, PageEvent] = MappingProxyType({})) -> Iterator[PageEvent]:
    """Yield the page events of stored messages; `first` is the place of the first one in the
    session.

    `files` and `versions` map places to uploaded file names and to alternative versions.
    """
    before: Message | None = None
    for place, message in enumerate(messages, first):
        if message.role == "user":
            event = user_event(message, place)
            event |= {"files": list(files[place])} if place in files else {}
            yield event | ({"versions": versions[place]} if place in versions else {})
        elif message.role == "assistant":
            if before is None or before.role == "user":
                yield ({"type": "reply", "place": place}
                       | ({"versions": versions[place]} if place in versions else {}))
            elif before.role == "assistant" and before.finish in BROKEN:
                yield {"type": "seam", "text": BROKE_OFF, "model": message.model}
            yield from _stored_reply(message)
        elif message.role == "tool":
            yield from map(result_event, message.tool_results)
        before = message if message.role in ("user", "assistant", "tool") else before


def user_event(message: Message, place: int, key: str = "") -> PageEvent:
    images = [{"media": part.media_type, "data": part.data, "name": part.name}
              for part in without_attached(message).parts if isinstance(part, Image)]
    event: PageEvent = {"type": "user", "place": place, "text": message.text, "images": images}
    return event | ({"key": key} if key else {})


def _stored_reply(message: Message) -> Iterator[PageEvent]:
    for part in message.parts:
        match part:
            case Thinking(text) if text:
                yield {"type": "thinking", "text": text}
                yield {"type": "thinking_end"}
            case Text(text, extra) if text and is_refusal(extra):
                yield {"type": "notice", "level": "warn", "text": text}
            case Text(text) if text:
                stream = PageStream()
                operations = [*stream.feed(text), *stream.finish()]
                yield {"type": "text_start"}
                yield {"type": "text_end", "raw": text, "ops": operations}
            case ToolCall():
                yield tool_event(part)
    yield from message_end(message)


def message_end(message: Message) -> Iterator[PageEvent]:
    usage: Mapping[str, Any] = usage_dict(message.usage) if message.usage else {}
    yield {"type": "message_end", "finish": message.finish, "model": message.model,
           "usage": dict(usage)}
    if message.finish in FINISHES:
        yield {"type": "notice", "level": "warn", "text": FINISHES[message.finish]}


def level_of(text: str) -> str:
    """Return how much attention a notice needs: "note" for what was attached, "warn" for what is
    not as the user asked, else "info".
    """
    kind = notice_line(text).kind
    if kind in ("warning", "error") or LEFT_OUT.search(text) and kind != "added":
        return "warn"
    return "note" if kind == "added" else "info"


def tool_event(call: ToolCall) -> PageEvent:
    arguments: Any = dict(call.arguments) if call.invalid is None else call.invalid
    return {"type": "tool", "id": call.id, "name": call.name, "arguments": arguments}


def result_event(result: ToolResult) -> PageEvent:
    return {"type": "tool_result", "id": result.id, "text": result.content,
            "state": "denied" if result.declined else "failed" if result.is_error else "done"}


def error_event(error: ChatError, chat: Chat | None = None) -> PageEvent:
    """Return an error; with the chat whose turn failed, also the missing model that the page can
    offer to download.
    """
    event: PageEvent = {"kind": error.kind, "message": error.message, "hint": error.hint}
    if (chat is not None and isinstance(error, ModelNotFound) and not chat.settings.team
        and can_fetch(chat.target, chat.providers)):
        event["pull"] = str(chat.target)
    return event
