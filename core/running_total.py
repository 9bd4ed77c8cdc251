"""A total over a conversation that is worked out only for what was added since the last look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from core.messages import Message

T = TypeVar("T")
# conversations whose totals are kept: the whole one, what is sent of it, the one before
REMEMBERED = 4
LONG = 32          # messages from which it is worth it


class RunningTotal(Generic[T]):
    """Folds `add` over messages.

    A conversation grows at its end, so the total of its beginning is known already.
    """

    def __init__(self, empty: T, add: Callable[[T, Message], T]) -> None:
        self._empty, self._add = empty, add
        self._known: list[tuple[tuple[Message, ...], T]] = []

    def of(self, messages: Sequence[Message]) -> T:
        """The total of these messages.

        They are compared by identity first, so a known beginning costs next to nothing.
        """
        given = tuple(messages)
        beginning, total = self._longest(given)
        if len(beginning) == len(given):
            return total
        for message in given[len(beginning):]:
            total = self._add(total, message)
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
