"""Shows a stream's text unformatted, made safe."""

from __future__ import annotations

from collections.abc import Callable

from core.rendering.layout import RESET
from core.rendering.widths import clip, last_row
from core.safe_text import safe_text


class PlainStream:
    """Writes the text unformatted and made safe, ending with exactly one newline.

    A status line below the text needs a width.
    """

    def __init__(self, write: Callable[[str], None], width: Callable[[], int] | None = None, *,
                 color: bool = False) -> None:
        self._write = write
        self._width = width
        self._color = color
        self._newlines = ""
        self._started = False
        self._line: list[str] = []      # pieces of the text's last line, so far
        self._status = False    # a status line is shown

    def feed(self, text: str) -> None:
        self._clear_status()
        text = self._newlines + safe_text(text)
        body = text.rstrip("\n")
        self._newlines = text[len(body):]
        if body:
            self._started = True
            _, ended, rest = body.rpartition("\n")
            if ended:
                self._line.clear()
            self._line.append(rest)
            self._put(body)

    def status(self, text: str) -> None:
        """Show a line below the text until the next frame or the end."""
        if self._width is not None:
            self._write(("\r\x1b[K" if self._status else "\n")
                        + self._dim(clip(safe_text(text), max(self._width() - 1, 1))))
            self._status = True

    def finish(self) -> None:
        self._clear_status()
        if self._started:
            self._write("\n")
        self._line.clear()
        self._newlines, self._started = "", False

    def _clear_status(self) -> None:
        """Erase the status line, and rewrite the row above, which moves the cursor to its end even
        if the row is full.
        """
        if self._status and self._width is not None:
            self._status = False
            self._write("\r\x1b[K\x1b[A")
            self._put(last_row("".join(self._line), max(self._width(), 1)))

    def _put(self, text: str) -> None:
        self._write(text)

    def _dim(self, text: str) -> str:
        return f"\x1b[2m{text}{RESET}" if self._color else text
