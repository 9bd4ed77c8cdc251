"""A terminal emulator for tests: pyte's, which also keeps the lines that have scrolled off its top.

pyte has such a screen itself; it takes four times as long, since it looks at each use of an
attribute, and it drops what follows a zero-width joiner.
"""

from __future__ import annotations

import re
from typing import Any

import pyte
from pyte.modes import DECAWM, DECTCEM, IRM
from pyte.screens import Char

RUNS = re.compile(r"[ -~]+|[^ -~]")     # printable ASCII at once, all else one character at a time


class Screen(pyte.Screen):
    """`gone` are the lines above the screen, the oldest first, with the spaces at their ends."""

    def __init__(self, columns: int, lines: int) -> None:
        self.gone: list[str] = []
        self._cells: dict[Char, dict[str, Char]] = {}
        super().__init__(columns, lines)

    def rows(self) -> list[str]:
        """All lines from the oldest to the cursor's, without spaces at their ends."""
        return [row.rstrip() for row in [*self.gone, *self.display[:self.cursor.y + 1]]]

    def reset(self) -> None:
        super().reset()
        self.gone.clear()

    def erase_in_display(self, how: int = 0, *others: Any, **options: Any) -> None:
        super().erase_in_display(how, *others, **options)
        if how == 3:
            self.gone.clear()

    def restore_cursor(self) -> None:
        super().restore_cursor()
        self.cursor.hidden = DECTCEM not in self.mode

    def index(self) -> None:
        top, bottom = self.margins or (0, self.lines - 1)
        if self.cursor.y == bottom:
            line = self.buffer[top]
            self.gone.append("".join(line[column].data for column in range(self.columns)))
        super().index()

    def draw(self, data: str) -> None:
        plain = not self.charset and DECAWM in self.mode and IRM not in self.mode
        for run in RUNS.findall(data):
            if plain and run[0].isascii() and run.isprintable():
                self._draw_ascii(run)
            else:
                super().draw(run)

    def _draw_ascii(self, text: str) -> None:
        """What pyte's does for a character that is one column wide, for a row of them at once."""
        cursor, cells = self.cursor, self._cells.setdefault(self.cursor.attrs, {})
        while text:
            if cursor.x == self.columns:
                self.dirty.add(cursor.y)
                self.carriage_return()
                self.linefeed()
            here, text = text[:self.columns - cursor.x], text[self.columns - cursor.x:]
            line = self.buffer[cursor.y]
            for column, character in enumerate(here, cursor.x):
                cell = cells.get(character)
                if cell is None:
                    cell = cells[character] = cursor.attrs._replace(data=character)
                line[column] = cell
            cursor.x += len(here)
        self.dirty.add(cursor.y)
