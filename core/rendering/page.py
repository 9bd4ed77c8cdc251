"""Converts Markdown for the web page: operations in JSON while it streams, and complete HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape

from core.dataclass import dataclass, field
from core.regex import regex
from core.rendering.highlight import Highlighter
from core.rendering.parser.blocks import Parser
from core.rendering.parser.operations import (END, TAGS, Close, Define, Json, Open, Operation, Span,
                                              to_json)

_SAFE_LINK = regex(r"(?:https?://[^/?#\s]|mailto:[^\s])", re.IGNORECASE)
CODE_MARKS = ("accent", "bold", "dim", "keyword", "type", "number", "inserted", "deleted")
_ELEMENTS = {"quote": "blockquote", "code": "code", "math": "div"}
_INLINE = {"del": "del", "strong": "strong", "em": "em", "code": "code", "math": "span",
           "img": "span",
           **dict.fromkeys(CODE_MARKS, "span")}
_CLASSES = frozenset(("math", "img", *CODE_MARKS))
_BOXES = {"x": "\u2611 ", "_": "\u2610 "}


class PageStream:
    """Produces the operations of one reply in their JSON form (see `operations`) as its text
    arrives.

    For a page, they differ in three ways: code is split into pieces with CODE_MARKS; a link that is
    not http, https or mailto becomes text with its target; and ["tail", text] replaces the
    undecided text at the end.
    """

    def __init__(self, references: Mapping[str, str] | None = None) -> None:
        self._parser = Parser(references)
        self._highlighter: Highlighter | None = None
        self._tail = ""

    def feed(self, text: str) -> list[Json]:
        """The operations that this piece of text adds."""
        self._parser.feed(text)
        return self._taken()

    def finish(self) -> list[Json]:
        """The remaining operations at the end of the reply, wherever it stopped."""
        self._parser.finish()
        return self._taken()

    def _taken(self) -> list[Json]:
        found: list[Json] = []
        for operation in self._parser.take():
            for one in self._for_page(operation):
                if found and _is_bare(one) and _is_bare(found[-1]):
                    found[-1] = ["text", f"{found[-1][1]}{one[1]}"]
                else:
                    found.append(one)
        tail = self._parser.tail()
        text = "\n".join(filter(None, [tail.text, *tail.lines, tail.head]))
        if text != self._tail:
            self._tail = text
            found.append(["tail", text])
        return found

    def _for_page(self, operation: Operation) -> list[Json]:
        match operation:
            case Open("code", info):
                language = re.match(r"[\w+#.-]*", info.lstrip("{. "))
                self._highlighter = Highlighter(language.group() if language else "", page=True)
            case Close("code"):
                self._highlighter = None
            case Span() if self._highlighter is not None:
                return self._code(self._highlighter, operation.text)
            case Span(text, marks, href, source) if href and not _SAFE_LINK.match(href):
                told = f" ({href})" if marks & END and href not in (text, "#") else ""
                shown = [Span(text, marks & ~END, "", source), Span(told)]
                return [to_json(span) for span in shown if span.text]
            case Define(label, href, gap):
                return [to_json(Open("p", "", gap)), ["text", f"[{label}]: {href}"], ["close", "p"]]
        return [to_json(operation)]

    @staticmethod
    def _code(highlighter: Highlighter, text: str) -> list[Json]:
        found: list[Json] = []
        lines = text.split("\n")
        for number, line in enumerate(lines):
            end = "\n" if number < len(lines) - 1 else ""
            runs = highlighter.line(line) if line else []
            found += [["text", piece, [role]] if role else ["text", piece] for role, piece in runs]
            if end:
                found.append(["text", end])
        return found


def _is_bare(operation: Json) -> bool:
    return operation[0] == "text" and len(operation) == 2


@dataclass(slots=True)
class _Node:
    tag: str
    detail: str = ""
    gap: bool = False
    children: list[_Node | str] = field(default_factory=list)


class HtmlBuilder:
    """Applies operations in their JSON form as a page does, and produces HTML.

    The HTML is safe: a closed set of elements, all text and attributes escaped, and only links to
    http, https and mailto.
    """

    def __init__(self) -> None:
        self._root = _Node("")
        self._open = [self._root]
        self._codes = 0
        self._tail = ""

    def apply(self, operation: Json) -> None:
        """Apply one operation in its JSON form."""
        name, *rest = operation
        match name:
            case "open":
                self._start(*rest)
            case "close" if len(self._open) > 1:
                self._open.pop()
            case "text":
                block = self._open[-1]
                block.children.append(_inline(*rest, code=block.tag == "code"))
            case "retag":
                self._open[-1].tag = str(rest[0])
            case "tail":
                self._tail = str(rest[0])

    def _start(self, tag: object, detail: object = "", gap: object = False) -> None:
        if tag not in TAGS:
            return
        node = _Node(str(tag), str(detail), bool(gap))
        if tag == "code":
            self._codes += 1
            node.detail = f"{detail} \u00b7 code {self._codes}" if detail else f"code {self._codes}"
        self._open[-1].children.append(node)
        self._open.append(node)

    def html(self) -> str:
        """The HTML so far; undecided syntax is text at the end."""
        tail = f'<span class="tail">{_lines(self._tail)}</span>' if self._tail else ""
        return "".join(map(_html, self._root.children)) + tail


def to_html(text: str) -> str:
    """The HTML of a complete reply; link definitions may be anywhere in it."""
    first = Parser()
    if "]:" in text:    # without it there is no definition to look for
        first.feed(text)
        first.finish()
    stream, builder = PageStream(first.references), HtmlBuilder()
    for operation in [*stream.feed(text), *stream.finish()]:
        builder.apply(operation)
    return builder.html()


def _html(node: _Node | str) -> str:
    if isinstance(node, str):
        return node
    inside = "".join(map(_html, node.children))
    name, detail = _ELEMENTS.get(node.tag, node.tag), node.detail
    gap = ' class="gap"' if node.gap else ""
    match node.tag:
        case "hr":
            return f"<hr{gap}>"
        case "code":
            return (f"<figure{gap}><figcaption>{escape(detail)}</figcaption>"
                    f"<pre><code>{inside}</code></pre></figure>")
        case "li":
            box = _BOXES.get(detail[-1:], "")
            number = re.match(r"\d+", detail)
            value = f' value="{number.group()}"' if number else ""
            return f"<li{value}{gap}>{box}{inside}</li>"
        case "math":
            return f'<div class="math">{inside}</div>'
        case "th" | "td" if detail in ("left", "center", "right"):
            return f'<{name} class="{detail}">{inside}</{name}>'
    return f"<{name}{gap}>{inside}</{name}>\n"


def _inline(text: object, marks: object = (), href: object = "", source: object = "", *,
            code: bool = False) -> str:
    html = escape(str(text)) if code else _lines(str(text))
    names = [str(mark) for mark in marks] if isinstance(marks, list) else []
    for name in reversed(names):
        element = _INLINE.get(name)
        if element is not None:
            look = f' class="{name}"' if name in _CLASSES else ""
            title = f' title="{escape(str(source))}"' if name == "math" else ""
            html = f"<{element}{look}{title}>{html}</{element}>"
    if href and _SAFE_LINK.match(str(href)):
        html = f'<a href="{escape(str(href))}" rel="noopener noreferrer nofollow">{html}</a>'
    return html


def _lines(text: str) -> str:
    return escape(text).replace("\n", "<br>")
