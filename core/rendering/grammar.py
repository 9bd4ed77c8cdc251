"""What a line of Markdown begins: which blocks it continues, which it opens, and what its text is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

Leaf = Literal["blank", "text", "heading", "rule", "fence", "code", "row"]

_RULE_SO_FAR = re.compile(r"([-*_])[ \t]*(?:\1[ \t]*)*")
_RULE = re.compile(r"([-*_])[ \t]*(?:\1[ \t]*){2,}")
_MARKER = re.compile(r"(?:[-*+]|(?P<number>\d{1,9})[.)])(?=[ \t]|$)")
_MARKER_SO_FAR = re.compile(r"[-*+]|\d{1,9}[.)]?")
_BOX = re.compile(r"\[([ xX])\][ \t]")
_BOX_SO_FAR = re.compile(r"\[(?:[ xX]\]?)?")
_HEADING = re.compile(r"(#{1,6})[ \t]+(?=\S)")
_HEADING_SO_FAR = re.compile(r"#{1,6}[ \t]*")
_FENCE = re.compile(r"(`{3,}|~{3,})[ \t]*([^`]*)")
_FENCE_SO_FAR = re.compile(r"`{1,2}|`{3,}[^`]*|~{1,2}|~{3,}.*")
_DEEPEST = 24


class NeedMore(Exception):
    """The line so far can still become different things."""


@dataclass(slots=True)
class Quote:
    pass


@dataclass(slots=True)
class Item:
    """`marker` and `content` are columns in the source; `label` is what is shown, while `fresh`, before its first row."""

    marker: int
    content: int
    label: str
    fresh: bool = True


Container = Quote | Item


@dataclass(slots=True)
class Line:
    """`kept` containers go on, `opened` ones begin, then comes `leaf` with `text`. `detail`: a heading's level, a fence's
    own characters; `indent`: the column of the leaf."""

    kept: int
    opened: list[Container] = field(default_factory=list)
    leaf: Leaf = "blank"
    text: str = ""
    detail: str = ""
    indent: int = 0


def parse_line(line: str, containers: list[Container], *, whole: bool, in_paragraph: bool) -> Line:
    """Raises NeedMore unless every continuation of `line` would give the same."""
    if line[:1] in " \t" and "\t" in line:
        body = line.lstrip(" \t")
        line = line[:len(line) - len(body)].expandtabs(4) + body
    return _LineParser(line, containers, whole, in_paragraph).parse()


class _LineParser:
    def __init__(self, line: str, containers: list[Container], whole: bool, in_paragraph: bool) -> None:
        self.line = line
        self.containers = containers
        self.whole = whole
        self.in_paragraph = in_paragraph
        self.start = 0              # where the innermost quote's content begins
        self.pos = 0
        self.result = Line(0)

    def parse(self) -> Line:
        self._continue()
        while self._skip_spaces() and len(self.result.opened) < _DEEPEST and (self._quote() or self._item()):
            pass
        self._leaf()
        return self.result

    def _skip_spaces(self) -> bool:
        while self.pos < len(self.line) and self.line[self.pos] in " \t":
            self.pos += 1
        return self._more(self.pos)

    def _more(self, pos: int) -> bool:
        if pos >= len(self.line) and not self.whole:
            raise NeedMore
        return pos < len(self.line)

    @property
    def column(self) -> int:
        return self.pos - self.start

    @property
    def rest(self) -> str:
        return self.line[self.pos:]

    def _continue(self) -> None:
        for container in self.containers:
            filled = self._skip_spaces()
            if isinstance(container, Quote):
                if not self._enter_quote():
                    return
            elif filled and self.column < container.marker + 2:
                return
            self.result.kept += 1

    def _enter_quote(self) -> bool:
        if not self.rest.startswith(">"):
            return False
        self.pos += 1
        if self._more(self.pos) and self.line[self.pos] == " ":
            self.pos += 1
        self.start = self.pos
        return True

    def _quote(self) -> bool:
        if self._is_code() or not self._enter_quote():
            return False
        self.result.opened.append(Quote())
        return True

    def _item(self) -> bool:
        rest = self.rest
        if self._is_code() or self._is_rule(rest):
            return False
        if not self.whole and _MARKER_SO_FAR.fullmatch(rest):
            raise NeedMore
        marker = _MARKER.match(rest)
        if marker is None:
            return False
        content = rest[marker.end():].lstrip(" \t")
        if not content and not self.whole:
            raise NeedMore
        if self._inside_paragraph() and not self._interrupts(marker["number"], content):
            return False
        gap = len(rest) - marker.end() - len(content)
        self._open_item(marker.group(), content, gap if content and gap <= 4 else 1)
        return True

    def _open_item(self, marker: str, content: str, gap: int) -> None:
        column = self.column
        self.pos += len(marker) + gap
        label = f"{marker} " if marker[0].isdigit() else _bullet(self._depth())
        if not self.whole and _BOX_SO_FAR.fullmatch(content):
            raise NeedMore
        box = _BOX.match(content + " ")
        if box:
            tick = "☐ " if box[1] == " " else "☑ "
            label = label + tick if marker[0].isdigit() else tick
            self.pos = len(self.line) - len(content) + 3
        self.result.opened.append(Item(column, column + len(marker) + gap, label))

    def _depth(self) -> int:
        return sum(isinstance(container, Item) for container in self._current())

    def _current(self) -> list[Container]:
        return [*self.containers[:self.result.kept], *self.result.opened]

    def _inside_paragraph(self) -> bool:
        return self.in_paragraph and not self.result.opened

    def _interrupts(self, number: str | None, content: str) -> bool:
        in_list = any(isinstance(container, Item) for container in self.containers)
        return bool(content) and (number is None or in_list or int(number) == 1)

    def _is_rule(self, rest: str) -> bool:
        if not _RULE_SO_FAR.fullmatch(rest):
            return False
        if not self.whole:
            raise NeedMore
        return _RULE.fullmatch(rest) is not None

    def _is_code(self) -> bool:
        """Indented code: only outside of lists and paragraphs, where indentation can mean nothing else."""
        in_list = any(isinstance(container, Item) for container in self._current())
        return self.column >= 4 and not in_list and not self._inside_paragraph()

    def _leaf(self) -> None:
        result, rest = self.result, self.rest
        result.text, result.indent = rest, self.column
        if not rest:
            result.leaf = "blank" if not result.opened else "text"
        elif self._is_code():
            self._more(len(self.line))
            result.leaf, result.text = "code", self.line[self.start + 4:]
        elif rest[0] in "-*_" and self._is_rule(rest):
            result.leaf = "rule"
        else:
            self._marked_leaf(rest)

    def _marked_leaf(self, rest: str) -> None:
        result = self.result
        result.leaf = "text"
        if not self.whole and (_HEADING_SO_FAR.fullmatch(rest) or _FENCE_SO_FAR.fullmatch(rest) or rest[0] == "|"):
            raise NeedMore
        heading = _HEADING.match(rest)
        fence = _FENCE.fullmatch(rest) or (re.fullmatch(r"(~{3,})[ \t]*(.*)", rest) if rest[0] == "~" else None)
        if heading:
            result.leaf, result.text, result.detail = "heading", rest[heading.end():], heading[1]
        elif fence:
            result.leaf, result.text, result.detail = "fence", fence[2].strip(), fence[1]
        elif rest[0] == "|" and self.whole:
            result.leaf = "row"


def _bullet(depth: int) -> str:
    return ("• ", "◦ ")[depth] if depth < 2 else "▪ "
