"""How many terminal cells a text takes."""

from __future__ import annotations

from collections.abc import Callable

TAB = 8
PROSE = 88              # columns of a line of words; tables and code take what they need
_EMOJI_STYLE = "\ufe0f"
# our own signs and what models write most: known without loading the tables
_COMMON = "•◦▪☐☑│─┼…–—‘’“”→"
_cells: dict[str, int] = {_EMOJI_STYLE: 1} | dict.fromkeys(_COMMON, 1)
_measure: list[Callable[[str], int]] = []


def char_width(char: str) -> int:
    """Cells of one character; never too few, so that a row we broke ourselves is never
    broken again by the terminal.

    A variation selector that asks for emoji style counts 1: it makes a narrow sign wide on
    the terminals that obey it.
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
    """Whether every terminal agrees about the cells of `text`:
    no combining, joined, flag or emoji-style characters.
    """
    return text.isascii() or all(
        char != _EMOJI_STYLE and char_width(char) > 0 and not "\U0001F1E6" <= char <= "\U0001F1FF"
        for char in text)


def last_row(line: str, width: int) -> str:
    """The end of a line that stands on its last row, where the terminal breaks it at `width`."""
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
    """Rows that the cursor moves down when `text` is written from `column` on a
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
