"""What fetching a model looks like: a bar for each layer that comes, a line for each that is here."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from typing import TextIO

from core.model_manager import Providers, Target, ensure_model_available
from core.providers import PullProgress
from core.rendering.painter import Painter
from core.rendering.widths import clip
from core.safe_text import safe_line

STEP = 0.1            # seconds between two frames
RECENT = 5.0          # seconds over which the speed is taken
TOO_SHORT = 0.5       # seconds that tell no speed yet
NARROW = 50           # columns below which a digest is seven characters, as in git
LONGEST_BAR = 24
UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
STOPPED = "Stopped. What was fetched is kept; fetching goes on from there next time."


async def show_progress(out: TextIO, target: Target, providers: Providers, *, color: bool = True) -> None:
    """Fetch a model; bars go to a terminal that can repaint them, a line for each finished layer to anything else."""
    live = out.isatty() and providers.settings.environment.get("TERM", "") not in ("dumb", "")
    bars = LayerBars(out, live=live, color=color)
    frames = asyncio.create_task(_repaint(bars))
    try:
        async with aclosing(ensure_model_available(target, providers)) as steps:
            async for step in steps:
                bars.update(step)
    finally:
        frames.cancel()
        await asyncio.gather(frames, return_exceptions=True)
        bars.close()


async def _repaint(bars: LayerBars) -> None:
    """Also while nothing comes: a speed that stands still would be a lie."""
    while True:
        await asyncio.sleep(STEP)
        bars.paint()


class Layer:
    """One part of a model: how much of it is here, and how fast the rest comes. What is not known is left out."""

    def __init__(self, name: str) -> None:
        self._name = safe_line(name).encode("ascii", "replace").decode()    # a digest; anything else would move the columns
        self._done = self._total = 0
        self._recent: deque[tuple[float, int]] = deque()

    @property
    def complete(self) -> bool:
        return 0 < self._total <= self._done

    def update(self, done: int, total: int, now: float) -> None:
        self._done, self._total = max(done, 0), max(total, 0)
        if self._done:      # a server tells what was here before with its first number; that has no speed
            self._recent.append((now, self._done))

    def row(self, width: int, now: float | None = None) -> str:
        """As much as fits into `width` columns, the most important first; the bar takes what is left. No speed without `now`."""
        parts = [self._name[:12 if width >= NARROW else 7]]
        for part in ("done" if self.complete else self._percent(), self._size(), self._speed(now) if now else ""):
            if part and len("  ".join((*parts, part))) <= width:
                parts.append(part)
        bar = self._bar(width - len("  ".join(parts)) - 2) if self._total and not self.complete else ""
        return "  ".join((*parts[:1], bar, *parts[1:]) if bar else parts)[:width]

    def _percent(self) -> str:
        return f"{min(self._done * 100 // self._total, 100):3d}%" if self._total else ""

    def _size(self) -> str:
        if not self._total:
            return _in_units(self._done) if self._done else ""
        return _in_units(self._total) if self.complete else _in_units(self._done, self._total)

    def _speed(self, now: float) -> str:
        while len(self._recent) > 1 and now - self._recent[1][0] >= RECENT:
            self._recent.popleft()
        since, before = self._recent[0] if self._recent else (now, 0)
        known = now - since >= TOO_SHORT and self._done >= before and not self.complete
        return f"{_in_units((self._done - before) / (now - since))}/s" if known else ""

    def _bar(self, cells: int) -> str:
        cells = min(cells, LONGEST_BAR)
        filled = cells * min(self._done, self._total) // self._total
        return "█" * filled + "░" * (cells - filled) if cells >= 6 else ""


class LayerBars:
    """Takes the steps of one pull. A finished layer is a line for good; those that run are painted again below it."""

    def __init__(self, out: TextIO, *, live: bool, color: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._live = live
        self._color = color
        self._clock = clock
        self._painter = Painter(self._write)
        self._running: dict[str, Layer] = {}
        self._finished: set[str] = set()
        self._status = ""

    def update(self, step: PullProgress) -> None:
        if not step.layer:
            self._status = step.status
        elif step.layer in self._finished:
            return
        if step.layer or step.total or step.completed:
            layer = self._layer(step)
            layer.update(step.completed, step.total, self._clock())
            if step.layer and layer.complete:
                self.paint(self._finish(step.layer))

    def paint(self, done: str = "") -> None:
        """Put `done` down for good, and the bars below it."""
        if self._live:
            width, height = self._size()
            self._painter.paint(done, "", 0, "\n".join(self._rows(width)), width=width + 1, rows=height)
        elif done:
            self._write(done)

    def close(self) -> None:
        """The bars go; what is not complete stays as a line that says how far it came."""
        left = [layer.row(self._size()[0]) for layer in self._running.values() if not layer.complete]
        self._running.clear()
        self._status = ""
        self.paint("".join(f"{row}\n" for row in left) if self._live else "")

    def _layer(self, step: PullProgress) -> Layer:
        """What comes in one piece has no digest; its one bar is called after what is being done."""
        key = step.layer or step.status
        if key not in self._running:
            if not step.layer:
                self._running.clear()
            self._running[key] = Layer(step.layer.rpartition(":")[2] if step.layer else step.status)
        return self._running[key]

    def _finish(self, digest: str) -> str:
        self._finished.add(digest)
        return f"{self._running.pop(digest).row(self._size()[0])}\n"

    def _rows(self, width: int) -> list[str]:
        now = self._clock()
        bars = [layer.row(width, now) for layer in self._running.values()]
        status = clip(safe_line(self._status), width)
        return bars if bars or not status else [f"\x1b[2m{status}\x1b[0m" if self._color else status]

    def _size(self) -> tuple[int, int]:
        """Columns that may be written to, the last one left free, and rows. Asked anew, for a window changes."""
        try:
            columns, lines = os.get_terminal_size(self._out.fileno())
        except (OSError, ValueError):
            columns, lines = 80, 24
        return max(columns or 80, 8) - 1, max(lines or 24, 4)

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def _in_units(size: float, whole: float = 0) -> str:
    """4.7 GB; or 1.2/4.7 GB, in the unit of the whole."""
    factor, unit = next((pair for pair in UNITS if (whole or size) >= pair[0]), UNITS[-1])
    digits = 0 if unit == "B" else 1
    return f"{size / factor:.{digits}f}/{whole / factor:.{digits}f} {unit}" if whole else f"{size / factor:.{digits}f} {unit}"
