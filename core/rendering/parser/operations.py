"""The operations that Markdown is parsed into; a terminal and a page apply them in order.

A reply is a sequence of operations. Each only adds to the result of those before it:

    Open(tag, detail, gap)    a block begins inside the innermost open one; `gap`: an empty line
                              precedes it
    Close(tag)                the innermost open block ends
    Span(text, marks, href, source)    text at the end of the innermost open block; a line
                                       feed in it is a line break
    Retag(tag)                the innermost open block, a paragraph, turns out to be a heading
    Define(label, href, gap)  a link definition, shown in its place as `[label]: href`

The tags are a closed set: p, h1 to h6, ul, ol, li, quote, code, math, table, tr, th, td, hr.
`detail` is for `li` the number or "x" or "_" (a ticked or empty box), for `code` the info
string, for `th` and `td` the alignment. In `code` a Span is whole lines or a piece of a line,
exactly as written. The mark "end" is on the last Span of a link. In `math` the Span's
`source` holds the formula. The JSON form is a list whose first item names the operation;
trailing defaults are left out:

    ["open", "li", "3"]  ["close", "li"]  ["text", "words", ["strong"], "https://example.org"]
    ["retag", "h2"]  ["define", "label", "https://example.org"]
    ["tail", "undecided text, which replaces the last tail"]
"""

from __future__ import annotations

from typing import NamedTuple

BOLD, ITALIC, STRIKE, CODE, IMAGE, MATH, END = 1, 2, 4, 8, 16, 32, 64
# from outside in
MARKS = {STRIKE: "del", BOLD: "strong", ITALIC: "em", CODE: "code", IMAGE: "img", MATH: "math",
         END: "end"}
TAGS = frozenset("p h1 h2 h3 h4 h5 h6 ul ol li quote code math table tr th td hr".split())
Json = list["str | bool | list[str]"]


class Open(NamedTuple):
    tag: str
    detail: str = ""
    gap: bool = False


class Close(NamedTuple):
    tag: str


class Span(NamedTuple):
    text: str
    marks: int = 0
    href: str = ""
    source: str = ""


class Retag(NamedTuple):
    tag: str


class Define(NamedTuple):
    label: str
    href: str
    gap: bool = False


Operation = Open | Close | Span | Retag | Define


def to_json(operation: Operation) -> Json:
    """The operation as the list that the module's text describes."""
    match operation:
        case Open(tag, detail, gap):
            return _short(["open", tag, detail, gap], 2)
        case Close(tag):
            return ["close", tag]
        case Span(text, marks, href, source):
            return _short(["text", text, mark_names(marks), href, source], 2)
        case Retag(tag):
            return ["retag", tag]
        case Define(label, href, gap):
            return _short(["define", label, href, gap], 3)


def mark_names(marks: int) -> list[str]:
    return [name for flag, name in MARKS.items() if marks & flag]


def _short(items: Json, least: int) -> Json:
    while len(items) > least and not items[-1]:
        items.pop()
    return items
