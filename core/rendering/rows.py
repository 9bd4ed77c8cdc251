"""Applies Markdown operations to terminal rows: margins, styles, code and tables."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from core.rendering.highlight import Highlighter
from core.rendering.layout import Layout, Run
from core.rendering.parser.code_blocks import CodeBlock
from core.rendering.parser.operations import (BOLD, CODE, END, IMAGE, ITALIC, MATH, STRIKE, Close,
                                              Define, Open, Operation, Retag, Span)
from core.rendering.table_rows import TableRows
from core.rendering.theme import Theme
from core.rendering.widths import PROSE, text_width

HELD_ROWS = 50          # rows of a table that are held to measure its columns
_BULLETS = ("\u2022 ", "\u25e6 ", "\u25aa ")
_BOXES = {"x": "\u2611 ", "_": "\u2610 "}
_QUOTE = "\u2502 "


class Rows:
    """The terminal rows of operations for a limited width; finished rows are in `layout.out`."""

    def __init__(self, theme: Theme, codes: list[CodeBlock]) -> None:
        self.layout = Layout(1)
        self.codes = codes                  # complete code blocks
        self.most_held = HELD_ROWS
        self._theme = theme
        self._limit = 1
        self._leaf = ""
        self._base = ""
        self._resumed = False               # the open block has text, but none on this screen
        self._empty = False                 # a heading without text so far
        self._blocks: list[str] = []        # indents of open containers: quotes' signs or spaces
        self._label = ""                    # the marker of an item that has no row yet
        self._lists: list[str] = []
        self._highlighter: Highlighter | None = None
        self._in_line = False               # within a line of code, which is written in pieces
        self._info = ""
        self._source: list[str] = []        # the text of the open code block
        self.table: TableRows | None = None     # the open table
        self._row: list[list[Run]] = []

    def resize(self, limit: int) -> None:
        self._limit = limit
        self.layout.limit = self._width_of(self._leaf)

    def _width_of(self, leaf: str) -> int:
        return self._limit if leaf in ("code", "table") else min(self._limit, PROSE)

    def apply(self, operations: Iterable[Operation]) -> None:
        """Apply operations in order."""
        for operation in operations:
            if type(operation) is Span:
                self._span(operation)
            elif type(operation) is Open:
                self._open(operation)
            elif type(operation) is Close:
                self._close(operation.tag)
            elif type(operation) is Retag:
                self._retag(operation.tag)
            elif type(operation) is Define:
                self._define(operation)

    def margins(self) -> tuple[list[Run], list[Run]]:
        """(start of a block's first row, start of its other rows)."""
        dim = self._theme.dim
        runs: list[Run] = [(dim if block == _QUOTE else "", block) for block in self._blocks]
        if sum(text_width(block) for block in self._blocks) > self._limit // 2:
            runs = []
        if not self._label:
            return runs, runs
        label, self._label = self._label, ""
        style = dim if not label.startswith("\u2611") else self._theme.accent
        return [*runs[:-1], (style, label)], runs

    def margins_now(self) -> list[Run]:
        """The start of the open block's rows after the first."""
        return self._peeked()[1]

    def _peeked(self) -> tuple[list[Run], list[Run]]:
        label = self._label
        margins = self.margins()
        self._label = label
        return margins

    def begin_again(self, codes: list[CodeBlock]) -> None:
        """Discard the rows so far but keep the open blocks; the next text begins on a new row
        inside them.

        `codes` replaces the code blocks; its last one is the open one as far as it was shown.
        """
        self.layout, self.codes = Layout(self.layout.limit), codes
        self._label = ""
        if self._leaf == "code":
            del codes[-1:]
            self.layout.begin(*self.margins())
            self.layout.emit(self._theme.dim, f"\u2500\u2500 code {len(codes) + 1} continued")
            self.layout.end_row()
            if self._in_line:
                self.layout.begin(*self.margins())
        elif self.table is not None:
            del self.table.held[1:]
        else:
            self._resumed = bool(self._leaf)

    # Blocks

    def _open(self, block: Open) -> None:
        if block.gap:
            self._gap()
        match block.tag:
            case "ul" | "ol":
                self._show_label()
                self._lists.append(block.tag)
            case "li":
                self._item(block.detail)
            case "quote":
                self._show_label()
                self._blocks.append(_QUOTE)
            case "code":
                self._start_code(block.detail)
            case "table":
                self.table = TableRows(self._theme.dim, self._theme.role("bold"))
            case "tr":
                self._row = []
            case "th" | "td":
                self._cell(block)
            case "hr":
                self._rule()
            case _:
                self._words(block.tag)

    def _words(self, tag: str) -> None:
        self._leaf = tag
        self.layout.limit = self._width_of(tag)
        self._base = self._heading_style(tag)
        self.layout.begin(*self.margins())
        if tag[0] == "h" and not self._theme.styled:
            self.layout.text("#" * int(tag[1]) + " ", self._base)
        self._empty = tag[0] == "h"

    def _heading_style(self, tag: str) -> str:
        if tag[0] != "h":
            return ""
        return self._theme.role("bold underline" if tag == "h1" else "bold")

    def _gap(self) -> None:
        quotes = "".join(block for block in self._blocks if block == _QUOTE)
        if self._label:
            return
        self.layout.emit(self._theme.dim if quotes else "", quotes.rstrip())
        self.layout.end_row()

    def _item(self, detail: str) -> None:
        number, box = (detail[:-1], detail[-1]) if detail[-1:] in ("x", "_") else (detail, "")
        label = f"{number} " if number else _BULLETS[min(max(len(self._lists) - 1, 0), 2)]
        if box:
            label = (f"{number} " if number else "") + _BOXES[box]
        self._blocks.append(" " * text_width(label))
        self._label = label

    def _show_label(self) -> None:
        """Show an item's marker even if it is empty or begins with another container."""
        if self._label:
            self.layout.begin(*self.margins())
            self.layout.end_row()

    def _close(self, tag: str) -> None:
        match tag:
            case "ul" | "ol":
                self._lists.pop()
            case "li":
                self._show_label()
                self._blocks.pop()
            case "quote":
                self._blocks.pop()
            case "code":
                self._end_code()
            case "th" | "td" | "hr":
                pass
            case "tr":
                self._end_row()
            case "table":
                self._end_table()
            case _:
                if self._empty:
                    self.layout.text("#" * int(tag[1]), self._base)
                if not self._resumed:
                    self.layout.end_row()
                self._leaf, self._empty, self._resumed = "", False, False

    def _retag(self, tag: str) -> None:
        """Make a paragraph a heading: its text is already shown, so it is underlined below."""
        width = min(max(self.layout.col + self.layout.word_width - self.layout.indent_width, 3),
                    self.layout.limit)
        self.layout.flush()
        self.layout.newline()
        self.layout.emit(self._theme.dim, ("\u2550" if tag == "h1" else "\u2500") * width)

    def _rule(self) -> None:
        first, _ = self.margins()
        self.layout.begin(first, [])
        self.layout.emit(self._theme.dim, "\u2500" * max(min(self._limit - self.layout.col, 40), 3))
        self.layout.end_row()

    def _define(self, definition: Define) -> None:
        if definition.gap:
            self._gap()
        self._words("p")
        self.layout.text(f"[{definition.label}]: ", self._theme.dim)
        self.layout.unbroken(definition.href, self._theme.dim)
        self._close("p")

    # Words

    def _span(self, span: Span) -> None:
        if self._leaf == "code":
            self._code(span.text)
        elif self.table is not None:
            self._row[-1] += self._runs(span)
        else:
            self.words(span)

    def words(self, span: Span, layout: Layout | None = None) -> None:
        """Write a span at the end of the open block, or to `layout` if given."""
        layout = layout or self.layout
        text, marks, href, _ = span
        if self._resumed:
            layout.begin(*self._peeked())
            self._resumed = layout is not self.layout
            text = text.lstrip("\n")
        self._empty = False
        if not marks and not href:
            layout.text(text, self._base)
            return
        for style, piece in self._runs(span):
            if piece.startswith((" (", "http", "ftp://", "www.", "mailto:")) and href:
                self._address(piece, style, layout)
            elif marks & (CODE | MATH):
                layout.together(piece, style)
            else:
                layout.text(piece, style)

    @staticmethod
    def _address(piece: str, style: str, layout: Layout) -> None:
        if piece[0] == " ":
            layout.text(" ", "")
        layout.unbroken(piece.lstrip(" "), style)

    def _runs(self, span: Span) -> list[Run]:
        text, marks, href, _ = span
        if marks & CODE and self._theme.marked:
            text = f"`{text}`"
        runs = [(_style(self._theme, self._base, marks, bool(href)), text)]
        if marks & END and href and not href.endswith(text):
            runs.append((self._theme.dim, f" ({href})"))
        return runs

    # Code

    def _start_code(self, info: str) -> None:
        self._leaf = "code"
        self._info, self._source = info, []
        self.layout.limit = self._limit
        words = re.match(r"[\w+#.-]*", info.lstrip("{. "))
        language = words.group() if words else ""
        self._highlighter = Highlighter(language)
        name = f"{info} \u00b7 " if info else ""
        self.layout.begin(*self.margins())
        self.layout.emit(self._theme.dim, f"\u2500\u2500 {name}code {len(self.codes) + 1}")
        self.layout.end_row()

    def _code(self, text: str) -> None:
        self._source.append(text)
        lines = text.split("\n")
        for line in lines[:-1]:
            if self._in_line:
                self.layout.raw(line)
            else:
                self._code_line(line)
            self.layout.end_row()
            self._in_line = False
        if lines[-1]:
            if not self._in_line:
                self.layout.begin(*self.margins())
            self.layout.raw(lines[-1])
            self._in_line = True

    def _code_line(self, line: str) -> None:
        self.layout.begin(*self.margins())
        if self._highlighter is not None:
            for role, piece in self._highlighter.line(line):
                self.layout.emit(self._theme.role(role), piece)

    def _end_code(self) -> None:
        if self._in_line:
            self.layout.end_row()
        self._in_line, self._leaf, self._highlighter = False, "", None
        self.codes.append(CodeBlock(self._info, "".join(self._source)))
        self.layout.begin(*self.margins())
        self.layout.emit(self._theme.dim, "\u2500\u2500")
        self.layout.end_row()

    # Tables

    def _cell(self, cell: Open) -> None:
        self._leaf, self._base = "table", ""
        self._row.append([])
        if cell.tag == "th" and self.table is not None:
            self.table.aligns.append(cell.detail)      # type: ignore[arg-type]

    def _end_row(self) -> None:
        table = self.table
        if table is None:
            return
        self.layout.limit = self._limit
        if table.fixed:
            table.write(self._row, self.layout, self.margins()[1], self.margins()[1])
            return
        table.held.append(self._row)
        if len(table.held) > self.most_held:
            table.fix(self.layout, *self.margins(), complete=False)

    def _end_table(self) -> None:
        if self.table is not None and not self.table.fixed:
            self.layout.limit = self._limit
            self.table.fix(self.layout, *self.margins(), complete=True)
        if self.table is not None:
            self.table.close(self.layout, self.margins_now())
        self.table, self._leaf = None, ""

    def begin_block(self, layout: Layout, *, gap: bool) -> None:
        """Begin a tentative block of text in `layout`, a copy."""
        if gap and not self._label:
            layout.end_row()
        layout.limit = min(self._limit, PROSE)
        layout.begin(*self._peeked())


@lru_cache(maxsize=512)
def _style(theme: Theme, base: str, marks: int, link: bool) -> str:
    names = [name for flag, name in ((BOLD, "bold"), (ITALIC, "italic"), (STRIKE, "strike"),
                                     (CODE, "accent")) if marks & flag]
    if link and not marks & IMAGE:
        names.append("underline")
    return ";".join(filter(None, [base, theme.role(" ".join(names))]))
