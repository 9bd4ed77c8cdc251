"""Streams without Markdown: text as it is, and a model's thinking."""

from __future__ import annotations

import time
from collections.abc import Callable

from core.rendering.layout import RESET
from core.safe_text import safe_text


class PlainStream:
    """The text as it is, made safe; ends with exactly one newline."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._newlines = ""
        self._started = False

    def feed(self, text: str) -> None:
        text = self._newlines + safe_text(text)
        body = text.rstrip("\n")
        self._newlines = text[len(body):]
        if body:
            self._started = True
            self._put(body)

    def finish(self) -> None:
        if self._started:
            self._write("\n")
        self._newlines, self._started = "", False

    def _put(self, text: str) -> None:
        self._write(text)


class ThinkingStream(PlainStream):
    """A model's thinking: dim text or, folded, one line that says how long and how much, repainted in place."""

    def __init__(self, write: Callable[[str], None], width: Callable[[], int], *, folded: bool, color: bool = True,
                 clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(write)
        self._width = width
        self._folded = folded
        self._color = color
        self._clock = clock
        self._since: float | None = None
        self._words = 0
        self._in_word = False

    def feed(self, text: str) -> None:
        if self._since is None:
            self._since = self._clock()
        if not self._folded:
            super().feed(text)
            return
        self._count(text)
        self._line("thinking …")

    def finish(self) -> None:
        if self._folded and self._since is not None:
            self._line("thought for", end="\n")
        super().finish()
        self._since, self._words, self._in_word = None, 0, False

    def _count(self, text: str) -> None:
        words = text.split()
        if not words:
            self._in_word = self._in_word and not text
            return
        self._words += len(words) - (self._in_word and not text[0].isspace())
        self._in_word = not text[-1].isspace()

    def _line(self, what: str, end: str = "") -> None:
        seconds = self._clock() - (self._since or 0.0)
        words = "1 word" if self._words == 1 else f"{self._words} words"
        self._write("\r\x1b[K" + self._dim(f"{what} {seconds:.1f} s, {words}"[:max(self._width() - 1, 1)]) + end)

    def _put(self, text: str) -> None:
        self._write(self._dim(text))

    def _dim(self, text: str) -> str:
        return f"\x1b[2m{text}{RESET}" if self._color else text
