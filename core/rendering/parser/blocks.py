"""Parses Markdown into operations while it streams; each character is read once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from core.regex import regex
from core.rendering.parser.atoms import formula
from core.rendering.parser.cells import Alignment, alignments, cells_of, may_be_delimiter
from core.rendering.parser.fences import Fence, dedented
from core.rendering.parser.grammar import Line, NeedMore, continued, parse_line
from core.rendering.parser.inline import Inline, spans_of
from core.rendering.parser.nesting import Nesting
from core.rendering.parser.operations import Close, Define, Open, Operation, Retag, Span
from core.rendering.parser.targets import normal_label, unescaped
from core.safe_text import safe_text

_LONGEST_HEAD = 4096            # characters; a line or formula undecided for longer is text
_CODE_PIECE = 600  # characters of a line of code that may still be highlighted as a whole
_CLOSING_HASHES = regex(r"[ \t]+#*[ \t]*$")
_NOTHING_BUT_HASHES = regex(r"#*[ \t]*$")


class Tail(NamedTuple):
    """The undecided text: the end of the open block, then lines, then the start of a line."""

    text: str = ""
    lines: tuple[str, ...] = ()
    head: str = ""
    code: bool = False
    gap: bool = False


class Parser(Nesting):
    """Parses one reply.

    `take()` returns the operations since the last call, `tail()` the undecided text.
    `references` are link definitions known beforehand; those in the text are added.
    """

    def __init__(self, references: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.references: dict[str, str] = dict(references or {})
        self.fence: Fence | None = None
        self._leaf = ""             # paragraph, heading, fence, code, table, math or nothing
        self._head = ""             # the line so far, while its kind is not decided
        self._held = False          # only the end of the line can decide its kind
        self._flowing = False       # the rest of the line is text of the open leaf
        self._return = ""           # a carriage return that may be the first half of a line end
        self._inline: Inline | None = None
        self._aligns: list[Alignment] = []
        self._header = ""           # a line that is a table's header if a delimiter row follows
        self._formula: list[str] = []
        self._hashes = ""           # hashes that close a heading if nothing follows them
        self._bare_heading = False  # the heading has only such hashes so far
        self._blank_code: list[str] = []

    def feed(self, text: str) -> None:
        """Parse a piece of the model's text."""
        text = self._return + text
        self._return = "\r" if text.endswith("\r") else ""
        if self._return:
            text = text[:-1]
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        text = safe_text(text)
        start = 0
        while (cut := text.find("\n", start)) >= 0:
            self._part(text[start:cut], whole=True)
            start = cut + 1
        if start < len(text):
            self._part(text[start:] if start else text, whole=False)

    def finish(self) -> None:
        """End the reply: open blocks are closed, undecided syntax is text."""
        if self._return:
            self._return = ""
            self._part("", whole=True)
        if self._flowing or self._head:
            self._part("", whole=True)
        self._close_leaf()
        self._leave(0, None)
        self._blank_before, self._fresh = False, True

    def settle(self) -> None:
        """The text broke off here: undecided syntax within a paragraph is text."""
        if self._inline is not None:
            self._inline.feed("", final=True)

    def take(self) -> list[Operation]:
        operations, self._operations = self._operations, []
        return operations

    def tail(self) -> Tail:
        """The text that is not decided yet."""
        text = self._inline.rest if self._inline is not None else ""
        lines = tuple(self._formula) or ((self._header,) if self._header else ())
        head = "" if self._flowing else self._head
        if self.fence is not None and head:
            return self._code_tail(self.fence, head)
        return Tail(text, lines, head, gap=self._gap())

    def _code_tail(self, fence: Fence, head: str) -> Tail:
        try:
            kept, head, pos = (continued(head, self.containers, whole=False) if self.containers
                               else (0, head, 0))
        except NeedMore:
            return Tail()
        code = dedented(head[pos:], fence.indent)
        hidden = kept < len(self.containers) or not code.strip(" ").strip(fence.marks[0])
        return Tail() if hidden else Tail(head=code, code=True)

    # Lines

    def _part(self, part: str, *, whole: bool) -> None:
        """Parse a piece of one line; `whole` if the line ends with it."""
        if self._flowing:
            self._flow(part)
            if whole:
                self._end_line()
            return
        self._head += part
        if self._held and not whole and len(self._head) <= _LONGEST_HEAD:
            return
        self._held = False
        try:
            self._line(whole)
        except NeedMore as more:
            self._held = more.line

    def _line(self, whole: bool) -> None:
        if self.fence is not None and self._fence_line(self.fence, whole):
            return
        if self._formula and self._formula_line(whole):
            return
        if self._header and self._start_table(whole):
            return
        line = self._parse(whole)
        self._head = ""
        self._apply(line)
        if whole and self._flowing:
            self._end_line()

    def _parse(self, whole: bool) -> Line:
        short = self._head[:_LONGEST_HEAD]
        fits = len(short) == len(self._head)
        try:
            line = parse_line(short, self.containers, whole=whole and fits, leaf=self._leaf)
        except NeedMore:
            if fits:
                raise
            return Line(len(self.containers), leaf="text", text=self._head)
        line.text += self._head[_LONGEST_HEAD:]
        return line

    def _apply(self, line: Line) -> None:
        match line.leaf:
            case "blank":
                self._blank(line)
            case "row":
                self._row_line(line)
            case "text" if self._leaf == "paragraph" and not line.opened:
                self._flowing = True
                self._flow("\n" + line.text)
            case "text":
                self._enter(line)
                self._open_text("p", line.text)
            case "heading":
                self._enter(line)
                self._open_text(f"h{line.detail}", line.text)
            case "underline":
                self._end_inline()
                self._leaf = f"h{line.detail}"
                self._emit(Retag(self._leaf))
                self._close_block()
            case "code":
                self._code(line)
            case "rule":
                self._enter(line)
                self._open("hr")
                self._emit(Close("hr"))
            case "fence":
                self._enter(line)
                self.fence = Fence(line.detail, line.indent, unescaped(line.text))
                self._leaf = "fence"
                self._open("code", safe_text(self.fence.info))
            case "math":
                self._enter(line)
                self._math(line.text)
            case "definition":
                self._enter(line)
                self._define(line)

    def _enter(self, line: Line) -> None:
        """Close what the line does not continue, and open what it opens."""
        self._close_leaf()
        self._follow(line)

    def _blank(self, line: Line) -> None:
        if line.opened:
            self._enter(line)
            return
        if self._leaf == "code" and line.kept == len(self.containers):
            self._blank_code.append(line.text)
            self._blank_before = True
            return
        self._close_leaf()
        self._leave(line.kept, None if line.kept == len(self.containers)
                    else self.containers[line.kept])
        self._blank_before = True

    # Leaves

    def _close_leaf(self) -> None:
        if self._header:
            self._header_is_text()
        if self._formula:
            self._formula_is_text()
        self._end_inline()
        self._close_block()

    def _end_inline(self) -> None:
        if self._inline is not None:
            self._inline.rest = self._inline.rest.rstrip(" \t")
            self._inline.feed("", final=True)
            self._inline = None

    def _close_block(self) -> None:
        if self._leaf:
            self._emit(Close(self._leaf_tag))
        self.fence = None
        self._leaf = ""
        self._flowing = False
        self._blank_code = []

    @property
    def _leaf_tag(self) -> str:
        return {"paragraph": "p", "fence": "code"}.get(self._leaf, self._leaf)

    def _open_text(self, tag: str, text: str) -> None:
        self._leaf = "paragraph" if tag == "p" else tag
        self._open(tag)
        self._inline = Inline(self._operations_put, self.references)
        self._bare_heading = tag != "p"
        self._flowing = True
        self._flow(text)

    def _operations_put(self, span: Span) -> None:
        self._operations.append(span)

    def _flow(self, text: str) -> None:
        if self._inline is None:
            self._emit(Span(text))
            return
        if self._leaf != "paragraph":
            text = self._hashes + text
            end = _NOTHING_BUT_HASHES.match(text) if self._bare_heading else None
            end = end or _CLOSING_HASHES.search(text)
            self._hashes = end.group() if end else ""
            text = text[:len(text) - len(self._hashes)]
            self._bare_heading = self._bare_heading and not text
        self._inline.feed(text)

    def _end_line(self) -> None:
        self._flowing = False
        if self._leaf == "fence":
            self._emit(Span("\n"))
        elif self._leaf != "paragraph":
            self._hashes = ""
            self._close_leaf()

    def _define(self, line: Line) -> None:
        href = safe_text(unescaped(line.detail))
        self.references.setdefault(normal_label(line.text), href)
        gap = self._gap()
        self._emit(Define(line.text, href, gap))
        self._fresh = self._blank_before = False

    # Code

    def _code(self, line: Line) -> None:
        if self._leaf != "code" or line.opened or line.kept < len(self.containers):
            self._enter(line)
            self._leaf = "code"
            self._open("code")
        self._emit(Span("\n".join([*self._blank_code, line.text, ""])))
        self._blank_code = []
        self._blank_before = False

    def _fence_line(self, fence: Fence, whole: bool) -> bool:
        """Whether the line belongs to the fence."""
        line, pos = self._head, 0
        if self.containers:
            kept, line, pos = continued(line, self.containers, whole=whole)
            if kept < len(self.containers):
                self._close_leaf()
                return False
        code = dedented(line[pos:], fence.indent)
        if len(code) > _CODE_PIECE:
            self._flowing, self._head = True, ""
            self._emit(Span(code))
            if whole:
                self._end_line()
        elif whole:
            self._head = ""
            if fence.closed_by(line[pos:]):
                self._close_leaf()
            else:
                self._emit(Span(code + "\n"))
        return True

    # Formulas on lines of their own

    def _math(self, text: str) -> None:
        end = "$$" if text.startswith("$$") else "\\]"
        if text.find(end, 2) >= 0:
            self._show_formula(text.rstrip())
        else:
            self._formula = [text]

    def _formula_line(self, whole: bool) -> bool:
        if not whole and len(self._head) <= _LONGEST_HEAD:
            raise NeedMore(line=True)
        kept, line, pos = continued(self._head, self.containers, whole=True)
        end = "$$" if self._formula[0].startswith("$$") else "\\]"
        text = line[pos:].strip()
        size = sum(map(len, self._formula)) + len(text)
        if kept < len(self.containers) or not text or size > _LONGEST_HEAD:
            self._formula_is_text()
            return False
        before, found, after = text.partition(end)
        self._formula.append(before + found)
        if found:
            source, self._formula, self._head = "\n".join(self._formula), [], ""
            self._show_formula(source)
            if after.strip():
                self._open_text("p", after.strip())
                self._flowing = not whole
        else:
            self._head = ""
        return True

    def _show_formula(self, source: str) -> None:
        self._open("math")
        self._emit(formula(source))
        self._emit(Close("math"))

    def _formula_is_text(self) -> None:
        lines, self._formula = self._formula, []
        self._open_text("p", "")
        self._emit(Span("\n".join(lines)))
        self._flowing = False

    # Tables

    def _row_line(self, line: Line) -> None:
        stays = line.kept == len(self.containers) and not line.opened
        if self._leaf == "table" and stays:
            self._row(line.text, "td")
            return
        if self._leaf != "paragraph" or line.opened:
            self._enter(line)
        self._header = line.text

    def _start_table(self, whole: bool) -> bool:
        """Whether the line makes the held header a table; otherwise the header becomes text."""
        kept, line, pos = continued(self._head, self.containers, whole=whole)
        text = line[pos:].strip(" \t")
        if kept == len(self.containers) and may_be_delimiter(text):
            if not whole:
                raise NeedMore(line=True)
            aligns = alignments(text, self._header)
            if aligns:
                header, self._header, self._head = self._header, "", ""
                self._close_leaf()
                self._aligns, self._leaf = aligns, "table"
                self._open("table")
                self._row(header, "th")
                return True
        self._header_is_text()
        return False

    def _header_is_text(self) -> None:
        text, self._header = self._header, ""
        if self._leaf == "paragraph":
            self._flow("\n" + text)
        else:
            self._open_text("p", text)
        self._flowing = False

    def _row(self, text: str, tag: str) -> None:
        self._emit(Open("tr"))
        for cell, align in zip(cells_of(text, len(self._aligns)), self._aligns):
            self._emit(Open(tag, align))
            self._operations += spans_of(cell, self.references)
            self._emit(Close(tag))
        self._emit(Close("tr"))
