"""Shows shares of a whole as bars in a terminal, as plain text, or for a screen reader."""

from __future__ import annotations

from collections.abc import Iterator

from core.dataclass import dataclass
from core.rendering.marks import styled
from core.rendering.theme import Theme
from core.rendering.widths import clip
from core.safe_text import safe_line

INDENT = "  "


@dataclass(frozen=True, slots=True)
class Bars:
    """Shares of a `whole`. `rows` are (name, size); the row named `empty` is the unused part.

    `about` describes how full the whole is.
    """

    title: str
    about: str
    whole: int
    rows: tuple[tuple[str, int], ...]
    empty: str = ""

    def labels(self) -> list[str]:
        """A line for each row with its name, size and percentage, aligned."""
        longest = max(len(name) for name, _ in self.rows)
        widest = max(len(f"{size:,}") for _, size in self.rows)
        return [f"{INDENT}{name:<{longest}}   {size:>{widest},}   {size / self.whole:>4.0%}"
                for name, size in self.rows]


def bar_rows(bars: Bars, width: int, theme: Theme, *, unicode: bool = True) -> Iterator[str]:
    """Styled rows, narrower than `width`; one cell per percent, or less if the longest bar would
    not fit.
    """
    full, empty = ("\u2501", "\u2500") if unicode else ("#", ".")
    yield (f"{styled(bars.title, theme.role('bold'))}  "
           f"{clip(safe_line(bars.about), width - 3 - len(bars.title))}")
    yield ""
    labels = bars.labels()
    room = width - 1 - len(labels[0]) - len(INDENT)
    most = max(100 * size / bars.whole for _, size in bars.rows)
    cell = min(1.0, max(room, 0) / most) if most else 0.0
    for label, (name, size) in zip(labels, bars.rows, strict=True):
        cells = min(max(round(100 * size / bars.whole * cell), 1), room) if size and room > 1 else 0
        sign, role = (empty, theme.dim) if name == bars.empty else (full, theme.accent)
        yield (label + INDENT + styled(sign * cells, role)).rstrip() if cells else label


def bar_text(bars: Bars) -> str:
    """Plain text, without bars."""
    return "\n".join([f"{bars.title}  {bars.about}", "", *bars.labels()])


def spoken_bars(bars: Bars) -> str:
    """Sentences for a screen reader."""
    rows = (f"{name}: {size:,}, {size / bars.whole:.0%}." for name, size in bars.rows)
    return "\n".join([f"{bars.title}, {bars.about}", "", *rows])
