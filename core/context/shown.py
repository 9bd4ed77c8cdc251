"""Keeps track of the context that a conversation already contains, so that it is not sent again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence

from core.context.form import Piece
from core.context.items import Item
from core.dataclass import replace
from core.errors import ContextError
from core.messages import Attached, Image, Message, Shown, Text
from core.running_total import RunningTotal

MOST_FORMS = 1_000     # messages


class AlreadyShown:
    """The newest text of each item in these messages; `tokens` is their size.

    Call check() first: items that have changed since count as not shown.
    """

    def __init__(self, attached: Sequence[Attached] = (), tokens: int = 0) -> None:
        self.tokens = tokens
        self.changed: dict[str, Shown] = {}      # by name, with the current text
        self._entries: dict[str, Shown] = {}
        for part in attached:
            for entry in part.shown:
                self._add(entry)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def _add(self, entry: Shown) -> None:
        before = self._entries.get(entry.name)
        if before is not None and before.digest == entry.digest:
            entry = replace(entry, spans=joined_spans((*before.spans, *entry.spans)),
                            parts=_joined_parts((*before.parts, *entry.parts)))
        self._entries[entry.name] = entry

    def check(self, items: Iterable[Item], text_of: Callable[[Item], str]) -> None:
        """Compare with the current texts; items that cannot be read count as unchanged."""
        for item in items:
            entry = self._entries.get(item.name)
            if (entry is None or item.kept or item.kind == "image" or entry.stamp
                and stamp_of(item) == entry.stamp):
                continue
            try:
                digest = digest_of(text_of(item))
            except ContextError:      # reported where it is taken
                continue
            if digest != entry.digest:
                now = Shown(item.name, item.origin, digest, stamp_of(item), 0, ())
                self.changed[item.name] = self._entries[item.name] = now

    def has(self, item: Item) -> bool:
        """Whether any part of the item's current text is shown."""
        entry = self._entries.get(item.name)
        return entry is not None and (bool(entry.spans or entry.parts) or item.kind == "image")

    def has_whole(self, item: Item) -> bool:
        entry = self._entries.get(item.name)
        return (self.has(item) and entry is not None
                and (item.kind == "image" or _covers(entry, 1, entry.lines)))

    def covers(self, piece: Piece) -> bool:
        entry = self._entries.get(piece.name)
        return entry is not None and _covers_piece(entry, piece)

    def origins(self) -> set[tuple[str, str]]:
        """The (source, name) of each item."""
        return {(entry.origin, entry.name) for entry in self._entries.values()}

    def mark(self, items: Iterable[Item]) -> None:
        """Mark the items that the model has already received as included."""
        for item in items if self else ():
            if self.has(item):
                item.included = "whole" if self.has_whole(item) else "pieces"


def _covers(entry: Shown, first: int, last: int) -> bool:
    return any(start <= first and last <= end for start, end in entry.spans)


def _covers_piece(entry: Shown, piece: Piece) -> bool:
    if _covers(entry, piece.first, piece.last):
        return True
    whole, parts = _seen(piece)
    return (all(_covers(entry, first, last) for first, last in whole)
            and all(_covers(entry, line, line)
                    or any(other == line and start <= begin and end <= stop
                           for other, start, stop in entry.parts) for line, begin, end in parts))


def _seen(piece: Piece) -> tuple[list[tuple[int, int]], list[tuple[int, int, int]]]:
    """The whole lines of a piece as (first, last), and the parts of lines that are cut."""
    lines = piece.text.split("\n") if piece.before or piece.after else []
    if len(lines) == 1:
        return [], [(piece.first, piece.before, piece.before + len(lines[0]))]
    parts = []
    if piece.before:
        parts.append((piece.first, piece.before, piece.before + len(lines[0])))
    if piece.after:
        parts.append((piece.last, 0, len(lines[-1])))
    first, last = piece.first + bool(piece.before), piece.last - bool(piece.after)
    return [(first, last)] if first <= last else [], parts


def stamp_of(item: Item) -> int:
    """The modification time of an item's file in nanoseconds; 0 if it is not a file."""
    try:
        return os.stat(item.path).st_mtime_ns if item.path else 0
    except OSError:
        return 0


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def joined_spans(spans: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The spans in order, with overlapping and adjacent ones joined."""
    result: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(last, result[-1][1]))
        else:
            result.append((first, last))
    return tuple(result)


def _joined_parts(parts: Iterable[tuple[int, int, int]]) -> tuple[tuple[int, int, int], ...]:
    """The parts of lines in order, with overlapping and adjacent ones joined."""
    result: list[tuple[int, int, int]] = []
    for line, start, end in sorted(parts):
        if result and result[-1][0] == line and start <= result[-1][2]:
            result[-1] = (line, result[-1][1], max(end, result[-1][2]))
        else:
            result.append((line, start, end))
    return tuple(result)


def shown_of(pieces: Sequence[Piece], item: Item, text: str) -> Shown:
    """A record of what these pieces show of an item with this text."""
    lines = max((piece.lines for piece in pieces), default=0)
    seen = [_seen(piece) for piece in pieces]
    return Shown(item.name, item.origin, digest_of(text), item.stamp if item.path else 0, lines,
                 joined_spans(span for whole, _ in seen for span in whole),
                 _joined_parts(part for _, parts in seen for part in parts))


# ---- in messages

def attached_of(message: Message) -> Attached | None:
    first = message.parts[0] if message.parts else None
    return first if isinstance(first, Attached) else None


def without_attached(message: Message) -> Message:
    """The message as the user wrote it, without the material and pictures before its text."""
    if attached_of(message) is None:
        return message
    words = next((place for place, part in enumerate(message.parts) if isinstance(part, Text)),
                 len(message.parts))
    return replace(message, parts=message.parts[words:])


def with_attached(message: Message, attached: Attached, images: Sequence[Image] = ()) -> Message:
    """The message with this material added after any that it already has."""
    before, plain = attached_of(message), without_attached(message)
    if before is not None:
        old = [part for part in message.parts[:len(message.parts) - len(plain.parts)]
               if isinstance(part, Image)]
        attached = Attached(before.text + attached.text, (*before.shown, *attached.shown),
                            before.anew or attached.anew)
        images = (*old, *images)
    return replace(plain, parts=(attached, *images, *plain.parts))


def _as_sent(message: Message) -> Message:
    attached = attached_of(message)
    if attached is None:
        return message
    text = (Text(attached.text),) if attached.text else ()
    return replace(message, parts=(*text, *message.parts[1:]))


def _with_places(found: tuple[int, tuple[int, ...]],
                 messages: Sequence[Message]) -> tuple[int, tuple[int, ...]]:
    """(number of messages, indices of those with material), with these messages added."""
    count, places = found
    added = (count + place for place, message in enumerate(messages)
             if attached_of(message) is not None)
    return count + len(messages), (*places, *added)


class Forms:
    """The forms of messages with material. Each form of a message is always the same object, so
    that others can cache measurements.
    """

    def __init__(self) -> None:
        self._places: RunningTotal[tuple[int, tuple[int, ...]]] = RunningTotal(
            (0, ()), _with_places)
        # by id(); the message is kept, so that its id() stays unique
        self._known: dict[int, tuple[Message, Message, Message]] = {}

    def words(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """The messages as the user wrote them."""
        return self._changed(messages, lambda message: self._of(message)[1])

    def sent(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """The messages as sent to a provider, with material as text."""
        return self._changed(messages, lambda message: self._of(message)[2])

    def in_force(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """The messages without material that a later message replaces."""
        anew = [place for place in self._with_material(messages)
                if (part := attached_of(messages[place])) is not None and part.anew]
        first = anew[-1] if anew else 0
        return (*self.words(messages[:first]), *messages[first:]) if first else tuple(messages)

    def material(self, messages: Sequence[Message]) -> list[Attached]:
        """The material attached to these messages."""
        found = (attached_of(messages[place]) for place in self._with_material(messages))
        return [part for part in found if part is not None]

    def _with_material(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """The indices of the messages with material."""
        return self._places.of(messages)[1]

    def _changed(self, messages: Sequence[Message],
                 form: Callable[[Message], Message]) -> tuple[Message, ...]:
        places = self._with_material(messages)
        if not places:
            return tuple(messages)
        changed = list(messages)
        for place in places:
            changed[place] = form(changed[place])
        return tuple(changed)

    def _of(self, message: Message) -> tuple[Message, Message, Message]:
        if id(message) not in self._known:
            if len(self._known) >= MOST_FORMS:
                self._known.clear()
            self._known[id(message)] = (message, without_attached(message), _as_sent(message))
        return self._known[id(message)]
