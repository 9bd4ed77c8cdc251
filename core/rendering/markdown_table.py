"""Tables: the columns are measured on the first rows, then fixed, so that every later row can be written at once."""

from __future__ import annotations

import re

from core.rendering.inline import BOLD, Pieces, plain_pieces, style_of
from core.rendering.layout import Layout, Run
from core.rendering.widths import text_width

_DELIMITER = re.compile(r"\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*")
_CODE = re.compile(r"(`+)[^`]+\1")
_PIPE = re.compile(r"(?<!\\)\|")
_NARROWEST = 3
_BETWEEN = " │ "


def is_delimiter_row(line: str, header: str) -> bool:
    return _DELIMITER.fullmatch(line.strip()) is not None and len(cells_of(line)) == len(cells_of(header))


def cells_of(line: str, count: int = 0) -> list[str]:
    """The cells of a row. If there are more than `count`, pipes in code do not separate: models forget to escape them."""
    line = line.strip().removeprefix("|")
    if line.endswith("|") and not line.endswith("\\|"):
        line = line[:-1]
    cells = _PIPE.split(line)
    if len(cells) > count > 0:
        cells = _PIPE.split(_CODE.sub(lambda code: _PIPE.sub(r"\\|", code.group()), line))
    return [cell.strip().replace("\\|", "|") for cell in cells]


class Table:
    """Collects rows until `fix`; from then on every row goes to the layout."""

    def __init__(self, header: str, delimiter: str) -> None:
        self.held = [header, delimiter]
        self._aligns = [_align(cell) for cell in cells_of(delimiter)]
        self._widths: list[int] = []
        self.fixed = False

    def add(self, line: str) -> None:
        self.held.append(line)

    def fix(self, layout: Layout, first: list[Run], indent: list[Run]) -> None:
        """Choose the widths and write what was held. `first` begins the first row, `indent` the others."""
        header, _, *rows = (self._pieces(line, BOLD if number == 0 else 0) for number, line in enumerate(self.held))
        available = layout.limit - sum(text_width(text) for _, text in indent)
        self._widths = _fit([max(map(_cells, column)) for column in zip(header, *rows)], available)
        raw, self.held, self.fixed = self.held, [], True
        if not self._widths:
            for number, line in enumerate(raw):
                self.write(line, layout, indent if number else first)
            return
        self._row(header, layout, first, indent)
        layout.begin(indent, indent)
        layout.emit("2", "─┼─".join("─" * width for width in self._widths))
        layout.end_row()
        for row in rows:
            self._row(row, layout, indent, indent)

    def write(self, line: str, layout: Layout, indent: list[Run]) -> None:
        if self._widths:
            self._row(self._pieces(line, 0), layout, indent, indent)
            return
        layout.begin(indent, indent)
        layout.text(line, "")
        layout.end_row()

    def _pieces(self, line: str, flag: int) -> list[Pieces]:
        count = len(self._aligns)
        cells = cells_of(line, count)
        if len(cells) > count:
            cells[count - 1:] = [" | ".join(cells[count - 1:])]
        cells += [""] * (count - len(cells))
        return [[(flags | flag, text) for flags, text in plain_pieces(cell)] for cell in cells]

    def _row(self, cells: list[Pieces], layout: Layout, first: list[Run], indent: list[Run]) -> None:
        columns = [_wrap(cell, width, layout.color) for cell, width in zip(cells, self._widths)]
        for number in range(max(map(len, columns))):
            layout.begin(indent if number else first, indent)
            parts = [column[number] if number < len(column) else ("", 0) for column in columns]
            padded = map(_pad, parts, self._widths, self._aligns)
            layout.emit("", _BETWEEN.join(padded).rstrip(" "))
            layout.end_row()


def _align(cell: str) -> str:
    return "center" if cell.startswith(":") and cell.endswith(":") else "right" if cell.endswith(":") else "left"


def _cells(pieces: Pieces) -> int:
    return sum(text_width(text) for _, text in pieces)


def _fit(widths: list[int], available: int) -> list[int]:
    """The widths, the widest made narrower until all fit; nothing if that is impossible."""
    widths = [max(width, _NARROWEST) for width in widths]
    room = available - len(_BETWEEN) * (len(widths) - 1)
    if room < _NARROWEST * len(widths):
        return []
    while sum(widths) > room:
        widest = max(widths)
        second = max((width for width in widths if width < widest), default=_NARROWEST)
        many = widths.count(widest)
        cut = max(min(sum(widths) - room, (widest - second) * many) // many, 1)
        widths[widths.index(widest)] = widest - cut
    return widths


def _wrap(pieces: Pieces, width: int, color: bool) -> list[tuple[str, int]]:
    """The rows of one cell, each with its cells."""
    if _cells(pieces) <= width and len(pieces) <= 1:
        return [(_styled(pieces, color), _cells(pieces))]
    layout = Layout(width, color=color)
    for flags, text in pieces:
        layout.text(text.replace("\n", " "), style_of("", flags))
    layout.end_row()
    rows = layout.take().rstrip("\n").split("\n")
    return [(row, text_width(_SGR.sub("", row))) for row in rows]


_SGR = re.compile(r"\x1b\[[0-9;]*m")


def _styled(pieces: Pieces, color: bool) -> str:
    layout = Layout(1, color=color)
    for flags, text in pieces:
        layout.emit(style_of("", flags), text)
    layout.emit("", "")
    return layout.take()


def _pad(cell: tuple[str, int], width: int, align: str) -> str:
    text, cells = cell
    gap = max(width - cells, 0)
    left = gap if align == "right" else gap // 2 if align == "center" else 0
    return " " * left + text + " " * (gap - left)
