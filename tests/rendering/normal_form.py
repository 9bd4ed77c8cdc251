"""A normal form of a document's content, made from HTML or from operations, so that both can be
compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from html.parser import HTMLParser
from urllib.parse import quote, unquote

from core.rendering.parser.operations import (BOLD, CODE, END, IMAGE, ITALIC, MATH, STRIKE, Close,
                                              Define, Open, Operation, Retag, Span)

BLOCKS = {"p": "p", "blockquote": "quote", "pre": "code", "ul": "ul", "ol": "ol", "li": "li",
          "table": "table", "tr": "tr",
          "th": "th", "td": "td", **{f"h{level}": f"h{level}" for level in range(1, 7)}}
MARKS = {"em": "em", "strong": "strong", "code": "code", "del": "del", "s": "del"}
NAMES = {ITALIC: "em", BOLD: "strong", CODE: "code", STRIKE: "del"}


class Form:
    """`lines`: blocks that open and close, and runs of text with their marks;
    paragraphs in items have no block of their own.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._open: list[str] = []
        self._text: list[tuple[str, str]] = []
        self._began = 0

    def open(self, tag: str) -> None:
        self.flush()
        self._began = len(self.lines)
        if not (tag == "p" and self._open and self._open[-1] == "li"):
            self.lines.append(f"<{tag}>")
        self._open.append(tag)

    def close(self, tag: str) -> None:
        self.flush()
        self._open.pop()
        if not (tag == "p" and self._open and self._open[-1] == "li"):
            self.lines.append(f"</{tag}>")

    def retag(self, tag: str) -> None:
        self.flush()
        self.lines[self._began:] = [f"<{tag}>",
                                    *(line for line in self.lines[self._began:] if line != "<p>")]
        self._open[-1] = tag

    def text(self, text: str, marks: Iterable[str], href: str = "") -> None:
        look = " ".join(sorted(set(marks))) + (f" {normal_address(href)}" if href else "")
        if self._text and self._text[-1][0] == look:
            text = self._text.pop()[1] + text
        self._text.append((look, text))

    @property
    def in_code(self) -> bool:
        return bool(self._open) and self._open[-1] == "code"

    def flush(self) -> None:
        runs, self._text = self._text, []
        if not any(text.strip() for _, text in runs) and not self.in_code:
            return
        if not self.in_code:
            runs = [(look, text) for look, text in runs if text]
            runs[0] = (runs[0][0], runs[0][1].lstrip())
            runs[-1] = (runs[-1][0], runs[-1][1].rstrip())
        self.lines += [f"{look}|{text!r}" for look, text in runs if text]


def normal_address(href: str) -> str:
    return quote(unquote(href), safe="/:?#[]@!$&'()*+,;=%")


class _Html(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.form = Form()
        self.marks: list[str] = []
        self.hrefs: list[str] = []
        self.codes = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if tag == "code" and self.form.in_code:
            self.codes += 1
        elif tag in BLOCKS:
            self.form.open(BLOCKS[tag])
        elif tag in MARKS:
            self.marks.append(MARKS[tag])
        elif tag == "a":
            self.hrefs.append(found.get("href") or "")
        elif tag == "img":
            alt = found.get("alt")
            href = self.hrefs[-1] if self.hrefs else found.get("src") or "#"
            self.form.text(f"[image: {alt}]" if alt else "[image]", self.marks, href)
        elif tag == "hr":
            self.form.open("hr")
            self.form.close("hr")

    def handle_endtag(self, tag: str) -> None:
        if tag == "code" and self.form.in_code:
            pass
        elif tag in BLOCKS:
            self.form.close(BLOCKS[tag])
        elif tag in MARKS:
            self.marks.remove(MARKS[tag])
        elif tag == "a":
            self.hrefs.pop()

    def handle_data(self, data: str) -> None:
        if (data.strip() or self.form.in_code
            or (self.form._open and self.form._open[-1] not in ("ul", "ol", "table", "tr"))):
            self.form.text(data, self.marks, self.hrefs[-1] if self.hrefs else "")


def of_html(html: str) -> list[str]:
    reader = _Html()
    reader.feed(html)
    reader.close()
    reader.form.flush()
    return reader.form.lines


def of_operations(operations: Iterable[Operation]) -> list[str]:
    form = Form()
    for operation in operations:
        match operation:
            case Open("math"):
                form.open("p")
            case Close("math"):
                form.close("p")
            case Open(tag):
                form.open(tag)
            case Close(tag):
                form.close(tag)
            case Retag(tag):
                form.retag(tag)
            case Span(text, marks, href, source):
                form.text(source or text, [name for flag, name in NAMES.items() if marks & flag],
                          href)
            case Define():
                pass
    form.flush()
    assert IMAGE and END and MATH
    return form.lines
