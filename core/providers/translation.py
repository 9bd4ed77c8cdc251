"""The base of translators of streamed JSON events: order of deltas, end of a reply, errors inside
it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from core.errors import BadResponse, ProviderError, StreamBroken
from core.events import Answering, Delta, Finished, Reading, TextDelta, ThinkingDelta, ToolCallDelta
from core.messages import Usage
from core.providers import Endpoint
from core.providers.answering import is_another, name_in
from core.providers.error_body import sentences
from core.providers.errors_http import classify_payload
from core.providers.finish import UNREAD
from core.providers.foreign import size_of
from core.providers.http.decoder import (LINE_COST, MOST_TOKENS, EventDecoder, ServerEvent,
                                         join_deltas, not_the_protocol, parse_json, plausible_count,
                                         too_much)
from core.providers.http.http1 import Response
from core.providers.http.transport import ContentClock, lines_of, read_chunks
from core.regex import regex

T = TypeVar("T")
DONE = object()   # stands for the event with the data [DONE], which is not JSON
SIGNS_OF_LIFE = frozenset({"ping", "heartbeat", "keepalive", "keep-alive"})     # names of events
Reads = Callable[[ContentClock], AsyncGenerator[bytes, None]]     # the body, read with this clock
_FIELD = regex(rb"(data|event|id|retry)?:|(data|event|id|retry)?\r?$")   # a line of an event stream


class Words(str):
    """The data of an event that is not JSON."""


class Translation:
    """Translates one reply: a dialect's JSON events in, deltas out. Usage is sent once per read,
    Finished last.

    A dialect overrides take(), which sets `usage`, `finish` and, when nothing can follow, `done`.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.usage: Usage | None = None
        self.finish: Finished | None = None
        self.done = False
        self.failure: ProviderError | None = None
        self.unread = False     # whether a part of the reply had a shape that could not be read
        # an event that was not JSON; it matters only if nothing else follows
        self.words: Words | None = None
        # the last event if the dialect does not define it; it matters if the reply ends there
        self.foreign: dict[str, Any] | None = None
        self.asked = ""  # the requested model; "" if the responding model is not checked
        self._begun = False
        self._reported: Usage | None = None

    def over(self) -> bool:
        """Whether the reply is complete: its end or an error was read."""
        return self.done or self.finish is not None or self.failure is not None

    def take(self, payload: dict[str, Any]) -> Iterator[Delta]:
        """Translate one event. Raise a ProviderError for one that reports an error."""
        raise NotImplementedError

    def is_own(self, payload: Mapping[str, Any]) -> bool:
        """Return whether the dialect defines such an event. Another one may be an error."""
        raise NotImplementedError

    def inner(self, value: Any, kind: type[T]) -> T:
        """Return the value, or an empty one if it is not of this kind.

        What it holds is lost then, so the reply does not count as complete.
        """
        if isinstance(value, kind):
            return value
        self.unread = self.unread or bool(value)
        return kind()

    def words_in(self, value: Any) -> str:
        """Return the text of a field: some servers send digits as a number, or typed pieces."""
        match value:
            case str():
                return value
            case int() | float() if not isinstance(value, bool):
                return json.dumps(value)
            case {"text": str(text)}:
                return text
            case list():
                return "".join(map(self.words_in, value))
        return self.inner(value, str)

    def number_in(self, value: Any, otherwise: int) -> int:
        """Return the number of a part; a value that is not a number stands for the usual one."""
        known = value == 0 and not isinstance(value, bool) or size_of(value)
        return int(value) if known else otherwise

    def end_marker(self) -> Iterator[Delta]:
        """Handle `[DONE]`. It is not reliable, so most dialects ignore it."""
        return iter(())

    def rest(self) -> Iterator[Delta]:
        """Yield text that was held back, at the end of a complete or broken reply."""
        return iter(())

    def deltas(self, payloads: Iterable[Any]) -> Iterator[Delta]:
        """Translate the events of one read.

        An error ends it and is stored in `failure`, so that earlier content is not lost.
        """
        try:
            for payload in payloads:
                yield from self._named(payload)
                for delta in self._one(payload):
                    _check(delta)
                    self._begun = True
                    yield delta
        except ProviderError as error:
            self._fail(error)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as problem:
            self._fail(self._unknown_shape(f": {problem!r:.80}"))
        if self.usage is not None and self.usage != self._reported:
            self._reported = self.usage
            yield _counted(self.usage)

    def _named(self, payload: Any) -> Iterator[Answering]:
        """Report once, before the content, that another model than requested is responding."""
        name = name_in(payload) if self.asked and isinstance(payload, dict) else ""
        if not name:
            return
        if not self._begun and is_another(self.asked, name):
            yield Answering(name)
        self.asked = ""

    def _one(self, payload: Any) -> Iterator[Delta]:
        if payload is DONE:
            return self.end_marker()
        if isinstance(payload, Words):
            self.words = self.words or payload
        if not isinstance(payload, dict):
            return iter(())
        if _is_error(payload):
            raise classify_payload(self.endpoint, payload)
        own = self.is_own(payload)
        if own or sentences(payload):
            self.foreign = None if own else payload
        return self.take(payload)

    def close(self) -> None:
        """Set `failure` if the reply ended without its end, after an event that says why."""
        if self.finish is not None or self.failure is not None:
            return
        if self.foreign is not None:
            self._fail(classify_payload(self.endpoint, self.foreign))
        elif self.unread:
            self._fail(self._unknown_shape())

    def _unknown_shape(self, detail: str = ".") -> BadResponse:
        who = self.endpoint.host or self.endpoint.base_url
        return BadResponse(f"{who} sent an event of an unknown shape{detail}")

    def _fail(self, error: ProviderError) -> None:
        self.failure = (StreamBroken(error.message, error.hint, cause=error) if self._begun
                        else error)


def _is_error(payload: Mapping[str, Any]) -> bool:
    return bool(payload.get("error") or "error" in (payload.get("type"), payload.get("object")))


def _check(delta: Delta) -> None:
    """Raise TypeError if text is not text or a number not a number, before other code relies on it.
    """
    match delta:
        case TextDelta(str(), int()) | ThinkingDelta(str(), int()) | Reading():
            return
        case ToolCallDelta(int(), str(), str(), str()):
            return
    raise TypeError(f"{delta!r:.60}")


def _counted(usage: Usage) -> Usage:
    given, came, cached = map(plausible_count,
                              (usage.input_tokens, usage.output_tokens, usage.cached_tokens))
    details = {name: value for name, value in (usage.details or {}).items()
               if not isinstance(value, (int, float)) or abs(value) < MOST_TOKENS}
    return Usage(given, came, cached, details or None)


def read_reply(response: Response, translation: Translation,
               asked: str = "") -> AsyncGenerator[Delta, None]:
    def reads(clock: ContentClock) -> AsyncGenerator[bytes, None]:
        return read_chunks(response, translation.endpoint, clock)
    return read_deltas(reads, translation, asked)


async def read_deltas(reads: Reads, translation: Translation,
                      asked: str = "") -> AsyncGenerator[Delta, None]:
    """Yield the deltas of an answer: server-sent events, one JSON document, or an array of events.

    An answer with a finish reason is complete even if the connection then breaks or falls silent.
    `asked` is the model in the request; if another one responds, that is the first delta.
    """
    translation.asked = asked
    broken: StreamBroken | None = None
    until: float | None = None
    try:
        async with aclosing(_payloads(reads, translation.endpoint)) as batches:
            while (payloads := await _next_read(batches, until)) is not None:
                for delta in join_deltas(translation.deltas(payloads)):
                    yield delta
                if translation.failure is not None or translation.done:
                    break
                if translation.finish is not None and until is None:
                    until = time.monotonic() + translation.endpoint.linger
    except StreamBroken as problem:
        broken = problem
    for delta in join_deltas(translation.rest()):
        yield delta
    translation.close()
    if translation.failure is not None:
        raise translation.failure
    if translation.finish is None and translation.words and broken is None:
        raise not_the_protocol(translation.endpoint, translation.words)
    if translation.finish is None:
        raise broken or StreamBroken("The answer ended without its end marker.")
    if translation.unread and translation.finish.reason in ("stop", "tool_calls"):
        yield Finished("incomplete", UNREAD)
    else:
        yield Finished(translation.finish.reason, str(translation.finish.detail))


async def _next_read(reads: AsyncGenerator[Iterator[Any], None],
                     until: float | None) -> Iterator[Any] | None:
    """Return the next read; None at the end, or if nothing arrives before the time `until`."""
    try:
        async with asyncio.timeout(None if until is None else max(0.0, until - time.monotonic())):
            return await anext(reads)
    except (StopAsyncIteration, TimeoutError):
        return None


async def _payloads(reads: Reads, endpoint: Endpoint) -> AsyncGenerator[Iterator[Any], None]:
    """Yield the JSON events of each read.

    A body that is not an event stream is parsed as one JSON document at its end: an answer that was
    not streamed, Gemini's array, or an error.
    """
    decoder, clock = EventDecoder(), ContentClock(endpoint)
    other: list[bytes] = []
    seen, held = False, 0
    async with aclosing(lines_of(reads(clock), endpoint)) as batches:
        async for lines in batches:
            if not lines:
                decoder = EventDecoder()     # a new connection repeats the cut event
            foreign = [line for line in lines if not _FIELD.match(line)]
            events = decoder.feed(b"".join(line + b"\n" for line in lines))
            if foreign or any(map(_is_content, events)):
                clock.reset()
            other += foreign
            held += sum(map(len, foreign)) + len(foreign) * LINE_COST
            seen = seen or bool(events)
            yield _events(events, endpoint)
            if held + decoder.held > endpoint.longest:
                raise too_much(endpoint)
    yield _last_event(decoder.close(), endpoint)
    yield _document(b"\n".join(other), endpoint, alone=not seen)


def _is_content(event: ServerEvent) -> bool:
    """Return whether an event can have content: one without data, or with a bare word, is a sign of
    life.
    """
    return event.name not in SIGNS_OF_LIFE and _is_json(event)


def _is_json(event: ServerEvent) -> bool:
    return event.data.lstrip()[:1] in ("{", "[")


def _events(events: Iterable[ServerEvent], endpoint: Endpoint) -> Iterator[Any]:
    for event in events:
        data = event.data.strip()
        if data == "[DONE]":
            yield DONE
        elif _is_json(event):
            yield from _objects(parse_json(data, endpoint), event.name)
        elif event.name == "error":
            yield {"error": {"message": data or "an error without a message"}}
        elif data and event.name not in SIGNS_OF_LIFE:
            yield Words(data)


def _last_event(events: Iterable[ServerEvent], endpoint: Endpoint) -> Iterator[Any]:
    """Yield a last event without a blank line after it, if it is complete."""
    with suppress(BadResponse):
        yield from _events(events, endpoint)


def _document(text: bytes, endpoint: Endpoint, *, alone: bool) -> Iterator[Any]:
    """Parse a document. If there are events too, text that is not JSON is ignored; without events
    it is an error.
    """
    if text.strip() and (alone or text.lstrip().startswith((b"{", b"["))):
        yield from _objects(parse_json(text, endpoint), "")


def _objects(document: Any, name: str) -> Iterator[Any]:
    """Yield the document, or the entries of a list. The event's name says that one is an error."""
    for entry in document if isinstance(document, list) else [document]:
        is_error = name == "error" and isinstance(entry, dict) and not _is_error(entry)
        yield ({"error": entry} if is_error else Words(entry) if isinstance(entry, str) and entry
               else entry)
