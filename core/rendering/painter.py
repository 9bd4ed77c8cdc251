"""Writes rows to the terminal: finished text once, the open end again only when it changes."""

from __future__ import annotations

from collections.abc import Callable

from core.regex import regex
from core.rendering.layout import RESET
from core.rendering.widths import is_exact, last_row, visual_end

_SGR = regex(r"\x1b\[([0-9;]*)m")
_PARTS = regex(r"\x1b\[[0-9;]*m|[^\x1b]")
_LONGEST_ROW = 8192


class Painter:
    """Keeps track of the tail, the text on the screen after the last finished character; only the
    tail is ever erased.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._base = ""             # the active style where the tail begins
        self._col = 0               # the column where it begins
        self._row = ""              # the finished text on that row
        self._broken = False        # the terminal wrapped that row, or it is full
        self._tail = ""             # the tail on the screen
        self._tail_style = ""       # the active style at its end

    def paint(self, done: str, base: str, col: int, tail: str, *, width: int, rows: int) -> None:
        """Show `done`, which is finished, and `tail` after it; `base` and `col` are the style and
        column between them.
        """
        tail = _crop(tail, col, width, rows)
        new = done + tail
        if new.startswith(self._tail):
            output = self._continue(new[len(self._tail):])
        else:
            output = self._erase(width) + new
        style = _last_style(tail, base)
        if output:
            self._write(output + RESET if style else output)
        if done:
            self._finish_row(done, width)
        self._base, self._col, self._tail, self._tail_style = base, col, tail, style

    def _continue(self, text: str) -> str:
        return f"\x1b[{self._tail_style}m{text}" if text and self._tail_style else text

    def _erase(self, width: int) -> str:
        col = self._col and (self._col - 1) % width + 1      # a row that is full is not left yet
        up = visual_end(_SGR.sub("", self._tail), col, width)
        start = f"\x1b[{up}A\r" if up else "\r"
        if self._broken or col and not is_exact(_SGR.sub("", self._row)):
            return f"{start}\x1b[J{self._row}"
        move = f"\x1b[{col}C" if col else ""
        return f"{start}{move}\x1b[J" + (f"\x1b[{self._base}m" if self._base else "")

    def _finish_row(self, done: str, width: int) -> None:
        """Update the finished row. Only code exceeds a row, and it has no style where it wraps."""
        cut = done.rfind("\n")
        row = self._row + done if cut < 0 else done[cut + 1:]
        bare = _SGR.sub("", row)
        self._broken = (self._broken and cut < 0) or visual_end(f"{bare}x", 0, width) > 0
        row = last_row(bare, width) if self._broken else row
        self._row = row if len(row) <= _LONGEST_ROW else ""


def _last_style(text: str, style: str) -> str:
    start = text.rfind("\x1b[")
    if start < 0:
        return style
    return text[start + 2:text.index("m", start)].removeprefix("0;")


def _crop(tail: str, col: int, width: int, rows: int) -> str:
    """The first `rows` rows of `tail`: text that has scrolled off the screen cannot be erased."""
    if col + len(tail) * 2 < width or visual_end(_SGR.sub("", tail), col, width) < rows:
        return tail
    parts = _PARTS.findall(tail)
    low, high = 0, len(parts)
    while low < high:
        middle = (low + high + 1) // 2
        if visual_end(_SGR.sub("", "".join(parts[:middle])), col, width) < rows:
            low = middle
        else:
            high = middle - 1
    return "".join(parts[:low])
