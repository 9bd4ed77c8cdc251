"""Measures text in terminal cells."""

from __future__ import annotations

from collections.abc import Callable

TAB = 8
PROSE = 88              # columns of a line of words; tables and code take what they need
_EMOJI_STYLE = "\ufe0f"
# our own signs and the most frequent characters, measured without loading the tables
_COMMON = "•◦▪☐☑│─┼…–—‘’“”→"
_cells: dict[str, int] = {_EMOJI_STYLE: 1} | dict.fromkeys(_COMMON, 1)
_measure: list[Callable[[str], int]] = []


def char_width(char: str) -> int:
    """The cells of one character; rather too many, so that the terminal never breaks a row that we
    wrapped.

    A variation selector for emoji style counts 1: on some terminals it makes a narrow sign wide.
    """
    if " " <= char <= "~":
        return 1
    cells = _cells.get(char)
    if cells is None:
        if not _measure:
            from wcwidth import wcwidth
            _measure.append(wcwidth)
        cells = _cells[char] = max(_measure[0](char), 0)
    return cells


def text_width(text: str) -> int:
    return len(text) if text.isascii() else sum(map(char_width, text))


def shorten(text: str, cells: int) -> str:
    """The text, or as much of its beginning as fits with an ellipsis."""
    return text if text_width(text) <= cells else clip(text, max(cells - 1, 1)) + "\u2026"


def clip(text: str, cells: int) -> str:
    """The beginning of `text` that fits into `cells`."""
    if text.isascii():
        return text[:max(cells, 0)]
    used = 0
    for number, char in enumerate(text):
        used += char_width(char)
        if used > cells:
            return text[:number]
    return text


def is_exact(text: str) -> bool:
    """Whether all terminals agree on the cells of `text`: it has no combining, joined, flag or
    emoji-style characters.
    """
    return text.isascii() or all(
        char != _EMOJI_STYLE and char_width(char) > 0 and not "\U0001F1E6" <= char <= "\U0001F1FF"
        for char in text)


def last_row(line: str, width: int) -> str:
    """The part of a line on its last row, if the terminal wraps it at `width`."""
    if line.isascii() and "\t" not in line:
        return line[max(len(line) - 1, 0) // width * width:]
    start = column = 0
    for number, char in enumerate(line):
        if char == "\t":
            column = min(column // TAB * TAB + TAB, width - 1)
            continue
        cells = char_width(char)
        if column + cells > width:
            start, column = number, 0
        column += cells
    return line[start:]


def visual_end(text: str, column: int, width: int) -> int:
    """The number of rows that the cursor moves down when `text` is written from `column` on a
    terminal that wraps at `width`.
    """
    rows = 0
    for number, line in enumerate(text.split("\n")):
        cells = _line_cells(line, 0 if number else column, width)
        rows += (number > 0) + max(cells - 1, 0) // width
    return rows


def _line_cells(line: str, column: int, width: int) -> int:
    if line.isascii() and "\t" not in line:
        return column + len(line)
    for char in line:
        if char == "\t":
            row, inside = divmod(column, width)
            column = (row * width + min((inside // TAB + 1) * TAB, width - 1) if inside < width - 1
                      else column)
            continue
        cells = char_width(char)
        if cells == 2 and column % width == width - 1:
            column += 1
        column += cells
    return column
