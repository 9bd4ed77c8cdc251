"""Time that a test controls: an hour of silence passes at once, and slow machines do not matter.

An event loop whose clock is real time and what was skipped. A `FakeServer` that is given
`loop.skip` as its `wait` skips its pauses instead of waiting, so the limits in the test can be far
above what any machine takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
ROUNDS = 40     # of the loop, in which what has arrived already is dealt with before time passes


class SkippingLoop(asyncio.SelectorEventLoop):
    """Start it with run_skipping()."""

    def __init__(self) -> None:
        super().__init__()
        self._skipped = 0.0

    def time(self) -> float:
        return super().time() + self._skipped

    def skip(self, seconds: float) -> None:
        """Let this time pass; called by another thread.

        Returns when it has passed, or when the loop has ended.
        """
        passed = threading.Event()

        def step(left: int) -> None:
            if left:
                self.call_soon(step, left - 1)
            else:
                self._skipped += seconds
                passed.set()
        with contextlib.suppress(RuntimeError):     # the loop is closed
            self.call_soon_threadsafe(step, ROUNDS)
            passed.wait(5)


class JumpingLoop(asyncio.SelectorEventLoop):
    """Its clock jumps to the next moment at which something is due; nothing waits for a socket."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        ready, timers = self._ready, self._scheduled     # type: ignore[attr-defined]
        due = [] if ready else [each.when() for each in timers if not each.cancelled()]
        if due:
            self._now = max(self._now, min(due))
        super()._run_once()                           # type: ignore[misc]


def run_skipping(main: Coroutine[Any, Any, T], loop: SkippingLoop) -> T:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main)
