"""A total over a conversation, computed only for the messages added since the last time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from core.messages import Message

T = TypeVar("T")
# totals kept: of the whole conversation, of the part that is sent, and of the ones before
REMEMBERED = 4
LONG = 32          # messages from which keeping a total is worthwhile


class RunningTotal(Generic[T]):
    """Extends the known total of a conversation's beginning by the messages that follow.

    `add` gets all of them at once, since a call for each costs more than most totals.
    """

    def __init__(self, empty: T, add: Callable[[T, Sequence[Message]], T]) -> None:
        self._empty, self._add = empty, add
        self._known: list[tuple[tuple[Message, ...], T]] = []

    def of(self, messages: Sequence[Message]) -> T:
        """The total of these messages.

        Comparing a known beginning is cheap: equal messages are mostly identical objects.
        """
        given = tuple(messages)
        beginning, total = self._longest(given)
        if len(beginning) == len(given):
            return total
        total = self._add(total, given[len(beginning):])
        if len(given) >= LONG:
            kept = [known for known in self._known if known[0] is not beginning]
            self._known = [*kept[1 - REMEMBERED:], (given, total)]
        return total

    def _longest(self, given: tuple[Message, ...]) -> tuple[tuple[Message, ...], T]:
        """The longest beginning of these messages that is known, and its total."""
        for known in sorted(self._known, key=lambda known: -len(known[0])):
            if known[0] is given or given[:len(known[0])] == known[0]:
                return known
        return (), self._empty
