"""Parses the start of a line of Markdown: the blocks it continues and opens, and its text."""

from __future__ import annotations

from typing import Literal

from core.dataclass import dataclass, field
from core.regex import regex

Leaf = Literal["blank", "text", "heading", "underline", "rule", "fence", "code", "row", "math",
               "definition"]

# characters within which a paragraph must have a | to become a table's header
FIRST_CELL = 64
DEEPEST = 24
_INDENTED = 4
_RULE_SO_FAR = regex(r"([-*_])[ \t]*(?:\1[ \t]*)*")
_RULE = regex(r"([-*_])[ \t]*(?:\1[ \t]*){2,}")
_UNDERLINE = regex(r"(?:=+|-+)[ \t]*")
_MARKER = regex(r"(?P<sign>[-*+])(?=[ \t]|$)|(?P<number>\d{1,9})(?P<end>[.)])(?=[ \t]|$)")
_MARKER_SO_FAR = regex(r"[-*+]|\d{1,9}[.)]?")
_BOX = regex(r"\[([ xX])\][ \t]")
_BOX_SO_FAR = regex(r"\[(?:[ xX]\]?)?")
_HEADING = regex(r"(#{1,6})(?:[ \t]+|$)")
_HEADING_SO_FAR = regex(r"#{1,6}[ \t]*")
_FENCE = regex(r"(`{3,})([^`]*)|(~{3,})(.*)")
_FENCE_SO_FAR = regex(r"`{1,2}|`{3,}[^`]*|~{1,2}|~{3,}.*")
_DEFINITION_SO_FAR = regex(r"\[(?:[^\[\]\\]|\\.)*\\?(?:\](?::.*)?)?")
_DEFINITION = regex(r"\[((?:[^\[\]\\]|\\.)*[^\s\[\]\\](?:[^\[\]\\]|\\.)*)\]:[ \t]*(<[^<>]*>"
                    r"|[^\s<]\S*)(?:[ \t]+(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
                    r"|\((?:[^()\\]|\\.)*\)))?[ \t]*")
_PIPE = regex(r"(?<!\\)\|")


class NeedMore(Exception):
    """The kind of the line is not decided yet; `line`: only the end of the line can decide."""

    def __init__(self, *, line: bool = False) -> None:
        super().__init__()
        self.line = line


@dataclass(slots=True)
class Quote:
    pass


@dataclass(slots=True)
class Item:
    """A list item. `width`: the columns that its lines are indented by. `kind`: the marker; items
    of one list have the same. `empty`: it has no content so far.
    """

    width: int
    kind: str
    number: str = ""
    box: str = ""
    empty: bool = False


Container = Quote | Item


@dataclass(slots=True)
class Line:
    """A parsed line: `kept` containers continue, `opened` ones begin, then a `leaf` with `text`.

    `detail`: a heading's level, a fence's marks or the address of a definition. `indent`: spaces
    before the leaf.
    """

    kept: int
    opened: list[Container] = field(default_factory=list)
    leaf: Leaf = "blank"
    text: str = ""
    detail: str = ""
    indent: int = 0


def continued(line: str, containers: list[Container], *, whole: bool) -> tuple[int, str, int]:
    """(number of containers that the line continues, the line with leading tabs expanded, position
    of its text).

    Raises NeedMore.
    """
    pos = kept = 0
    for container in containers:
        blank = not line[pos:].strip(" \t")
        if blank and not whole:
            raise NeedMore
        line, start = _past_spaces(line, pos,
                                   _INDENTED if isinstance(container, Quote) else container.width)
        if isinstance(container, Quote):
            if not line.startswith(">", start):
                break
            line, start = _past_quote(line, start, whole=whole)
        elif blank:
            if container.empty:
                break
        elif start - pos < container.width:
            break
        pos = start
        kept += 1
    return kept, line, pos


def _past_quote(line: str, start: int, *, whole: bool) -> tuple[str, int]:
    if start + 1 == len(line) and not whole:
        raise NeedMore
    return _past_spaces(line, start + 1, 1)


def _past_spaces(line: str, pos: int, most: int) -> tuple[str, int]:
    """Skip at most `most` columns of white space; tabs are expanded. Returns (line, position)."""
    end = pos + most
    while pos < end:
        if line.startswith("\t", pos):
            line = line[:pos] + " " * (4 - pos % 4) + line[pos + 1:]
        elif not line.startswith(" ", pos):
            break
        pos += 1
    return line, pos


def parse_line(line: str, containers: list[Container], *, whole: bool, leaf: str) -> Line:
    """Parse a line. `leaf`: the open "paragraph" or "table".

    Raises NeedMore if the result depends on how the line continues.
    """
    return _LineParser(line, containers, whole, leaf).parse()


class _LineParser:
    __slots__ = ("line", "whole", "paragraph", "table", "pos", "result", "all_kept")

    def __init__(self, line: str, containers: list[Container], whole: bool, leaf: str) -> None:
        self.whole = whole
        self.paragraph = leaf == "paragraph"
        self.table = leaf == "table"
        kept, self.line, self.pos = continued(line, containers, whole=whole)
        self.all_kept = kept == len(containers)
        self.result = Line(kept)

    def parse(self) -> Line:
        """The parsed line. Raises NeedMore."""
        result = self.result
        while True:
            self.line, start = _past_spaces(self.line, self.pos, len(self.line) * 4)
            if start >= len(self.line):
                self._wait_for_text()
                result.text = self.line[self.pos + _INDENTED:]
                return result
            indent, rest = start - self.pos, self.line[start:]
            if indent >= _INDENTED:
                return self._indented(rest)
            deep = len(result.opened) >= DEEPEST
            if not deep and (self._quote(start) if rest[0] == ">"
                             else self._item(start, indent, rest)):
                continue
            result.indent, result.text = indent, rest
            self._leaf(rest)
            return result

    def _wait_for_text(self) -> None:
        if not self.whole:
            raise NeedMore
        opened = self.result.opened
        if opened and isinstance(opened[-1], Item):
            opened[-1].empty = not opened[-1].box

    def _indented(self, rest: str) -> Line:
        if self.paragraph and not self.result.opened:
            self.result.leaf, self.result.text = "text", rest
        else:
            if not self.whole:
                raise NeedMore(line=True)
            self.result.leaf, self.result.text = "code", self.line[self.pos + _INDENTED:]
        return self.result

    def _quote(self, start: int) -> bool:
        self.line, self.pos = _past_quote(self.line, start, whole=self.whole)
        self.result.opened.append(Quote())
        return True

    def _continues_paragraph(self) -> bool:
        return self.paragraph and self.all_kept and not self.result.opened

    def _item(self, start: int, indent: int, rest: str) -> bool:
        if not (rest[0] in "-*+" or rest[0].isdigit()) or self._is_rule(rest):
            return False
        if not self.whole and _MARKER_SO_FAR.fullmatch(rest):
            raise NeedMore
        marker = _MARKER.match(rest)
        if marker is None:
            return False
        size = marker.end()
        self.line, place = _past_spaces(self.line, start + size, len(rest) * 4)
        content = self.line[place:]
        if not content and not self.whole:
            raise NeedMore
        if (self._continues_paragraph()
            and (not content or marker["number"] and int(marker["number"]) != 1)):
            return False
        gap = place - start - size
        gap = gap if content and gap <= _INDENTED else 1
        item = Item(indent + size + gap, marker["sign"] or marker["end"], marker["number"] or "")
        self.pos = start + size + gap
        self._box(item, content)
        self.result.opened.append(item)
        return True

    def _box(self, item: Item, content: str) -> None:
        if not self.whole and _BOX_SO_FAR.fullmatch(content):
            raise NeedMore
        box = _BOX.match(content + " ")
        if box:
            item.box = "_" if box[1] == " " else "x"
            self.pos = len(self.line) - len(content) + 3

    def _is_rule(self, rest: str) -> bool:
        if rest[0] not in "-*_" or not _RULE_SO_FAR.fullmatch(rest):
            return False
        if not self.whole:
            raise NeedMore
        if self._continues_paragraph() and _UNDERLINE.fullmatch(rest):
            return True
        return _RULE.fullmatch(rest) is not None

    def _leaf(self, rest: str) -> None:
        result, first = self.result, rest[0]
        if self._continues_paragraph() and first in "=-" and self._underline(rest):
            return
        if first in "-*_" and self._is_rule(rest):
            result.leaf = "rule"
        elif first in "#`~":
            self._marked(rest)
        elif first in "$\\" and self._is_math(rest):
            result.leaf = "math"
        elif first == "[" and not (self.paragraph and not result.opened) and self._definition(rest):
            return
        else:
            self._text(rest)

    def _underline(self, rest: str) -> bool:
        if _UNDERLINE.fullmatch(rest) is None:
            return False
        if not self.whole:
            raise NeedMore
        self.result.leaf, self.result.detail = "underline", "1" if rest[0] == "=" else "2"
        return True

    def _marked(self, rest: str) -> None:
        result = self.result
        if not self.whole and (_HEADING_SO_FAR.fullmatch(rest) or _FENCE_SO_FAR.fullmatch(rest)):
            raise NeedMore
        heading, fence = _HEADING.match(rest), _FENCE.fullmatch(rest)
        if heading:
            result.leaf, result.text, result.detail = ("heading", rest[heading.end():],
                                                       str(len(heading[1])))
        elif fence:
            result.leaf, result.text = "fence", (fence[2] or fence[4] or "").strip(" \t")
            result.detail = fence[1] or fence[3]
        else:
            self._text(rest)

    def _is_math(self, rest: str) -> bool:
        """Whether a formula is on separate lines: text after its end makes it part of a sentence.
        """
        if len(rest) == 1 and not self.whole:
            raise NeedMore
        end = {"$$": "$$", "\\[": "\\]"}.get(rest[:2])
        if end is None:
            return False
        if not self.whole:
            raise NeedMore(line=True)
        close = rest.find(end, 2)
        return not rest[close + 2:].strip() if close >= 0 else end == "$$" or "]" not in rest

    def _definition(self, rest: str) -> bool:
        if not self.whole and _DEFINITION_SO_FAR.fullmatch(rest):
            raise NeedMore
        match = _DEFINITION.fullmatch(rest) if self.whole else None
        if match is None or match[1].startswith("^"):
            return False
        self.result.leaf, self.result.text, self.result.detail = ("definition", match[1],
                                                                  match[2].strip("<>"))
        return True

    def _text(self, rest: str) -> None:
        """A line of text; one that may be part of a table is held until its end."""
        result = self.result
        result.leaf = "text"
        if self.table and self.all_kept and not result.opened:
            result.leaf = "row"
        elif rest[0] == "|":
            result.leaf = "row"
        elif not self.paragraph and not result.opened and _PIPE.search(rest, 0, FIRST_CELL):
            result.leaf = "row"
        elif not self.whole and not self.paragraph and not result.opened and len(rest) < FIRST_CELL:
            raise NeedMore
        if result.leaf == "row" and not self.whole:
            raise NeedMore(line=True)
