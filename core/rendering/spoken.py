"""Shows Markdown for a screen reader: complete sentences, each written once, no cursor movement."""

from __future__ import annotations

from collections.abc import Callable

from core.regex import regex
from core.rendering.parser.blocks import Parser
from core.rendering.parser.code_blocks import CodeBlock
from core.rendering.parser.operations import END, MATH, Close, Define, Open, Operation, Retag, Span
from core.safe_text import safe_text

_SENTENCE_END = regex(r"[.!?\u2026:;](?=[ \n])|\n")


class SpokenStream:
    """Writes a reply in words: "Heading 2: ...", "Table, 4 rows.", "Code 1, python:".

    Lines are not wrapped. `codes`: the code blocks so far; each new one is added when it is
    complete.
    """

    def __init__(self, write: Callable[[str], None], *, before: str = "",
                 codes: list[CodeBlock] | None = None) -> None:
        self._write = write
        self._parser = Parser()
        self._codes = [] if codes is None else codes
        self._out: list[str] = []       # complete, not written yet
        self._words = ""                # of the open block, not complete as a sentence
        self._lists: list[str] = []
        self._leaf = ""
        self._label = ""                # of an item without words so far
        self._source: list[str] = []
        self._table: list[list[str]] = []
        self._info = ""
        if before:
            self._parser.feed(before)
            self._parser.settle()
            self._apply(self._parser.take())
            self._out.clear()
            self._words = self._label = ""

    def feed(self, text: str) -> None:
        """Add one frame of raw text, and write complete sentences and lines."""
        self._parser.feed(text)
        self._apply(self._parser.take())
        self._flush()

    def status(self, text: str) -> None:
        """Do nothing: a status line would be read aloud within the answer."""

    def finish(self) -> None:
        """End the reply, wherever it stopped: everything is written, followed by one newline."""
        self._parser.finish()
        self._apply(self._parser.take())
        if self._words:
            self._end_words()
        self._flush()

    def _flush(self) -> None:
        text = "".join(self._out)
        self._out.clear()
        if text:
            self._write(text)

    def _apply(self, operations: list[Operation]) -> None:
        for operation in operations:
            match operation:
                case Open():
                    self._open(operation)
                case Close(tag):
                    self._close(tag)
                case Span():
                    self._span(operation)
                case Retag(tag):
                    self._say(f" (heading {tag[1]})")
                case Define(label, href, gap):
                    self._out.append(("\n" if gap else "") + safe_text(f"[{label}]: {href}\n"))

    def _open(self, block: Open) -> None:
        if block.gap:
            self._out.append("\n")
        match block.tag:
            case "ul" | "ol":
                self._end_label()
                self._lists.append(block.tag)
            case "li":
                self._label = self._item(block.detail)
            case "quote":
                self._end_label()
                self._say("Quote: ")
            case "code":
                self._end_label()
                self._leaf, self._info, self._source = "code", block.detail, []
                name = f", {safe_text(block.detail)}" if block.detail else ""
                self._out.append(f"Code {len(self._codes) + 1}{name}:\n")
            case "table":
                self._end_label()
                self._table = []
            case "tr":
                self._table.append([])
            case "th" | "td":
                self._leaf = "table"
                self._table[-1].append("")
            case "hr":
                self._out.append("Line.\n")
            case _:
                self._leaf = block.tag
                self._say(self._label
                          + (f"Heading {block.tag[1]}: " if block.tag[0] == "h" else ""))
                self._label = ""

    def _item(self, detail: str) -> str:
        number, box = (detail[:-1], detail[-1]) if detail[-1:] in ("x", "_") else (detail, "")
        sign = {"x": "Done: ", "_": "To do: "}.get(box, "")
        return "  " * (len(self._lists) - 1) + f"{number or '-'} " + sign

    def _end_label(self) -> None:
        if self._label:
            self._out.append(f"{self._label.rstrip()}\n")
            self._label = ""

    def _close(self, tag: str) -> None:
        match tag:
            case "ul" | "ol":
                self._lists.pop()
            case "li":
                self._end_label()
            case "code":
                self._end_code()
            case "table":
                self._end_table()
            case "quote" | "tr" | "th" | "td" | "hr":
                pass
            case _:
                self._end_words()
                self._leaf = ""

    def _end_words(self) -> None:
        self._out.append(f"{self._words}\n")
        self._words = ""

    def _end_code(self) -> None:
        self._leaf = ""
        source = "".join(self._source)
        self._codes.append(CodeBlock(self._info, source))
        self._out.append(("" if source.endswith("\n") or not source else "\n")
                         + f"End of code {len(self._codes)}.\n")

    def _end_table(self) -> None:
        self._leaf = ""
        head, *rows = self._table or [[]]
        self._out.append(f"Table, {len(rows)} {'row' if len(rows) == 1 else 'rows'}.\n")
        if not rows:
            self._out.append(f"{'; '.join(head)}.\n")
        for row in rows:
            cells = [f"{name} {cell}".strip() for name, cell in zip(head, row)]
            self._out.append(f"{'; '.join(filter(None, cells))}.\n")

    def _span(self, span: Span) -> None:
        words = spoken_words(span)
        if self._leaf == "code":
            self._source.append(span.text)
            self._out.append(words)
        elif self._leaf == "table":
            self._table[-1][-1] += words.replace("\n", " ")
        else:
            self._say(words)

    def _say(self, text: str) -> None:
        """Add text, which is held until a sentence or line is complete."""
        self._words += text
        end = max((found.end() for found in _SENTENCE_END.finditer(self._words)), default=0)
        if end:
            self._out.append(self._words[:end])
            self._words = self._words[end:]


def spoken_words(span: Span) -> str:
    """The text of a span, followed by a link's address."""
    text = span.source if span.marks & MATH and span.source else span.text
    if span.marks & END and span.href and not span.href.endswith(span.text):
        text += f" ({span.href})"
    return safe_text(text)
