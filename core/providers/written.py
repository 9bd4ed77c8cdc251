"""Serializes requests; messages that earlier requests of the conversation contained are serialized
once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import is_
from typing import Any

from core.dataclass import dataclass
from core.messages import Message
from core.regex import regex
from core.safe_text import without_surrogates

LONG = 32         # shorter conversations are serialized directly
REMEMBERED = 2    # conversations kept: the current one and one beside it
OPEN_TURNS = 2    # messages at the end: their entries may still change, and get prompt cache marks
_NUL = regex(r"(?<!\\)((?:\\\\)*)\\u0000")     # not after an escaped backslash

Entry = dict[str, Any]
# Converts messages to a dialect's entries. Gets the entries before them, and whether they end the
# conversation.
Convert = Callable[[Sequence[Message], Sequence[Entry], bool], Iterable[Entry]]


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first messages of a conversation as they were sent; `key` as for entries()."""

    key: object
    messages: tuple[Message, ...]
    entries: list[Entry]
    json: bytes

    def begins(self, messages: tuple[Message, ...], key: object) -> bool:
        return self.key == key and messages[:len(self.messages)] == self.messages


NOTHING = Beginning(None, (), [], b"")


class Written(list[Entry]):
    """The entries of a request; those of a beginning, after the `first`, are serialized already.

    Entries can be inserted, removed and replaced, but not modified in place.
    """

    def __init__(self, entries: Iterable[Entry], beginning: Beginning = NOTHING,
                 first: int = 0) -> None:
        super().__init__(entries)
        self._beginning, self._first = beginning, first

    def after(self, *entries: Entry) -> Written:
        """Return these entries followed by the own ones."""
        return Written([*entries, *self], self._beginning, self._first + len(entries))

    def as_json(self) -> Iterator[bytes]:
        """Yield the JSON in pieces, since joining them costs more than the rest of a long request.
        """
        mark = b"["
        for part in filter(None, self._parts()):
            yield mark
            yield part
            mark = b","
        yield b"]" if mark == b"," else b"[]"

    def _parts(self) -> tuple[bytes, ...]:
        known, start = self._beginning.entries, self._first
        end = start + len(known)
        if len(self) >= end and all(map(is_, self[start:end], known)):
            return _inside(self[:start]), self._beginning.json, _inside(self[end:])
        return (_inside(self),)


class Beginnings:
    """The beginnings of the conversations with one provider."""

    def __init__(self) -> None:
        self._known: list[Beginning] = []

    def entries(self, messages: Sequence[Message], convert: Convert, key: object = None) -> Written:
        """Return the messages converted by `convert`, which is called only once for a settled
        message.

        `key` is anything else that the entries depend on. Messages are compared by identity first.
        """
        given = tuple(messages)
        settled = settled_messages(given) if len(given) >= LONG else 0
        known = self._longest(given[:settled], key)
        if known is None or len(known.messages) < settled:
            known = self._longer(known, given[:settled], convert, key)
        rest = convert(given[settled:], known.entries, True)
        return Written([*known.entries, *rest], known)

    def _longest(self, messages: tuple[Message, ...], key: object) -> Beginning | None:
        return max((known for known in self._known if known.begins(messages, key)),
                   key=lambda known: len(known.messages), default=None)

    def _longer(self, known: Beginning | None, messages: tuple[Message, ...], convert: Convert,
                key: object) -> Beginning:
        before = known or NOTHING
        added = list(convert(messages[len(before.messages):], before.entries, False))
        made = Beginning(key, messages, [*before.entries, *added],
                         b",".join(filter(None, (before.json, _inside(added)))))
        if messages:
            others = [other for other in self._known if other is not known]
            self._known = [*others[1 - REMEMBERED:], made]
        return made


def settled_messages(messages: Sequence[Message]) -> int:
    """Count the messages before the last turns, up to a boundary where a user message follows a
    reply, so that no entry spans it.
    """
    turns = 0
    for place in range(len(messages) - 1, 0, -1):
        if messages[place].role != "user":
            continue
        turns += 1
        before = messages[place - 1]
        if (turns >= OPEN_TURNS and before.role == "assistant" and not before.tool_calls
            and before.text.strip() and messages[place].text.strip()):
            return place
    return 0


def as_json(body: Any) -> bytes:
    """Serialize as ASCII JSON.

    Lone surrogates and NUL become U+FFFD, since a strict server would reject the conversation.
    """
    if not isinstance(body, dict) or not any(isinstance(each, Written) for each in body.values()):
        return _as_json(body)
    return b"".join(_fields(body))


def _fields(body: Mapping[str, Any]) -> Iterator[bytes]:
    mark = b"{"
    for name, value in body.items():
        yield mark + _as_json(name) + b":"
        yield from value.as_json() if isinstance(value, Written) else (_as_json(value),)
        mark = b","
    yield b"}"


def _inside(entries: list[Entry]) -> bytes:
    return _as_json(entries)[1:-1]


def _as_json(value: Any) -> bytes:
    content = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    if "\\ud" in content:
        content = without_surrogates(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    if "\\u0000" in content:
        content = _NUL.sub(r"\1\\ufffd", content)
    return content.encode()
