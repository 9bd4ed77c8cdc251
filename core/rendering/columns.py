"""Formats two texts side by side in columns of equal width."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from core.rendering.widths import clip, text_width
from core.safe_text import safe_text

GAP = " \u2502 "


def side_by_side(left: str, right: str, width: int) -> Iterator[str]:
    """Rows of at most `width` cells. The texts are made safe here."""
    column = (width - len(GAP)) // 2
    for one, other in zip_longest(wrapped(left, column), wrapped(right, column), fillvalue=""):
        yield f"{one}{' ' * (column - text_width(one))}{GAP}{other}".rstrip()


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
