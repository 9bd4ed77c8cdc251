"""Decodes streams: bytes, cut anywhere, into lines, JSON values and server-sent events; joins
deltas into frames.

Bytes are split at line ends before they are decoded, so the result never depends on how the network
cut them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from core.dataclass import dataclass
from core.errors import BadResponse, ProviderError
from core.events import Delta, TextDelta, ThinkingDelta
from core.providers import Endpoint

LINE_COST = 64            # overhead of a buffered line in bytes
MOST_VALUES = 500_000     # approximate limit of values in a JSON document
MOST_TOKENS = 1 << 53     # integers up to here are exact in every JSON parser
_decode = json.JSONDecoder().raw_decode


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """A server-sent event: its name ("message" by default) and its joined data lines."""

    name: str
    data: str


class LineDecoder:
    """Decodes bytes, cut anywhere, into lines without their LF."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self.size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        if b"\n" not in chunk:
            self._held.append(chunk)
            self.size += len(chunk)
            return []
        lines = b"".join((*self._held, chunk)).split(b"\n")
        self._held = [lines.pop()]
        self.size = len(self._held[0])
        return lines

    def close(self) -> bytes:
        """Return the last line, which has no line end."""
        rest = b"".join(self._held)
        self._held, self.size = [], 0
        return rest


class EventDecoder:
    """Decodes bytes, cut anywhere, into server-sent events (WHATWG HTML, section 9.2).

    Line ends may be LF, CRLF or CR.
    """

    def __init__(self) -> None:
        self._lines = LineDecoder()
        self._started = False
        self._after_cr = False
        self._name = ""
        self._data: list[str] = []
        self._size = 0

    @property
    def held(self) -> int:
        """The approximate number of bytes of the unfinished event."""
        return self._lines.size + self._size

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")   # the second half of a CRLF that was cut
            self._after_cr = False
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return [event for line in self._lines.feed(chunk)
                if (event := self._take(line)) is not None]

    def close(self) -> list[ServerEvent]:
        """Return the remaining events at the end of the body."""
        events = (self._take(self._lines.close()), self._take(b""))
        return [event for event in events if event is not None]

    def _take(self, line: bytes) -> ServerEvent | None:
        if not line:
            event = (ServerEvent(self._name or "message", "\n".join(self._data)) if self._data
                     else None)
            self._name, self._data, self._size = "", [], 0
            return event
        if not self._started:
            self._started, line = True, line.removeprefix(b"\xef\xbb\xbf")
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" ").decode("utf-8", "replace"))
            self._size += len(value) + LINE_COST
        elif name == b"event":
            self._name = value.removeprefix(b" ").decode("utf-8", "replace")
        return None


def parse_json(text: bytes | str, endpoint: Endpoint) -> Any:
    """Parse one JSON value of a stream. Raises BadResponse.

    Bytes that are not UTF-8 become U+FFFD instead of ending the stream.
    """
    try:
        return load_json((text if isinstance(text, str) else text.decode("utf-8", "replace"))
                         .removeprefix("\ufeff"))
    except TooMuch as problem:
        raise too_much(endpoint) from problem
    except (ValueError, RecursionError) as problem:
        raise not_the_protocol(endpoint, text) from problem


class TooMuch(Exception):
    """A JSON document with too many values."""


def load_json(text: str) -> Any:
    """Parse one JSON value.

    Raises ValueError, RecursionError or TooMuch: a value of two bytes takes a hundred bytes of
    memory.
    """
    if len(text) > MOST_VALUES and sum(map(text.count, ",[{")) > MOST_VALUES:
        raise TooMuch
    if text[:1] != "{":
        return json.loads(text)
    value, end = _decode(text)     # the same with fewer calls, for each token is one such line
    if text[end:].strip(" \t\n\r"):
        raise json.JSONDecodeError("Extra data", text, end)
    return value


def too_much(endpoint: Endpoint) -> BadResponse:
    """Return the error for too large data: reads are limited, since a server may send without end.
    """
    size = f"over {endpoint.longest / (1 << 20):.3g} MB or {MOST_VALUES:,} values"
    return BadResponse(f"{endpoint.base_url} sent more data at once than {named(endpoint)} would: "
                       f"{size}.",
                       "Check --base-url and --provider.")


def named(endpoint: Endpoint) -> str:
    """Return the kind of server that was expected."""
    name = endpoint.host or "chat"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name} server"


def not_the_protocol(endpoint: Endpoint, content: bytes | str) -> BadResponse:
    start = content[:4000]
    shown = readable(start.decode("utf-8", "replace") if isinstance(start, bytes) else start)[:80]
    return BadResponse(f"{endpoint.base_url} did not respond like {named(endpoint)}: {shown!r}",
                       "Check --base-url and --provider.")


def readable(text: str) -> str:
    """Return the title of an HTML page, or its text without tags.

    Text that is not HTML, or a page without text, stays unchanged.
    """
    text = text.strip()
    if not re.match(r"(<!doctype|<html|<head|<body|<title|<center|<h1)", text, re.IGNORECASE):
        return text
    title = re.search(r"<title[^>]*>\s*(.*?)\s*</title", text, re.IGNORECASE | re.DOTALL)
    words = (title[1] if title and title[1]
             else re.sub(r"<(style|script)\b.*?</\1>|<[^>]*>", " ", text, flags=re.I | re.S))
    return " ".join(words.split()) or text


def plausible_count(value: Any) -> int | None:
    """Return a number of tokens; None for anything that is not a number or is too large to store.
    """
    return value if type(value) is int and 0 <= value < MOST_TOKENS else None


def join_deltas(deltas: Iterable[Delta]) -> Iterator[Delta]:
    """Join consecutive deltas of the same part, so that the deltas of one read are stored and
    painted once.

    When `deltas` raises, the deltas before the error are yielded first.
    """
    held: TextDelta | ThinkingDelta | None = None
    pieces: list[str] = []
    failure: ProviderError | None = None
    try:
        for delta in deltas:
            if (held is not None and type(delta) is type(held) and delta.extra is None
                and delta.part == held.part):
                pieces.append(delta.text)
                continue
            if held is not None:
                yield _joined(held, pieces)
                held = None
            if isinstance(delta, (TextDelta, ThinkingDelta)) and delta.extra is None:
                held, pieces = delta, [delta.text]
            else:
                yield delta
    except ProviderError as problem:
        failure = problem
    if held is not None:
        yield _joined(held, pieces)
    if failure is not None:
        raise failure


def _joined(first: TextDelta | ThinkingDelta, pieces: list[str]) -> TextDelta | ThinkingDelta:
    return first if len(pieces) == 1 else type(first)("".join(pieces), first.part)
