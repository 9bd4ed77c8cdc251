"""Shows the download of a model: one row while it runs, one line when it is over."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import aclosing

from core.console.screen import Screen, clip_styled
from core.events import PullProgress
from core.model_manager import Providers, Target, ensure_model_available
from core.rendering.marks import styled
from core.rendering.quantities import duration, size_words
from core.rendering.widths import clip, text_width
from core.safe_text import safe_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rich.progress import Progress

MOST_BYTES = 1 << 53
NARROW, WIDE = 50, 76   # columns from which there is room for a bar, and for speed and time as well
BAR = 20                # cells
PAINTED = 0.2           # seconds between two updates of the row
RECENT = 5.0            # seconds over which the speed is measured
WORTH_A_LINE = 1_000_000    # bytes
STEP = 20               # percent between two lines where nothing can be overwritten


async def show_progress(screen: Screen, target: Target, providers: Providers) -> None:
    """Download a model. If it is stopped, a line says how far it got and how the next download
    begins.
    """
    with Pull(screen, str(target) if screen.plain else target.model) as pull:
        painting = asyncio.create_task(_paint(pull))
        try:
            async with aclosing(ensure_model_available(target, providers)) as steps:
                async for step in steps:
                    pull.update(step)
                    # steps that arrive together leave no other moment for Ctrl-C
                    await asyncio.sleep(0)
        finally:
            painting.cancel()


async def _paint(pull: Pull) -> None:
    """Keep the row up to date. Not in a thread, which could receive a signal that must wake the
    event loop.
    """
    while True:
        pull.refresh()
        await asyncio.sleep(PAINTED)


class Pull:
    """Takes the steps of one download; layers are counted together."""

    def __init__(self, screen: Screen, name: str) -> None:
        self.screen, self._name = screen, safe_line(name, 60)
        self._live = screen.out.isatty() and not screen.dumb
        self._layers: dict[str, tuple[int, int]] = {}
        self._status = ""
        self._kept = True
        self._said = 0
        self._began = time.monotonic()
        self._recent: deque[tuple[float, int]] = deque()
        self._bars: Progress | None = None

    def __enter__(self) -> Pull:
        if self._live:
            self._bars = _open_row(self)
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()
        if kind is None:
            size = f"  {size_words(self.done)}" if self.done else ""
            words = f"Pulled {self._name}{size} in {duration(time.monotonic() - self._began)}"
            self.screen.say("done", words)
        elif self.done or not issubclass(kind, Exception):      # an error is reported by the caller
            self.screen.note(self._stopped())

    @property
    def done(self) -> int:
        return sum(done for done, _ in self._layers.values())

    @property
    def total(self) -> int:
        return sum(max(done, total) for done, total in self._layers.values())

    def update(self, step: PullProgress) -> None:
        """A step without a layer concerns the whole download."""
        self._status, self._kept = safe_line(step.status, 40), step.kept
        if step.total or step.completed:
            done, total = (max(0, min(size, MOST_BYTES)) for size in (step.completed, step.total))
            self._layers[step.layer] = done, total
        now = time.monotonic()
        self._recent.append((now, self.done))
        while now - self._recent[0][0] > RECENT:
            self._recent.popleft()
        if not self._live:
            self._say_percent()

    def refresh(self) -> None:
        """Paint the row as it is now."""
        if self._bars is not None:
            self._bars.refresh()

    def _say_percent(self) -> None:
        """Print a line for every fifth of it, for a pipe or a screen reader."""
        percent = self._percent() // STEP * STEP
        before, self._said = self._said, percent  # lower than before once another layer has begun
        if percent > before and self.total >= WORTH_A_LINE:
            self.screen.line(f"Pulling {self._name}: {percent}% of {size_words(self.total)}")

    def _percent(self) -> int:
        return self.done * 100 // self.total if self.total else 0

    def _stopped(self) -> str:
        if not self.done:
            return "Stopped. Nothing was downloaded."
        kept = ("The downloaded part is kept; pull again to continue." if self._kept else
                "The next download starts again.")
        return f"Stopped at {self._percent()}%. {kept}"

    # ---- the row

    def row(self) -> str:
        """What is downloaded and how far it is: styled, narrower than the screen."""
        theme, width = self.screen.theme, self.screen.width() - 1
        numbers = f"{self._percent():3}%" if self.total else self._status
        detail = f"  {self._detail()}" if width >= WIDE and self.total else ""
        bar = BAR + 2 if width >= NARROW and self.total else 0
        room = width - text_width(numbers) - text_width(detail) - bar - len("* Pulling   ")
        name = styled(clip(self._name, max(room, 8)), theme.role("bold"))
        parts = [f"{self.screen.sign('now')} Pulling {name}", self._bar() if bar else "", numbers]
        return clip_styled("  ".join(filter(None, parts)) + styled(detail, theme.dim), width)

    def _bar(self) -> str:
        full, empty = ("\u2501", "\u2500") if self.screen.unicode else ("#", ".")
        cells = self.done * BAR // self.total
        theme = self.screen.theme
        return styled(full * cells, theme.accent) + styled(empty * (BAR - cells), theme.dim)

    def _detail(self) -> str:
        """As in "3.2 of 5.2 GB, 48.0 MB/s, 41 s left", or what happens instead of downloading."""
        if self._status and not self._status.startswith(("download", "pulling")):
            return self._status
        unit = size_words(self.total).split()[1]
        words = (f"{size_words(self.done, unit) if unit != 'bytes' else self.done} of "
                 f"{size_words(self.total)}")
        (since, before), (now, after) = self._recent[0], self._recent[-1]
        if now - since < 0.5 or after <= before:
            return words
        speed = (after - before) / (now - since)
        left = (f", {duration(round((self.total - after) / speed))} left" if self.total > after
                else "")
        return f"{words}, {size_words(speed)}/s{left}"


def _open_row(pull: Pull) -> Progress:
    """A row that is repainted on request and removed at the end."""
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, Task
    from rich.text import Text

    class Row(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text.from_ansi(pull.row(), no_wrap=True, overflow="crop")

    screen = pull.screen
    console = Console(file=screen.out, force_terminal=True, color_system="truecolor",
                      highlight=False)
    bars = Progress(Row(), console=console, transient=True, auto_refresh=False)
    bars.add_task("")
    return bars
