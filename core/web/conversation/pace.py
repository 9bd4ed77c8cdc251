"""Bounds how many frames of replies the turns of a server handle in a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from core.events import Event, TextDelta, ThinkingDelta

FRAMES = 4_000      # in a second: each is parsed, committed and sent by itself, for about 0.1 ms
LEAST = 0.002       # seconds below which nothing waits
LONGEST = 0.06      # seconds that a frame waits at most
PROBE = 0.05        # seconds between two measurements of how late the event loop is
SMOOTHING = 0.2     # the weight of the newest measurement


class Pace:
    """Shared by all turns of a process.

    Where few turns run, no frame waits. Where many run, or the processor is busy, each turn waits
    between two frames, and the tokens that arrive meanwhile become one frame, which costs little
    more than a single token.
    """

    def __init__(self, frames: float = FRAMES) -> None:
        self._frames = frames
        self._turns = 0
        self._late = 0.0
        self._probing: asyncio.Task[None] | None = None

    async def paced(self, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        """Pass a turn's events on, with a wait after a frame where one is due."""
        self._turns += 1
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._probe())
        last = 0.0
        try:
            async with aclosing(events) as stream:
                async for event in stream:
                    yield event
                    if isinstance(event, TextDelta | ThinkingDelta):
                        left = last + self.between - time.monotonic()
                        if left > LEAST:
                            await asyncio.sleep(left)
                        last = time.monotonic()
        finally:
            self._turns -= 1

    @property
    def between(self) -> float:
        """Seconds between two frames of one turn; 0 where only one runs."""
        if self._turns < 2:
            return 0.0
        return min(self._turns / self._frames + 3 * self._late, LONGEST)

    async def _probe(self) -> None:
        """Measure how late the event loop is, as long as a turn runs."""
        while self._turns:
            planned = time.monotonic() + PROBE
            await asyncio.sleep(PROBE)
            self._late += SMOOTHING * (time.monotonic() - planned - self._late)
