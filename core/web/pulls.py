"""Downloads of models that run in the server, so that a reload of the page finds them again."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any, Literal

from core.dataclass import dataclass
from core.errors import ChatError, unexpected
from core.model_manager import Target, ensure_model_available
from core.web.shared import Shared


@dataclass(slots=True)
class Pull:
    """One download. `percent` is None while the size is not known."""

    target: Target
    state: Literal["running", "done", "failed", "stopped"] = "running"
    said: str = ""
    percent: float | None = None
    task: asyncio.Task[None] | None = None


class Pulls:
    """All downloads of this server, the newest of each model."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._pulls: dict[str, Pull] = {}

    def start(self, target: Target) -> None:
        """Begin, unless it runs already."""
        held = self._pulls.get(str(target))
        if held is None or held.state != "running":
            pull = self._pulls[str(target)] = Pull(target)
            pull.task = asyncio.create_task(self._run(pull))

    def rows(self) -> list[dict[str, Any]]:
        return [{"model": name, "state": pull.state, "said": pull.said, "percent": pull.percent}
                for name, pull in self._pulls.items()]

    async def stop(self, name: str) -> None:
        """Stop a download; the part that is here is kept for the next time."""
        pull = self._pulls.get(name)
        if pull is not None and pull.task is not None and not pull.task.done():
            pull.task.cancel()
            await asyncio.wait([pull.task], timeout=10)

    async def close(self) -> None:
        for name in list(self._pulls):
            await self.stop(name)

    async def _run(self, pull: Pull) -> None:
        layers: dict[str, tuple[int, int]] = {}
        try:
            async with aclosing(ensure_model_available(pull.target,
                                                       self._shared.providers)) as steps:
                async for step in steps:
                    if step.total:
                        layers[step.layer] = (step.completed or 0, step.total)
                    self._count(pull, layers, step.status)
            pull.state, pull.said, pull.percent = "done", "Complete", 100.0
        except asyncio.CancelledError:
            pull.state, pull.said = ("stopped", "Stopped. The downloaded part is kept; pull again "
                                     "to continue.")
        except ChatError as error:
            pull.state, pull.said = "failed", f"{error.message} {error.hint}".strip()
        except Exception as problem:
            pull.state, pull.said = "failed", unexpected(problem).message

    @staticmethod
    def _count(pull: Pull, layers: dict[str, tuple[int, int]], status: str) -> None:
        done, total = (sum(part for part, _ in layers.values()),
                       sum(size for _, size in layers.values()))
        pull.percent = round(100 * done / total, 1) if total else None
        pull.said = f"{done / 1e9:.2f} of {total / 1e9:.2f} GB" if total else status
