"""The streaming Markdown renderer: raw model text in, rows of a terminal out."""

from __future__ import annotations

import re
from collections.abc import Callable

from core.rendering.grammar import Container, Item, Line, NeedMore, Quote, parse_line
from core.rendering.highlight import Highlighter
from core.rendering.inline import Inline
from core.rendering.layout import Layout, Run
from core.rendering.markdown_table import Table, is_delimiter_row
from core.rendering.painter import Painter
from core.rendering.widths import clip, text_width
from core.safe_text import safe_text

_LONGEST_HEAD = 4096            # a line that is undecided for longer is text
_TAIL_ROWS = 8
_HELD_ROWS = 16                 # of a table, to measure its columns
_REACH = 2000
_DIM = "2"
_HEADINGS = ("1;4;35", "1;35", "1;36", "1;34", "1", "1")
_ONLY_MARKS = re.compile(r"[\s>#*+\-_`~|.)\[\]:]*|\s*\d{1,9}[.)]?\s*")
_CLOSING_HASHES = re.compile(r"[ \t]+#*[ \t]*$")
_QUOTE_SIGN = re.compile(r" {0,3}> ?")


class _Fence:
    """An open code fence: its marks, the columns to take off its lines, the quotes around it."""

    __slots__ = ("marks", "indent", "quotes", "highlighter")

    def __init__(self, marks: str, indent: int, quotes: int, language: str) -> None:
        self.marks = marks
        self.indent = indent
        self.quotes = quotes
        self.highlighter = Highlighter(language)

    def code_of(self, line: str, *, whole: bool) -> str | None:
        """The line without what belongs to its containers; None if it has left the quote of this fence."""
        for _ in range(self.quotes):
            sign = _QUOTE_SIGN.match(line)
            if sign is None:
                if not whole and not line.strip(" "):
                    raise NeedMore
                return None
            line = line[sign.end():]
        margin = len(line) - len(line.lstrip(" "))
        return line[min(margin, self.indent):]

    def closed_by(self, code: str) -> bool:
        marks = code.strip()
        return len(marks) >= len(self.marks) and not marks.strip(self.marks[0])

    def maybe_closed_by(self, code: str) -> bool:
        return not code.strip().strip(self.marks[0])


class MarkdownStream:
    """Shows Markdown while it comes. What is finished is written once; only the open end is ever repainted."""

    def __init__(self, write: Callable[[str], None], width: Callable[[], int], height: Callable[[], int], *,
                 color: bool = True) -> None:
        self._painter = Painter(write)
        self._size = width, height
        self._layout = Layout(1, color=color)
        self._rows = self._reach = self._columns = 1
        self._containers: list[Container] = []
        self._leaf = ""             # paragraph, heading, fence, code, table or nothing
        self._head = ""             # the line so far, while it can still become different things
        self._flowing = False       # the rest of the line is text of the open leaf
        self._return = ""           # a carriage return that may be half of a line end
        self._inline: Inline | None = None
        self._fence: _Fence | None = None
        self._table: Table | None = None
        self._header = ""           # a line that is a table's header if a delimiter row follows
        self._hashes = ""           # the end of a heading that is decoration if nothing follows
        self._gap = False
        self._code_gaps = 0
        self._started = False
        self._status = ""           # a line of ours below the text

    def feed(self, text: str) -> None:
        """One frame of raw text; at most one write."""
        self._measure()
        self._status = ""
        text = self._return + text
        self._return = "\r" if text.endswith("\r") else ""
        self._take(safe_text(text[:len(text) - len(self._return)].replace("\r\n", "\n")))
        self._paint()

    def status(self, text: str) -> None:
        """A line of ours below what is shown, until the next frame or the end takes it away."""
        self._measure()
        self._status = clip(safe_text(text), self._layout.limit)
        self._paint()

    def finish(self) -> None:
        """The end of the reply, wherever it stopped: what is open is closed, what is undecided is text, one newline ends it."""
        self._measure()
        self._take(safe_text(self._return))
        self._return = self._status = ""
        if self._flowing or self._head:
            self._part("", True)
        self._close_leaf()
        self._leave(0)
        self._gap = self._started = False
        self._paint()

    def _measure(self) -> None:
        width, height = self._size
        self._columns = max(width(), 1)
        self._rows = max(height() - 2, 1)
        self._layout.limit = max(self._columns - 1, 1)
        self._reach = min(max((min(_TAIL_ROWS, self._rows) - 1) * self._layout.limit, 16), _REACH)

    def _take(self, text: str) -> None:
        start = 0
        while (cut := text.find("\n", start)) >= 0:
            self._part(text[start:cut], True)
            start = cut + 1
        if start < len(text):
            self._part(text[start:], False)

    def _part(self, part: str, whole: bool) -> None:
        """A piece of one line; `whole` if the line ends with it."""
        if not self._flowing:
            self._head += part
            self._line(whole)
        else:
            self._flow(part)
            if whole:
                self._end_line()

    def _line(self, whole: bool) -> None:
        try:
            if self._fence is not None and self._fence_line(self._fence, whole):
                return
            line = self._parse(whole)
            if self._header:
                if self._start_table(line):
                    return
                line = self._parse(whole)
        except NeedMore:
            return
        self._head = ""
        self._apply(line)
        if whole and self._flowing:
            self._end_line()

    def _parse(self, whole: bool) -> Line:
        short = self._head[:_LONGEST_HEAD]
        fits = len(short) == len(self._head)
        try:
            line = parse_line(short, self._containers, whole=whole and fits, in_paragraph=self._leaf == "paragraph")
        except NeedMore:
            if fits:
                raise
            return Line(len(self._containers), leaf="text", text=self._head)
        line.text += self._head[_LONGEST_HEAD:]
        return line

    def _apply(self, line: Line) -> None:
        stays = line.kept == len(self._containers) and not line.opened
        match line.leaf:
            case "blank":
                self._blank(line)
            case "row" if self._table is not None and stays:
                self._row(line.text)
            case "row":
                if self._leaf != "paragraph" or not stays:
                    self._enter(line)
                self._header = line.text
            case "text" if self._leaf == "paragraph" and not line.opened:
                self._flowing = True
                self._flow("\n" + line.text)
            case "text" | "heading":
                self._enter(line)
                self._open_text(line)
            case "code":
                self._code(line)
            case "rule":
                self._enter(line)
                self._rule()
            case "fence":
                self._enter(line)
                self._open_fence(line)

    # Containers and the gaps between blocks

    def _enter(self, line: Line) -> None:
        self._close_leaf()
        self._leave(line.kept)
        if self._gap and self._started and not self._fresh():
            quotes = "│ " * sum(isinstance(container, Quote) for container in self._containers)
            self._layout.emit(_DIM if quotes else "", quotes.rstrip())
            self._layout.end_row()
        self._gap = False
        self._started = True
        self._containers += line.opened

    def _fresh(self) -> bool:
        return any(isinstance(container, Item) and container.fresh for container in self._containers)

    def _leave(self, kept: int) -> None:
        """Close the containers after the first `kept`; an item that stayed empty still shows its marker."""
        left = self._containers[kept:]
        if any(isinstance(container, Item) and container.fresh for container in left):
            self._layout.begin(*self._margins())
            self._layout.end_row()
        del self._containers[kept:]

    def _margins(self) -> tuple[list[Run], list[Run]]:
        """What begins the first row of a block, and the others."""
        first: list[Run] = []
        indent: list[Run] = []
        for container in self._containers:
            if isinstance(container, Quote):
                first.append((_DIM, "│ "))
                indent.append((_DIM, "│ "))
                continue
            spaces = ("", " " * text_width(container.label))
            first.append((self._marker_style(container.label), container.label) if container.fresh else spaces)
            indent.append(spaces)
            container.fresh = False
        if sum(text_width(text) for _, text in indent) > self._layout.limit // 2:
            labels = [run for run in first if run[1].strip(" │")]
            return labels[-1:], []
        return first, indent

    def _marker_style(self, label: str) -> str:
        return "32" if "☑" in label else "36"

    def _blank(self, line: Line) -> None:
        if self._leaf == "code":
            self._code_gaps += 1
        else:
            self._close_leaf()
        if any(isinstance(container, Quote) for container in self._containers[line.kept:]):
            self._close_leaf()
            self._leave(line.kept)
        self._gap = True

    # Leaves

    def _close_leaf(self) -> None:
        if self._header:
            self._header_is_text()
        if self._inline is not None:
            self._inline.feed("", final=True)
            self._layout.end_row()
            self._inline = None
        if self._table is not None and not self._table.fixed:
            self._table.fix(self._layout, *self._margins())
        if self._fence is not None:
            self._rule_line("───")
        self._table = self._fence = None
        self._leaf = ""
        self._flowing = False
        self._code_gaps = 0

    def _open_text(self, line: Line) -> None:
        self._leaf = "heading" if line.leaf == "heading" else "paragraph"
        base = _HEADINGS[len(line.detail) - 1] if line.detail else ""
        self._layout.begin(*self._margins())
        self._inline = Inline(self._layout, base, self._reach, self._layout.limit)
        self._flowing = True
        self._flow(line.text)

    def _flow(self, text: str) -> None:
        if self._inline is None:
            self._layout.raw(text)
            return
        if self._leaf == "heading":
            text = self._hashes + text
            end = _CLOSING_HASHES.search(text)
            self._hashes = end.group() if end else ""
            text = text[:len(text) - len(self._hashes)]
        self._inline.feed(text)

    def _end_line(self) -> None:
        self._flowing = False
        if self._leaf == "fence":
            self._layout.end_row()
        elif self._leaf == "heading":
            self._hashes = ""
            self._close_leaf()

    def _rule(self) -> None:
        first, _ = self._margins()
        self._layout.begin(first, [])
        self._layout.emit(_DIM, "─" * max(min(self._layout.limit - self._layout.col, 40), 3))
        self._layout.end_row()

    def _rule_line(self, text: str) -> None:
        self._layout.begin(*self._margins())
        self._layout.emit(_DIM, text)
        self._layout.end_row()

    def _code(self, line: Line) -> None:
        if self._leaf != "code" or line.opened or line.kept < len(self._containers):
            self._enter(line)
            self._leaf = "code"
        for text in [*[""] * self._code_gaps, line.text]:
            self._code_row([("", text)])
        self._code_gaps = 0
        self._gap = False

    def _code_row(self, runs: list[Run]) -> None:
        self._layout.begin(*self._margins())
        for style, text in runs:
            self._layout.emit(style, text)
        self._layout.end_row()

    def _open_fence(self, line: Line) -> None:
        quotes = sum(isinstance(container, Quote) for container in self._containers)
        language = re.match(r"[\w+#.-]*", line.text.lstrip("{. "))
        self._rule_line(f"─── {line.text}".rstrip())
        self._fence = _Fence(line.detail, line.indent, quotes, language.group() if language else "")
        self._leaf = "fence"

    def _fence_line(self, fence: _Fence, whole: bool) -> bool:
        """Whether the line belongs to the fence."""
        code = fence.code_of(self._head, whole=whole)
        if code is None:
            self._close_leaf()
            return False
        if len(code) > self._reach:
            self._layout.begin(*self._margins())
            self._layout.raw(code)
            self._head = ""
            self._flowing = True
            if whole:
                self._end_line()
        elif whole:
            self._head = ""
            if fence.closed_by(code):
                self._close_leaf()
            else:
                self._code_row(fence.highlighter.line(code))
        return True

    # Tables

    def _start_table(self, line: Line) -> bool:
        """Whether `line` makes the held header a table; otherwise the header becomes text."""
        stays = line.kept == len(self._containers) and not line.opened
        if line.leaf == "row" and stays and is_delimiter_row(line.text, self._header):
            header, self._header, self._head = self._header, "", ""
            self._close_leaf()
            self._table = Table(header, line.text)
            self._leaf = "table"
            return True
        self._header_is_text()
        return False

    def _header_is_text(self) -> None:
        text, self._header = self._header, ""
        if self._leaf == "paragraph":
            self._flow("\n" + text)
        else:
            self._open_text(Line(len(self._containers), leaf="text", text=text))
        self._flowing = False

    def _row(self, text: str) -> None:
        table = self._table
        if table is None:
            return
        if table.fixed:
            table.write(text, self._layout, self._margins()[1])
            return
        table.add(text)
        if len(table.held) >= min(_HELD_ROWS + 2, max(self._rows - 1, 2)):
            table.fix(self._layout, *self._margins())

    # The open end

    def _paint(self) -> None:
        layout = self._layout
        done, tail = layout.take(), self._tail()
        if self._status:
            tail += ("\n" if tail or layout.col else "") + (f"\x1b[0;{_DIM}m{self._status}" if layout.color else self._status)
        self._painter.paint(done, layout.style, layout.col, tail, width=self._columns, rows=self._rows)

    def _tail(self) -> str:
        layout = self._layout.fork()
        if self._inline is not None:
            self._inline.show(layout)
            layout.flush()
        raw = self._undecided()
        if raw:
            if self._inline is not None:
                layout.end_row()
            for style, text in raw:
                layout.emit(style, text)
        return layout.take()

    def _undecided(self) -> list[Run]:
        if self._flowing:
            return []
        if self._fence is not None:
            return self._open_code(self._fence)
        held = [self._header] if self._header else self._table.held if self._table is not None else []
        head = "" if _ONLY_MARKS.fullmatch(self._head) else self._head
        lines = [*held, head] if head else held
        rows = [clip(line.replace("\t", " "), self._layout.limit) for line in lines]
        return [(_DIM if held else "", "\n".join(rows))] if lines else []

    def _open_code(self, fence: _Fence) -> list[Run]:
        try:
            code = fence.code_of(self._head, whole=False)
        except NeedMore:
            return []
        if not code or fence.maybe_closed_by(code):
            return []
        indent = self._margins()[1]
        if not code.isascii():      # terminals differ in where a wide character wraps
            code = clip(code, self._layout.limit - sum(text_width(text) for _, text in indent))
        return [*indent, ("", code)]
