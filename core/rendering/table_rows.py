"""Shows Markdown tables in a terminal: in columns, or as a list if they do not fit."""

from __future__ import annotations

from collections.abc import Sequence

from core.regex import regex
from core.rendering.layout import Layout, Run
from core.rendering.parser.cells import Alignment
from core.rendering.widths import text_width

GAP = 3                 # cells between columns
LAST = 12               # cells that the last column needs to be wrapped in
NARROWEST = 3
_SGR = regex(r"\x1b\[[0-9;]*m")
Cell = list[Run]


class TableRows:
    """Holds rows until fix(); after that every row is written to the layout."""

    def __init__(self, dim: str, bold: str) -> None:
        self._dim = dim
        self._bold = bold
        self.held: list[list[Cell]] = []
        self.aligns: list[Alignment] = []
        self._widths: list[int] = []
        self._shown = 0
        self._head: list[str] = []
        self._first: list[Run] = []     # the start of the first row
        self.fixed = False

    def fix(self, layout: Layout, first: list[Run], indent: list[Run], *, complete: bool) -> None:
        """Choose the column widths and write the held rows.

        `first` begins the first row, `indent` the others. If the table is not `complete`, the
        remaining width is distributed for longer cells that may follow, most of it to the last
        column, which has no edge.
        """
        available = layout.limit - sum(text_width(text) for _, text in indent)
        natural = [max(map(_cells, column)) for column in zip(*self.held)]
        growing = [place for place, align in enumerate(self.aligns) if align in ("", "left")]
        self._widths = _fit(natural, available, growing, complete=complete)
        rows, self.held, self.fixed = self.held, [], True
        for number, row in enumerate(rows):
            self.write(row, layout, indent if number else first, indent)

    def write(self, row: list[Cell], layout: Layout, first: list[Run], indent: list[Run]) -> None:
        number, self._shown = self._shown, self._shown + 1
        if number == 0:
            self._head = ["".join(text for _, text in cell) for cell in row]
        if not self._widths:
            self._listed(row, number, layout, first, indent)
            return
        if number == 0:
            row = [[(_both(self._bold, style), text) for style, text in cell] for cell in row]
        self._row(row, layout, first, indent)
        if number == 0:
            layout.begin(indent, indent)
            layout.emit(self._dim, (" " * GAP).join("\u2500" * width for width in self._rule))
            layout.end_row()

    @property
    def _rule(self) -> list[int]:
        return self._widths

    def _row(self, cells: list[Cell], layout: Layout, first: list[Run], indent: list[Run]) -> None:
        columns = [_wrap(cell, width) for cell, width in zip(cells, self._widths)]
        for number in range(max(map(len, columns))):
            layout.begin(indent if number else first, indent)
            parts = [column[number] if number < len(column) else ("", 0) for column in columns]
            padded = map(_pad, parts, self._widths, self.aligns)
            layout.emit("", (" " * GAP).join(padded).rstrip(" "))
            layout.end_row()

    def _listed(self, row: list[Cell], number: int, layout: Layout, first: list[Run],
                indent: list[Run]) -> None:
        """Write a line `heading: value` for each cell; those after the first are indented."""
        if number == 0:
            self._first = first
            return
        if number > 1:
            layout.begin(indent, indent)
            layout.end_row()
        title = [(_both(self._bold, style), text) for style, text in row[0]]
        self._text([*self._label(self._head[0]), *title], layout,
                   self._first if number == 1 else indent, indent)
        for head, cell in zip(self._head[1:], row[1:]):
            if cell or number == 1:
                self._text([*self._label(head), *cell], layout, [*indent, ("", "  ")],
                           [*indent, ("", "    ")])

    def _label(self, heading: str) -> Cell:
        return [(self._dim, f"{heading}:"), ("", " ")] if heading else []

    def close(self, layout: Layout, indent: list[Run]) -> None:
        """End the table; a list without rows still shows its headings."""
        if self._shown == 1 and not self._widths:
            self._text([("", " \u00b7 ".join(self._head))], layout, self._first, indent)

    @staticmethod
    def _text(runs: Cell, layout: Layout, first: list[Run], indent: list[Run]) -> None:
        layout.begin(first, indent)
        layout.indent_width = sum(text_width(text) for _, text in indent)
        for style, text in runs:
            layout.text(text, style)
        layout.end_row()


def _both(style: str, more: str) -> str:
    return ";".join(filter(None, (style, more)))


def _cells(cell: Cell) -> int:
    text = "".join(text for _, text in cell)
    return max(map(text_width, text.split("\n"))) if "\n" in text else text_width(text)


def _fit(natural: Sequence[int], available: int, growing: Sequence[int], *,
         complete: bool) -> list[int]:
    """The column widths; only the last column is narrowed. Empty if it would be too narrow."""
    widths = [max(width, NARROWEST) for width in natural]
    room = available - GAP * (len(widths) - 1)
    spare = room - sum(widths)
    if spare < 0:
        widths[-1] += spare
        return widths if widths[-1] >= LAST else []
    if not complete:
        for place in growing:
            more = min(spare, widths[place] // 2 + 4) if place < len(widths) - 1 else spare
            widths[place] += more
            spare -= more
    return widths


def _wrap(cell: Cell, width: int) -> list[tuple[str, int]]:
    """The rows of one cell, as (text, width in cells)."""
    text = cell[0][1] if len(cell) == 1 else "".join(text for _, text in cell)
    cells = text_width(text)
    if cells <= width and "\n" not in text:
        return [(_styled(cell, text), cells)]
    layout = Layout(width)
    for style, text in cell:
        layout.text(text, style)
    layout.end_row()
    rows = layout.take().rstrip("\n").split("\n")
    return [(row, text_width(_SGR.sub("", row))) for row in rows]


def _styled(cell: Cell, text: str) -> str:
    """The `text` of a cell with its styles."""
    if not any(style for style, _ in cell):
        return text
    layout = Layout(len(text))
    for style, piece in cell:
        layout.emit(style, piece)
    layout.emit("", "")
    return layout.take()


def _pad(cell: tuple[str, int], width: int, align: str) -> str:
    text, cells = cell
    gap = max(width - cells, 0)
    left = gap if align == "right" else gap // 2 if align == "center" else 0
    return " " * left + text + " " * (gap - left)
