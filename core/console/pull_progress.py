"""What fetching a model looks like: a bar for each layer that comes, a line for each that is here."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TextIO

from core.model_manager import Providers, Target, ensure_model_available
from core.providers import PullProgress
from core.safe_text import safe_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rich.progress import TaskID

NAME = 12          # characters of a layer's digest, as Ollama itself shows it
MOST_BARS = 30     # layers beyond them are counted without one: each bar that begins repaints all of them
MOST_BYTES = 1 << 53
WIDE = 60          # columns from which there is room for the speed
RECENT = 5.0       # seconds over which the speed is taken
STOPPED = "Stopped. What was fetched is kept; fetching goes on from there next time."


async def show_progress(out: TextIO, target: Target, providers: Providers, *, color: bool = True) -> None:
    """Fetch a model; bars go to a terminal that can repaint them, a line for each finished layer to anything else."""
    live = out.isatty() and providers.settings.environment.get("TERM", "") not in ("dumb", "")
    with LayerBars(out, live=live, color=color) as bars:
        async with aclosing(ensure_model_available(target, providers)) as steps:
            async for step in steps:
                bars.update(step)
                await asyncio.sleep(0)   # steps that come at once leave no other moment for Ctrl-C


class LayerBars:
    """Takes the steps of one pull. A finished layer is a line for good; those that run have a bar each below it."""

    def __init__(self, out: TextIO, *, live: bool, color: bool = True) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TransferSpeedColumn
        from rich.table import Column
        self._out = out
        self._live = live
        self._bars = Progress(
            TextColumn("{task.description}", markup=False, style=""), BarColumn(24), TaskProgressColumn(),
            DownloadColumn(table_column=Column(no_wrap=True)), speed_estimate_period=RECENT, disable=not live,
            console=Console(file=out, force_terminal=live, no_color=not color, highlight=False))
        self._speed = TransferSpeedColumn(table_column=Column(no_wrap=True))
        self._narrow = self._bars.columns
        self._running: dict[str, TaskID] = {}
        self._finished: set[str] = set()

    def __enter__(self) -> LayerBars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        """What is not complete stays as a bar that says how far it came."""
        for task in self._bars.tasks:
            if task.finished or not task.completed:
                self._bars.remove_task(task.id)
        self._bars.stop()

    def update(self, step: PullProgress) -> None:
        """A step without a layer is about the whole: what comes in one piece has one bar, called after what is being done."""
        key = step.layer
        if key in self._finished or not (key or step.total or step.completed):
            return
        done, total = (max(0, min(number, MOST_BYTES)) for number in (step.completed, step.total))
        name = safe_line(key.rpartition(":")[2])[:NAME] if key else safe_line(step.status, 40)
        self._bars.columns = (*self._narrow, self._speed) if self._bars.console.width >= WIDE else self._narrow
        if key not in self._running and len(self._running) < MOST_BARS:
            self._running[key] = self._bars.add_task("", total=None)
        if key in self._running:
            self._bars.update(self._running[key], description=name, completed=done, total=total or None)
        if key and 0 < total <= done:
            self._finish(key, name, done)

    def refresh(self) -> None:
        """Paint now, and not only when it is time."""
        self._bars.refresh()

    def _finish(self, key: str, name: str, size: int) -> None:
        from rich.filesize import decimal
        self._finished.add(key)
        if key in self._running:
            self._bars.remove_task(self._running.pop(key))
        line = f"{name}  done  {decimal(size)}"
        if self._live:
            self._bars.console.print(line, markup=False)
        else:
            self._out.write(f"{line}\n")
            self._out.flush()
