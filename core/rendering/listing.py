"""Wraps the program's own text and tables to the width of the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from core.config.terminal import terminal_size
from core.rendering.columns import word_rows, wrapped
from core.rendering.widths import text_width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

GAP = 3          # cells between columns
LAST = 12        # cells that the last column needs to be wrapped in
ROOMY = 40       # cells of the last column for which optional columns are dropped
BEHIND = 2       # cells between a heading and its value in a list
HANGING = 2      # indent of a name's details in a list
INDENT = 4       # indent of a description below its name
BESIDE = 28      # cells of the longest name that has its description beside it
Row = Sequence[str]
Line = tuple[tuple[str, str], ...]      # pieces of a row, each with the role that styles it
# what may follow the digits of a number, after a space or not
_UNITS = frozenset(("", "%", "bytes", "tokens", "B", "kB", "MB", "GB", "TB", "k", "M", "\u00b5",
                    "m", "s", "ks", "Ms", "\u00b5s", "ms"))


def wrap_words(text: str, width: int) -> list[str]:
    """The text's lines, broken between words and indented like their first row.

    A word that is too long is not broken, so that it can be copied in one piece.
    """
    lines: list[str] = []
    for line in text.split("\n"):
        lines += [line] if text_width(line) <= width else _wrap_line(line, width)
    return lines


def fitted(text: str, out: TextIO) -> str:
    """The text for `out`: wrapped for a terminal, unchanged for anything else."""
    if not out.isatty():
        return text
    return "\n".join(wrap_words(text, max(20, terminal_size(80, 24)[0]) - 1))


def _wrap_line(line: str, width: int) -> list[str]:
    indent = line[:len(line) - len(line.lstrip(" "))]
    return word_rows(line.strip(" "), indent, width)


def table_lines(columns: Row, rows: Sequence[Row], width: int, *, optional: Sequence[str] = (),
                headings: Mapping[int, str] | None = None, rule: str = "\u2500") -> Iterator[Line]:
    """Lines of at most `width` cells. `headings` are written above the rows with those numbers.

    Empty columns are left out. If the table is too wide, `optional` columns are dropped in order,
    then the last column is wrapped, and finally the table becomes a list. Of two columns, the
    second is written below the first if there is little room beside it. A table without column
    titles has bold names.
    """
    columns, rows = _without(columns, rows, width, optional)
    widths = _measured(columns, rows)
    if len(columns) == 2 and not _fits(widths, width) and widths[0] > width // 3:
        yield from _stacked(rows, width, headings or {})
        return
    widths[-1] = min(widths[-1], width - sum(widths[:-1]) - GAP * (len(widths) - 1))
    if widths[-1] < min(LAST, _measured(columns, rows)[-1]):
        yield from _listed(columns, rows, width, headings or {})
        return
    right = _numbers(columns, rows)
    if any(columns):
        yield from _row_lines(columns, widths, right, "bold", "bold")
        yield (((" " * GAP).join(rule * cells for cells in widths), "dim"),)
    for number, row in enumerate(rows):
        if headings and number in headings:
            yield ((headings[number], "bold"),)
        yield from _row_lines(row, widths, right, "" if any(columns) else "bold", "")


def _measured(columns: Row, rows: Sequence[Row]) -> list[int]:
    return [max(map(text_width, cells)) for cells in zip(columns, *rows)]


def _fits(widths: Sequence[int], width: int) -> bool:
    return sum(widths) + GAP * (len(widths) - 1) <= width


def _without(columns: Row, rows: Sequence[Row], width: int,
             optional: Sequence[str]) -> tuple[Row, Sequence[Row]]:
    empty = [name for place, name in enumerate(columns)
             if place and rows and not any(row[place] for row in rows)]
    for name in (*empty, *optional):
        widths = _measured(columns, rows)
        if name not in empty and _fits([*widths[:-1], min(widths[-1], ROOMY)], width):
            break
        if name not in columns:
            continue
        place = list(columns).index(name)
        columns = [*columns[:place], *columns[place + 1:]]
        rows = [[*row[:place], *row[place + 1:]] for row in rows]
    return columns, rows


def _numbers(columns: Row, rows: Sequence[Row]) -> set[int]:
    """The columns of numbers, which are aligned right; never the first, which contains names."""
    return {place for place in range(1, len(columns))
            if any(row[place] for row in rows)
            and all(not row[place] or _is_number(row[place]) for row in rows)}


def _is_number(cell: str) -> bool:
    """Whether this is a number, perhaps with a unit, such as "1,024", "$0.02" or "12 ms"."""
    amount = cell[1:] if cell.startswith(("\u2248", "$")) else cell
    unit = amount.lstrip("0123456789.,")
    return unit != amount and unit.removeprefix(" ") in _UNITS


def _row_lines(row: Row, widths: Sequence[int], right: set[int], first: str,
               others: str) -> Iterator[Line]:
    """The lines of a row; `first` is the role of its first cell, `others` that of the rest."""
    cells = [_cell_lines(cell, width) for cell, width in zip(row, widths, strict=True)]
    for number in range(max(map(len, cells))):
        parts = [_padded(cell[number] if number < len(cell) else "", widths[place], place in right)
                 for place, cell in enumerate(cells)]
        text = (" " * GAP).join(parts).rstrip()
        head = len(parts[0]) if first != others else len(text)
        yield tuple(piece for piece in ((text[:head], first), (text[head:], others)) if piece[0])


def _cell_lines(cell: str, width: int) -> list[str]:
    if len(cell) <= width and cell.isascii() and cell.isprintable():
        return [cell]           # a fast path for most cells
    return list(wrapped(cell, width)) or [""]


def _padded(cell: str, width: int, at_right: bool) -> str:
    space = " " * (width - text_width(cell))
    return space + cell if at_right else cell + space


def _listed(columns: Row, rows: Sequence[Row], width: int,
            headings: Mapping[int, str]) -> Iterator[Line]:
    """The rows as a list: the first cell, then a line for each other cell after its title."""
    names = max(map(text_width, columns[1:]), default=0)
    left = HANGING + names + BEHIND if width - HANGING - names - BEHIND >= LAST else 2 * HANGING
    for number, row in enumerate(rows):
        if number:
            yield ()
        if number in headings:
            yield ((headings[number], "bold"),)
        yield from (((line, "bold"),) for line in wrapped(row[0], width))
        for name, cell in zip(columns[1:], row[1:], strict=True):
            if cell:
                yield from _named(name, cell, width, left)


def _named(name: str, cell: str, width: int, left: int) -> Iterator[Line]:
    """A value after its title, or below it if there is no room."""
    lines = list(wrapped(cell, width - left))
    room = left - HANGING - text_width(name)
    head = (" " * HANGING + name, "dim")
    if room >= BEHIND:
        yield (head, (" " * room + lines.pop(0), ""))
    else:
        yield (head,)
    yield from (((" " * left + line, ""),) for line in lines)


def _stacked(rows: Sequence[Row], width: int, headings: Mapping[int, str]) -> Iterator[Line]:
    """Rows of two columns, with the second beside short names or below long ones."""
    left = BESIDE if width >= 2 * BESIDE else INDENT
    for number, (name, told) in enumerate(rows):
        if number in headings:
            yield from ([()] if number else [])
            yield ((headings[number], "bold"),)
        lines = [" " * left + line for line in wrapped(told, width - left)]
        if text_width(name) + GAP <= left:
            lines[0] = name + " " * (left - text_width(name)) + lines[0].lstrip(" ")
            name = ""
        for line in filter(str.strip, [*wrapped(name, width), *lines]):
            yield ((line.rstrip(), ""),)
