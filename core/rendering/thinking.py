"""Shows a model's thinking, set apart by marks and an indent, or folded to one line."""

from __future__ import annotations

import time
from collections.abc import Callable

from core.rendering.columns import wrapped
from core.rendering.layout import Layout
from core.rendering.painter import Painter
from core.rendering.quantities import duration
from core.rendering.theme import NO_STYLE, UNKNOWN, Theme
from core.rendering.widths import PROSE, clip
from core.safe_text import safe_text

_MARK = "~ "
PAUSE = 0.1         # seconds between updates of the live rows
_INDENT = [("", "  ")]


class ThinkingStream:
    """Shows thinking between two marked lines, wrapped between words; if `folded`, as one line with
    a word count and the last `rows` rows below it.

    `hint` is appended to the last line; `mark` begins our lines. `live`: the terminal can erase
    text; otherwise everything is written once.
    """

    def __init__(self, write: Callable[[str], None], width: Callable[[], int], *, folded: bool,
                 color: bool = True,
                 theme: Theme | None = None, live: bool = True, rows: int = 0, hint: str = "",
                 mark: str = _MARK,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._theme = (theme or UNKNOWN) if color else NO_STYLE
        self._painter = Painter(write)
        self._width = width
        self._columns = 1
        self._layout = Layout(1)
        self._folded = folded
        self._rows, self._hint, self._mark = rows, hint, mark
        self._kept: list[str] = []      # the whole text while it is folded, for unfold()
        self._recent = ""               # the end of the text, for the live rows
        self._painted = 0.0
        self._live = live
        self._clock = clock
        self._since: float | None = None
        self._status = ""
        self._words = 0
        self._in_word = False
        self._blank = ""                # white space that is shown only if words follow
        self._spoken = False            # any words are shown

    def feed(self, text: str) -> None:
        """Show one frame of raw text, with at most one write."""
        self._measure()
        self._status = ""
        if self._since is None:
            self._since = self._clock()
            if not self._folded:
                self._own_line(f"{self._mark}Thinking")
                self._layout.begin(_INDENT, _INDENT)
        self._count(text)
        if not self._folded:
            self._flow(safe_text(text))
        else:
            self._kept.append(text)
        if self._folded and self._rows:
            self._recent = (self._recent + safe_text(text))[-self._rows * 2 * PROSE:]
            if self._clock() - self._painted < PAUSE:
                return
        self._paint()

    def unfold(self) -> None:
        """Show all of the thinking permanently, from its beginning."""
        if not self._folded:
            return
        self._folded, self._rows, self._recent = False, 0, ""
        if self._since is None:
            return
        self._measure()
        self._own_line(f"{self._mark}Thinking")
        self._layout.begin(_INDENT, _INDENT)
        self._flow(safe_text("".join(self._kept)))
        self._kept.clear()
        self._paint()

    def status(self, text: str) -> None:
        """Show a line below the text until the next frame or the end."""
        self._measure()
        self._status = safe_text(text)
        self._paint()

    def finish(self) -> None:
        """End the thinking with a line about its length; the cursor is at the start of a line."""
        if self._since is None:
            return
        self._measure()
        self._status = ""
        if not self._folded:
            self._layout.end_row()
        hint = f". {self._hint}" if self._hint else ""
        self._own_line(self._summary("Thought for ", duration) + hint)
        self._recent = ""
        self._kept.clear()
        self._since, self._words, self._in_word = None, 0, False
        self._blank, self._spoken = "", False
        self._paint()

    def _measure(self) -> None:
        self._columns = max(self._width(), 2)
        self._layout.limit = min(self._columns - 1, PROSE)

    def _flow(self, text: str) -> None:
        """Write text with at most one empty line in a row, and none at the start or end."""
        text = self._blank + text
        text = text if self._spoken else text.lstrip()
        body = text.rstrip()
        self._blank = text[len(body):]
        self._spoken = self._spoken or bool(body)
        while "\n\n\n" in body:
            body = body.replace("\n\n\n", "\n\n")
        self._layout.text(body, self._theme.dim)

    def _own_line(self, text: str) -> None:
        self._layout.emit(self._theme.dim, clip(text, self._columns - 1))
        self._layout.end_row()

    def _summary(self, verb: str, spent: Callable[[float], str]) -> str:
        seconds = self._clock() - (self._since or 0.0)
        words = "1 word" if self._words == 1 else f"{self._words} words"
        return f"{self._mark}{verb}{spent(seconds)}, {words}"

    def _count(self, text: str) -> None:
        words = text.split()
        if not words:
            self._in_word = self._in_word and not text
            return
        self._words += len(words) - (self._in_word and not text[0].isspace())
        self._in_word = not text[-1].isspace()

    def _paint(self) -> None:
        layout = self._layout
        if self._rows:
            self._painted = self._clock()
        done, tail = layout.take(), self._tail() if self._live else ""
        self._painter.paint(done, layout.style, layout.col, tail, width=self._columns, rows=8)

    def _last_rows(self) -> list[str]:
        """The last rows of the thinking, wrapped; the first one may be part of a row."""
        if not self._rows:
            return []
        text = " ".join(self._recent.split())
        return (list(wrapped(text, max(min(self._columns - 1, PROSE) - 2, 8)))[-self._rows:] if text
                else [])

    def _tail(self) -> str:
        copy, dim = self._layout.fork(), self._theme.dim
        if self._folded and self._since is not None:
            status = f"; {self._status}" if self._status else ""
            line = self._summary("Thinking, ", "{:.1f} s".format) + status
            rows = [line, *(f"  {row}" for row in self._last_rows())]
            copy.emit(dim, "\n".join(clip(row, self._columns - 1) for row in rows))
            return copy.take()
        copy.flush()
        if self._status:
            if copy.col:
                copy.emit("", "\n")
            copy.emit(dim, clip(self._status, self._columns - 1))
        return copy.take()
