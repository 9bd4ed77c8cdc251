"""Outlines files that are not completely in a prompt, so that the model can ask for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from core.context.form import Piece, whole_piece
from core.context.pieces import marks_of
from core.safe_text import safe_line

SHARE, MOST = 0.04, 800     # share of the room, and tokens, that outlines may take
LEAST = 200                 # tokens; with less room there are no outlines
OF_ONE = 30                 # functions and sections listed for one file
LONGEST = 80                # characters of one of them
NAME = "of files that are not completely included"
NOTE = "line numbers with the functions and sections that begin there"


def outline_room(room: int) -> int:
    """The tokens that outlines may take of this room; 0 for no outlines."""
    wanted = min(int(room * SHARE), MOST)
    return wanted if wanted >= LEAST else 0


def outline_of(name: str, kind: str, text: str) -> str:
    """An outline such as `retry.py, 412 lines: 12 class Retry; 30 def delay(attempt)`; "" if there
    is nothing to list.
    """
    headings = list(_headings(text, marks_of(name, kind, text).headings))
    if not headings:
        return ""
    more = f"; {len(headings) - OF_ONE:,} more" if len(headings) > OF_ONE else ""
    lines = text.count("\n") + (not text.endswith("\n") and bool(text))
    return f"{safe_line(name, 300)}, {lines:,} lines: {'; '.join(headings[:OF_ONE])}{more}"


def _headings(text: str, marks: Iterable[int]) -> Iterator[str]:
    line, place = 1, 0
    for mark in marks:
        line += text.count("\n", place, mark)
        place = mark
        heading = text[mark:mark + LONGEST + 1].partition("\n")[0].strip().rstrip(":").lstrip("#= ")
        if heading and not heading.startswith("@"):
            yield f"{line} {safe_line(heading, LONGEST)}"


def outline_piece(outlines: Iterable[str], room: int, cost: Callable[[Piece], int]) -> Piece | None:
    """A piece with as many of the outlines as fit, in order; None if none fits."""
    taken: list[str] = []
    for outline in filter(None, outlines):
        if cost(_piece([*taken, outline])) <= room:
            taken.append(outline)
    return _piece(taken) if taken else None


def _piece(outlines: list[str]) -> Piece:
    return whole_piece(NAME, "outline", "\n".join(outlines), NOTE)
