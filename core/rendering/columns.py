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
