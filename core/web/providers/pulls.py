"""Downloads of models, which run in the server so that they survive a reload of the page."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Any, Literal

from core.dataclass import dataclass, field
from core.errors import ChatError, unexpected
from core.events import PullProgress
from core.model_manager import Providers, Target, ensure_model_available
from core.web.shared import Shared

WINDOW = 10.0       # seconds over which the speed is measured


@dataclass(slots=True)
class Pull:
    """One download. `percent` is None while the size is unknown."""

    target: Target
    state: Literal["running", "done", "failed", "stopped"] = "running"
    said: str = ""
    percent: float | None = None
    task: asyncio.Task[None] | None = None
    layers: dict[str, tuple[int, int]] = field(default_factory=dict)
    marks: list[tuple[float, int]] = field(default_factory=list)    # (time, bytes received)

    def count(self, step: PullProgress) -> None:
        """Update the progress: bytes, speed and remaining time."""
        if step.total:
            self.layers[step.layer] = (step.completed or 0, step.total)
        done = sum(part for part, _ in self.layers.values())
        total = sum(size for _, size in self.layers.values())
        self.percent = round(100 * done / total, 1) if total else None
        self.said = self._progress(done, total) if total else step.status

    def _progress(self, done: int, total: int) -> str:
        now = time.monotonic()
        self.marks = [*(mark for mark in self.marks if mark[0] > now - WINDOW), (now, done)]
        began, before = self.marks[0]
        seconds = now - began
        speed = (done - before) / seconds if seconds > 1 else 0.0
        parts = [_of(done, total)]
        if speed > 0:
            parts += [f"{_size(speed)}/s", _left((total - done) / speed)]
        return " · ".join(parts)


class Pulls:
    """All downloads of this server, the newest per model."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._pulls: dict[str, Pull] = {}

    def start(self, target: Target) -> None:
        """Start a download unless it is running."""
        held = self._pulls.get(str(target))
        if held is None or held.state != "running":
            pull = self._pulls[str(target)] = Pull(target)
            pull.task = asyncio.create_task(self._run(pull))

    def rows(self) -> list[dict[str, Any]]:
        return [{"model": name, "state": pull.state, "said": pull.said, "percent": pull.percent}
                for name, pull in self._pulls.items()]

    async def stop(self, name: str) -> None:
        """Stop a download; the downloaded part is kept."""
        pull = self._pulls.get(name)
        if pull is not None and pull.task is not None and not pull.task.done():
            pull.task.cancel()
            await asyncio.wait([pull.task], timeout=10)

    async def close(self) -> None:
        for name in list(self._pulls):
            await self.stop(name)

    async def _run(self, pull: Pull) -> None:
        """Download over separate connections, which stay open when settings change."""
        providers = Providers(self._shared.settings)
        try:
            async with aclosing(ensure_model_available(pull.target, providers)) as steps:
                async for step in steps:
                    pull.count(step)
            pull.state, pull.said, pull.percent = "done", "Complete", 100.0
        except asyncio.CancelledError:
            pull.state = "stopped"
            pull.said = "Stopped. The downloaded part is kept; pull again to continue."
        except ChatError as error:
            pull.state, pull.said = "failed", f"{error.message} {error.hint}".strip()
        except Exception as problem:
            pull.state, pull.said = "failed", unexpected(problem).message
        finally:
            await providers.close()


def _of(done: int, total: int) -> str:
    """Format sizes, as in "5.1 of 14.3 GB"."""
    unit, factor = ("GB", 1e9) if total >= 1e9 else ("MB", 1e6) if total >= 1e6 else ("kB", 1e3)
    return f"{done / factor:.1f} of {total / factor:.1f} {unit}"


def _size(count: float) -> str:
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{max(1, count / 1e3):.0f} kB"


def _left(seconds: float) -> str:
    if seconds < 60:
        return f"{max(1, seconds):.0f} s left"
    minutes = round(seconds / 60)
    return f"{minutes} min left" if minutes < 60 else f"{minutes / 60:.1f} h left"
