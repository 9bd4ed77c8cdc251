"""One line of progress that is overwritten, for work that takes longer than a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from core.safe_text import safe_line

PATIENCE = 1.0    # seconds before anything is shown
STEP = 0.1


class ProgressLine:
    """Call it with the kind of work and the count so far, and clear() at the end. Shows nothing
    where lines cannot be overwritten.
    """

    def __init__(self, out: TextIO, *, able: bool = True,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._able = able
        self._began: float | None = None
        self._shown = 0.0

    def __call__(self, what: str, count: int) -> None:
        now = self._clock()
        self._began = now if self._began is None else self._began
        if self._able and now - self._began >= PATIENCE and now - self._shown >= STEP:
            self._shown = now
            self._out.write(f"\r\x1b[K{safe_line(what, 50)}: {count:,}, {now - self._began:.0f} s")
            self._out.flush()

    def clear(self) -> None:
        if self._shown:
            self._out.write("\r\x1b[K")
            self._out.flush()
        self._began, self._shown = None, 0.0
