"""A turn that is over, until the store takes it back."""

from __future__ import annotations

import time

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0      # seconds between two tries


class EndedTurn:
    """Remembers a session whose turn could not be given back, and when to try again."""

    __slots__ = ("_next_try", "_pause", "session")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.session = ""
        self._next_try, self._pause = 0.0, FIRST_PAUSE

    def is_due(self) -> bool:
        """Whether to try now; the next try is later then."""
        if not self.session or time.monotonic() < self._next_try:
            return False
        self._next_try = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return True
