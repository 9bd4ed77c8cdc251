"""A snapshot of a conversation, any part of which can be read, loaded or not."""

from __future__ import annotations

from core.dataclass import dataclass
from core.messages import Message
from db import Store

Entry = tuple[int, Message]


@dataclass(frozen=True, slots=True)
class Moment:
    """The loaded messages, and how many are stored before them.

    A place is the index of a message in the complete conversation, from 0.
    """

    waiting: int
    ids: tuple[int, ...]
    messages: tuple[Message, ...]
    source: tuple[Store, str] | None = None     # the store, and the session in it

    @property
    def count(self) -> int:
        return self.waiting + len(self.ids)

    def part(self, first: int, end: int) -> list[Entry]:
        """Return the identities and messages from place `first` up to `end`, including those that
        can be read only partly. Raises StoreError.
        """
        return [*self._stored(first, min(end, self.waiting)), *self._loaded(first, end)]

    def turn_start(self, place: int, step: int = 20) -> int:
        """Return the place at or before this one where a turn begins. Raises StoreError."""
        while place > 0:
            first = max(0, place - step)
            entries = self.part(first, place + 1)
            asked = [number for number, (_, message) in enumerate(entries, first)
                     if message.role == "user"]
            if asked:
                return asked[-1]
            place = first
        return 0

    def turn_end(self, place: int, step: int = 20) -> int:
        """Return the place after this one where the next turn begins. Raises StoreError."""
        place += 1
        while place < self.count:
            for number, (_, message) in enumerate(self.part(place, place + step), place):
                if message.role == "user":
                    return number
            place += step
        return self.count

    def place_of(self, identity: int) -> int | None:
        """Return the place of a message, or where a hidden one would be; None for an unknown one.

        Raises StoreError.
        """
        if identity in self.ids:
            return self.waiting + self.ids.index(identity)
        if self.source is None or not self.source[0].some_messages([identity]):
            return None
        store, session = self.source
        return store.count_earlier(session, identity, ())[0]

    def beginning(self, count: int) -> Moment:
        """Return a snapshot of the first `count` messages only."""
        kept = max(0, count - self.waiting)
        return Moment(min(count, self.waiting), self.ids[:kept], self.messages[:kept], self.source)

    def in_common(self, other: Moment) -> int:
        """Return how many first messages both share, as far as their loaded parts show."""
        start = max(self.waiting, other.waiting)
        pairs = enumerate(zip(self.ids[start - self.waiting:], other.ids[start - other.waiting:]))
        most = min(self.count, other.count)
        return min(most, next((start + at for at, (one, two) in pairs if one != two), most))

    def is_same(self, other: Moment) -> bool:
        return self.in_common(other) == self.count == other.count

    def _stored(self, first: int, end: int) -> list[Entry]:
        if first >= end or self.source is None:
            return []
        store, session = self.source
        return [(entry.id, entry.message)
                for entry in store.messages_at(session, first, end - first)]

    def _loaded(self, first: int, end: int) -> list[Entry]:
        if end <= self.waiting:
            return []
        places = slice(max(0, first - self.waiting), end - self.waiting)
        return list(zip(self.ids[places], self.messages[places]))
