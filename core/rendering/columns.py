"""Puts rows side by side in columns of equal width."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest

from core.regex import regex
from core.rendering.widths import clip, text_width
from core.safe_text import safe_text

GAP = " \u2502 "
_STYLE = regex(r"\x1b\[[\d;:]*m|\x1b\]8;[^\x1b\x07]*(?:\x1b\\|\x07)")


def column_width(width: int) -> int:
    """The cells of each column on a screen of `width` cells."""
    return (width - len(GAP)) // 2


def side_by_side(left: Iterable[str], right: Iterable[str], width: int) -> Iterator[str]:
    """Rows of at most `width` cells. The given rows are safe and may be styled; those that are
    wider than a column, such as code, are broken and lose their style.
    """
    column = column_width(width)
    for one, other in zip_longest(_fitting(left, column), _fitting(right, column), fillvalue=""):
        pad = " " * (column - text_width(_STYLE.sub("", one)))
        yield f"{one}{pad}{GAP}{other}".rstrip()


def _fitting(rows: Iterable[str], column: int) -> Iterator[str]:
    for row in rows:
        bare = _STYLE.sub("", row)
        if text_width(bare) <= column:
            yield row
        else:
            yield from wrapped(bare, column)


def word_rows(words: str, indent: str, cells: int) -> list[str]:
    """Rows of at most `cells`, each with the indent; longer words are not broken."""
    rows, row = [], ""
    for word in words.split(" "):
        longer = f"{row} {word}" if row else indent + word
        if row and text_width(longer) > cells:
            rows.append(row.rstrip())
            longer = indent + word
        row = longer
    return [*rows, row]


def wrapped(text: str, cells: int) -> Iterator[str]:
    """The text's lines, broken at spaces if possible."""
    for line in safe_text(text).strip("\n").expandtabs(4).split("\n"):
        while text_width(line) > cells:
            head = clip(line, cells) or line[0]
            space = head.rfind(" ") if line[len(head):len(head) + 1] != " " else len(head)
            cut = space if space > cells // 3 else len(head)
            yield line[:cut].rstrip()
            line = line[cut:].lstrip(" ")
        yield line.rstrip()
