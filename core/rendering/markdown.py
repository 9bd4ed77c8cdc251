"""Shows Markdown in a terminal while it streams."""

from __future__ import annotations

from collections.abc import Callable

from core.rendering.layout import Layout
from core.rendering.painter import Painter
from core.rendering.parser.blocks import Parser
from core.rendering.parser.code_blocks import CodeBlock
from core.rendering.parser.operations import Span
from core.rendering.rows import HELD_ROWS, Rows
from core.rendering.table_rows import TableRows
from core.rendering.theme import NO_STYLE, UNKNOWN, Theme
from core.rendering.widths import clip, text_width
from core.safe_text import safe_text

_ONLY_MARKS = "#>*+-_`~|.)[]: \t0123456789$\\="


class MarkdownStream:
    """Shows Markdown while it streams: finished text is written once, only the end is repainted.

    `before`: text that the reply continues, which is not shown again. `codes`: the code blocks on
    this screen, numbered from 1; each new one is added when it is complete. `size` gives the
    columns and rows of the screen.
    """

    def __init__(self, write: Callable[[str], None], size: Callable[[], tuple[int, int]], *,
                 color: bool = True, theme: Theme | None = None, before: str = "",
                 codes: list[CodeBlock] | None = None) -> None:
        self._theme = (theme or UNKNOWN) if color else NO_STYLE
        self._painter = Painter(write)
        self._size = size
        self._parser = Parser()
        codes = [] if codes is None else codes
        self._rows = Rows(self._theme, codes)
        self._columns = self._height = 1
        self._status = ""           # a status line below the text
        if before:
            self._continue(before, codes)

    def _continue(self, before: str, codes: list[CodeBlock]) -> None:
        """Parse the text shown before, and begin again the block in which it broke off."""
        self._measure()
        self._parser.feed(before)
        self._parser.settle()
        self._rows.codes = []
        self._rows.apply(self._parser.take())
        self._rows.begin_again(codes)

    def feed(self, text: str) -> None:
        """Show one frame of raw text, with at most one write."""
        self._measure()
        self._status = ""
        self._parser.feed(text)
        self._paint()

    def status(self, text: str) -> None:
        """Show a line below the text until the next frame or the end."""
        self._measure()
        self._status = clip(safe_text(text), max(self._columns - 1, 1))
        self._paint()

    def finish(self) -> None:
        """End the reply, wherever it stopped: open blocks are closed, undecided syntax is text."""
        self._measure()
        self._status = ""
        self._parser.finish()
        self._paint()

    def _measure(self) -> None:
        width, height = self._size()
        self._columns = max(width, 1)
        self._height = max(height - 2, 1)
        self._rows.resize(max(self._columns - 1, 1))
        self._rows.most_held = min(HELD_ROWS, max(self._height - 1, 2))

    def _paint(self) -> None:
        self._rows.apply(self._parser.take())
        layout = self._rows.layout
        done, tail = layout.take(), self._tail()
        if self._status:
            dim = self._theme.dim
            tail += ("\n" if tail or layout.col else "") + (f"\x1b[0;{dim}m{self._status}" if dim
                                                            else self._status)
        self._painter.paint(done, layout.style, layout.col, tail, width=self._columns,
                            rows=self._height)

    def _tail(self) -> str:
        """The undecided end of the text, shown as plain words."""
        tail, rows = self._parser.tail(), self._rows
        layout = rows.layout.fork()
        if tail.text:
            rows.words(Span(tail.text), layout)
        lines = list(tail.lines)
        head = tail.head if tail.code or tail.head.strip(_ONLY_MARKS) else ""
        if rows.table is not None:
            self._table_tail(layout, rows.table)
        elif tail.code:
            self._code_tail(layout, head)
        elif lines:
            self._held_tail(layout, [*lines, head] if head else lines)
        elif head:
            self._words_tail(layout, head, gap=tail.gap)
        layout.flush()
        return layout.take()

    def _code_tail(self, layout: Layout, code: str) -> None:
        indent = self._rows.margins_now()
        layout.begin(indent, [])
        room = self._columns - 1 - sum(text_width(text) for _, text in indent)
        # terminals differ in where a wide character wraps
        layout.emit("", code if code.isascii() else clip(code, room))

    def _table_tail(self, layout: Layout, table: TableRows) -> None:
        """Show the open table: complete rows, or their number until the columns are measured."""
        if not table.fixed:
            count = len(table.held) - 1
            layout.emit(self._theme.dim,
                        f"\u25b8 Table, {count} "
                        f"{'row' if count == 1 else 'rows'}"[:self._columns - 1])

    def _held_tail(self, layout: Layout, lines: list[str]) -> None:
        if layout.col:
            layout.end_row()
        text = "\n".join(clip(line.replace("\t", " "), max(self._columns - 1, 1)) for line in lines)
        layout.emit(self._theme.dim, text)

    def _words_tail(self, layout: Layout, text: str, *, gap: bool) -> None:
        if layout.col:
            layout.flush()
            layout.newline()
        else:
            self._rows.begin_block(layout, gap=gap)
        layout.text(text.lstrip(" "), "")
