"""Splits a sent request into parts: role, sources and size in bytes."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from core.dataclass import dataclass
from core.regex import regex

PICTURE = 256         # a text without spaces of at least this length is image data

# The dialects' names of the same fields.
_MESSAGES = ("messages", "input", "contents")
_SYSTEM = ("system", "instructions", "systemInstruction", "system_instruction")
_SOURCE = regex(r'<(source-[0-9a-f]{6}) (\w+)="([^"\n]*)"([^>\n]*)>\n.*?\n</\1>', re.DOTALL)
_DATA = regex(r"(data:[\w/+.-]+;base64,)?[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a request: its kind, its size on the wire in bytes, and its text (empty for an
    image).
    """

    name: str
    size: int
    text: str


def parts_of(body: bytes) -> list[Part]:
    """Return the parts of a request in order; their sizes add up to the size of the body."""
    try:
        value = json.loads(body) if body else {}
    except ValueError:
        value = None
    if not isinstance(value, dict):
        return [Part("other", len(body), body.decode("utf-8", "replace"))]
    found = list(_merged(_top(value)))
    rest = len(body) - sum(part.size for part in found)
    if rest < 0:     # serialized differently because of lone surrogates
        return [Part("everything", len(body), body.decode("utf-8", "replace"))]
    return [*found, Part("names and punctuation", rest, "")] if rest else found


def _top(body: Mapping[str, Any]) -> Iterator[Part]:
    options: list[str] = []
    for name, value in body.items():
        if name in _SYSTEM:
            yield from _content("system prompt", value)
        elif name in _MESSAGES and isinstance(value, list):
            yield from _messages(value)
        elif name == "tools" and isinstance(value, list):
            yield Part(f"definitions of tools ({len(value)})", _size(value), json.dumps(value))
        elif name != "prompt":
            options.append(name)
        else:
            yield from _content("prompt", value)
    for name in options:
        yield Part("options", _size(body[name]), json.dumps(body[name]))


def _messages(messages: list[Any]) -> Iterator[Part]:
    counts: Counter[str] = Counter()
    for message in messages:
        if not isinstance(message, dict):
            yield from _content("text", message)
            continue
        kind = _kind(message)
        counts[kind] += 1
        name = kind if kind == "system prompt" else f"{kind} {counts[kind]}"
        for key, value in message.items():
            if key != "role":
                yield from _content(name, value)


def _kind(message: Mapping[str, Any]) -> str:
    """Return the kind of a message; tool results have their own role or are in the user's message.
    """
    role, kind = str(message.get("role") or ""), str(message.get("type") or "")
    text = json.dumps(message.get("content", message.get("parts", "")))
    if role in ("tool", "function") or "output" in kind or '"tool_result"' in text \
            or '"functionResponse"' in text:
        return "result of a tool"
    if role in ("system", "developer"):
        return "system prompt"
    if role in ("assistant", "model") or kind in ("function_call", "reasoning"):
        return "answer"
    return "question"


def _content(name: str, value: Any) -> Iterator[Part]:
    """Yield the text in a value; attached sources and images are separate parts."""
    match value:
        case str():
            yield from _words(name, value)
        case list():
            for each in value:
                yield from _content(name, each)
        case dict():
            for each in value.values():
                yield from _content(name, each)
        case None:
            pass
        case _:
            yield Part(name, _size(value), json.dumps(value))


def _words(name: str, text: str) -> Iterator[Part]:
    if len(text) >= PICTURE and _DATA.fullmatch(text):
        yield Part(f"picture in {name}", _size(text) - 2, "")
        return
    place = 0
    for found in _SOURCE.finditer(text):
        yield Part(name, _size(text[place:found.start()]) - 2, text[place:found.start()])
        lines = re.search(r'lines="([^"]*)"', found[4])
        where = f", lines {lines[1]}" if lines else ""
        yield Part(f"{found[2]} {found[3]}{where}", _size(found[0]) - 2, found[0])
        place = found.end()
    yield Part(name, _size(text[place:]) - 2, text[place:])


def _merged(parts: Iterator[Part]) -> Iterator[Part]:
    """Merge adjacent parts of the same name, and drop empty ones."""
    held: Part | None = None
    for part in parts:
        if not part.size:
            continue
        if held is not None and held.name == part.name:
            held = Part(held.name, held.size + part.size, held.text + part.text)
            continue
        if held is not None:
            yield held
        held = part
    if held is not None:
        yield held


def _size(value: Any) -> int:
    """Return the size on the wire: requests are serialized in ASCII, without spaces."""
    return len(json.dumps(value, separators=(",", ":")))
