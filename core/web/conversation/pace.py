"""Limits the rate of reply frames that a server processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from core.events import Event, TextDelta, ThinkingDelta

FRAMES = 4_000      # frames per second: each is parsed, committed and sent, in about 0.1 ms
LEAST = 0.002       # shorter waits (in seconds) are skipped
LONGEST = 0.06      # longest wait of a frame in seconds
PROBE = 0.05        # seconds between measurements of the event loop's delay
SMOOTHING = 0.2     # the weight of the newest measurement


class Pace:
    """The rate limit shared by all turns of a process.

    With few turns, no frame waits. With many, or a busy processor, each turn waits between frames,
    and the tokens that arrive meanwhile form one frame, which costs little more than a single
    token.
    """

    def __init__(self, frames: float = FRAMES) -> None:
        self._frames = frames
        self._turns = 0
        self._late = 0.0
        self._probing: asyncio.Task[None] | None = None

    async def paced(self, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        """Yield a turn's events, waiting after a frame if necessary."""
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
        """Return the seconds between frames of one turn; 0 if only one turn is running."""
        if self._turns < 2:
            return 0.0
        return min(self._turns / self._frames + 3 * self._late, LONGEST)

    async def _probe(self) -> None:
        """Measure the event loop's delay while turns are running."""
        while self._turns:
            planned = time.monotonic() + PROBE
            await asyncio.sleep(PROBE)
            self._late += SMOOTHING * (time.monotonic() - planned - self._late)
