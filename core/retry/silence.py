"""Reports what a silent stream is waiting for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

from core.errors import ChatError
from core.events import Waiting

T = TypeVar("T")
FIRST_WAIT = 1.5      # seconds of silence before the first report
WAIT_STEP = 1.0  # seconds between two reports, and the longest time that a description may take


class Silence:
    """Reports the silence of one request.

    `what` describes what the server is doing; `pauses` are the seconds before the first and each
    further report.
    """

    def __init__(self, what: Callable[[], Awaitable[str]],
                 pauses: tuple[float, float] = (FIRST_WAIT, WAIT_STEP)) -> None:
        self._what = what
        self._first, self._step = pauses
        self._since = time.monotonic()
        self._due = self._since + self._first     # time of the next report

    async def during(self, step: asyncio.Future[T]) -> AsyncGenerator[Waiting, None]:
        """Yield reports until `step` is done. Closing this cancels it.

        A slow description does not delay a step that ends.
        """
        tasks: set[asyncio.Future[Any]] = {step}
        try:
            while not (await asyncio.wait({step}, timeout=self._left()))[0]:
                said = asyncio.ensure_future(_safely(self._what))
                tasks.add(said)
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if step.done():
                    return
                tasks.discard(said)
                yield Waiting(time.monotonic() - self._since, said.result())
                self._due = time.monotonic() + self._step
        finally:
            await _end(tasks)

    def _left(self) -> float:
        return max(0.0, self._due - time.monotonic())


async def pausing(seconds: float,
                  pauses: tuple[float, float] = (FIRST_WAIT, WAIT_STEP)) -> AsyncGenerator[Waiting,
                                                                                           None]:
    """Wait, and report the remaining time."""
    started, (pause, step) = time.monotonic(), pauses
    while (left := started + seconds - time.monotonic()) > 0:
        await asyncio.sleep(min(left, pause))
        pause = step
        left = started + seconds - time.monotonic()
        if left > 0:
            yield Waiting(time.monotonic() - started, f"the next attempt is in {left:.0f} s")


async def _end(tasks: set[asyncio.Future[Any]]) -> None:
    """Cancel running tasks, and wait for their end."""
    left = {task for task in tasks if not task.done()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left)
    for task in left:
        if not task.cancelled():
            task.exception()   # retrieved, so that asyncio does not warn about it


async def _safely(what: Callable[[], Awaitable[str]]) -> str:
    """Return the description, or "" if it fails."""
    try:
        return await asyncio.wait_for(what(), WAIT_STEP)
    except (ChatError, TimeoutError, OSError):
        return ""
