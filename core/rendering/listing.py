"""Our own words in a terminal of any width:
lines broken between words, tables that never are wider than the screen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TextIO

from core.rendering.columns import wrapped
from core.rendering.widths import text_width

GAP = 2          # cells between columns
NARROWEST = 8    # cells of a column that has to give way
INDENT = 4       # cells before a description that stands under its name
BESIDE = 28      # cells for names that have their description beside them
Row = Sequence[str]


def wrap_words(text: str, width: int) -> list[str]:
    """The text's lines, broken between words, further lines indented as the first.

    A word that is too long is left whole:

    the terminal breaks it, and it can be copied in one piece.
    """
    lines: list[str] = []
    for line in text.split("\n"):
        lines += [line] if text_width(line) <= width else _wrap_line(line, width)
    return lines


def fitted(text: str, out: TextIO) -> str:
    """The text as it is to be written to `out`:
    a terminal gets it broken between words, everything else as it is.
    """
    if not out.isatty():
        return text
    from shutil import get_terminal_size     # loads three compressors; a pipe does without
    return "\n".join(wrap_words(text, max(20, get_terminal_size((80, 24)).columns) - 1))


def _wrap_line(line: str, width: int) -> list[str]:
    indent = line[:len(line) - len(line.lstrip(" "))]
    rows, row = [], ""
    for word in line.strip(" ").split(" "):
        longer = f"{row} {word}" if row else indent + word
        if row and text_width(longer) > width:
            rows.append(row.rstrip())
            longer = indent + word
        row = longer
    return [*rows, row]


def table_lines(columns: Row, rows: Sequence[Row], width: int, *, optional: Sequence[str] = (),
                headings: Mapping[int, str] | None = None) -> Iterator[tuple[str, bool]]:
    """Lines of at most `width` cells, and whether each is a heading.

    `headings` stand above the rows of those numbers.

    Where it is too narrow, the `optional` columns are left out, the first one first; then the
    last column wraps, then all do. Of two columns, the second one stands under the first where
    there is little room beside it.
    """
    columns, rows = _without(columns, rows, width, optional)
    widths = _measured(columns, rows)
    if len(columns) == 2 and not _fits(widths, width) and widths[0] > width // 3:
        yield from _stacked(rows, width, headings or {})
        return
    widths = _fitted(widths, width)
    for line in _row_lines(columns, widths):
        yield line, True
    for number, row in enumerate(rows):
        if headings and number in headings:
            yield headings[number], True
        for line in _row_lines(row, widths):
            yield line, False


def _measured(columns: Row, rows: Sequence[Row]) -> list[int]:
    return [max(map(text_width, cells)) for cells in zip(columns, *rows)]


def _fits(widths: Sequence[int], width: int) -> bool:
    return sum(widths) + GAP * (len(widths) - 1) <= width


def _without(columns: Row, rows: Sequence[Row], width: int,
             optional: Sequence[str]) -> tuple[Row, Sequence[Row]]:
    for name in optional:
        if _fits(_measured(columns, rows), width):
            break
        place = list(columns).index(name)
        columns = [*columns[:place], *columns[place + 1:]]
        rows = [[*row[:place], *row[place + 1:]] for row in rows]
    return columns, rows


def _fitted(widths: list[int], width: int) -> list[int]:
    """The last column gives way down to a third of the screen,
    then the widest one does, cell by cell.
    """
    room = width - GAP * (len(widths) - 1)
    fitted = [*widths[:-1],
              min(widths[-1], max(room - sum(widths[:-1]), min(widths[-1], width // 3)))]
    while sum(fitted) > room and max(fitted) > 1:
        place = fitted.index(max(fitted[:-1] if max(fitted[:-1], default=0) > NARROWEST
                                 else fitted))
        fitted[place] -= 1
    return fitted


def _row_lines(row: Row, widths: Sequence[int]) -> Iterator[str]:
    cells = [list(wrapped(cell, width)) or [""] for cell, width in zip(row, widths, strict=True)]
    for number in range(max(map(len, cells))):
        parts = [cell[number] if number < len(cell) else "" for cell in cells]
        yield (" " * GAP).join(part + " " * (width - text_width(part))
                               for part, width in zip(parts, widths)).rstrip()


def _stacked(rows: Sequence[Row], width: int,
             headings: Mapping[int, str]) -> Iterator[tuple[str, bool]]:
    """Short names have their description beside them if the screen has room for that,
    long ones under them.
    """
    left = BESIDE if width >= 2 * BESIDE else INDENT
    for number, (name, told) in enumerate(rows):
        if number in headings:
            yield headings[number], True
        lines = [" " * left + line for line in wrapped(told, width - left)]
        if text_width(name) + GAP <= left:
            lines[0] = name + " " * (left - text_width(name)) + lines[0].lstrip(" ")
            name = ""
        for line in filter(str.strip, [*wrapped(name, width), *lines]):
            yield line.rstrip(), False
