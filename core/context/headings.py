"""Counts the words of a question in the pieces of one text and in the headings above them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from core.context.pieces import Span
from core.regex import regex

HEADING = 1.0       # additional weight of a word in the first line of a function or section
ABOVE = 1.0         # weight of a word in the heading of the section that contains a piece
FURTHER = 0.8       # factor for each heading above that one
_LEVEL = regex(r"#{1,6}(?= )")
_CONSTANT = regex(
    r"[ \t]{0,4}(?:(?:export|pub|public|private|protected|static|final|const|let|var|#define) )*"
    r"_?[A-Z][A-Z0-9_]{2,}\b *[:=(]")
_INDENT = regex(r"[ \t]*")
_LINES = ("=", "-", "~")      # characters that underline a heading


class Hits:
    """The weighted occurrences of each of `terms` terms in the pieces of a text.

    `rows` has a row of counts for each piece in which a term occurs.
    """

    def __init__(self, text: str, marks: Sequence[int], spans: Sequence[Span], terms: int) -> None:
        self.rows: dict[int, list[float]] = {}
        self._text, self._marks, self._terms = text, marks, terms
        self._starts = [start for start, _ in spans]
        self._headings: dict[int, list[float]] = {}
        self._line, self._constant = -1, False       # the last line examined
        self._place, self._begin = 0, 0              # the last occurrence, and its line

    def add(self, term: int, place: int, value: float) -> None:
        """Count an occurrence at a position."""
        line = self._line_of(place)
        mark = bisect_right(self._marks, place) - 1
        if mark >= 0 and self._marks[mark] >= line:
            row = self._headings.setdefault(mark, [0.0] * self._terms)
            row[term] = max(row[term], value)
            value *= 1 + HEADING
        elif self._sets_constant(line):
            value *= 1 + HEADING
        piece = bisect_right(self._starts, place) - 1
        self.rows.setdefault(piece, [0.0] * self._terms)[term] += value

    def _line_of(self, place: int) -> int:
        """The beginning of the line there. Most occurrences come in order, and a line may have
        megabytes, so it is searched back to the last occurrence only.
        """
        known = self._place if place >= self._place else 0
        found = self._text.rfind("\n", known, place)
        self._begin = found + 1 if found >= 0 or not known else self._begin
        self._place = place
        return self._begin

    def _sets_constant(self, line: int) -> bool:
        """Whether the line that begins there sets a constant; most words share their line."""
        if line != self._line:
            self._line, self._constant = line, _CONSTANT.match(self._text, line) is not None
        return self._constant

    def above(self) -> dict[int, list[float]]:
        """The weights of the terms in the headings above each piece that has `rows`."""
        if not self._headings:
            return {}
        parents = parents_of(self._text, self._marks)
        found = {}
        for piece in self.rows:
            row, start = [0.0] * self._terms, self._starts[piece]
            mark, share = bisect_right(self._marks, start) - 1, ABOVE
            if mark >= 0 and self._marks[mark] == start:
                mark = parents[mark]      # its own heading is part of the piece
            while mark >= 0:
                named = self._headings.get(mark, ())
                for term, value in enumerate(named):
                    row[term] = max(row[term], value * share)
                mark, share = parents[mark], share * FURTHER
            if any(row):
                found[piece] = row
        return found


def parents_of(text: str, marks: Sequence[int]) -> list[int]:
    """For each heading, function or class, the index of the one that contains it; -1 if none."""
    open_marks: list[tuple[int, int]] = []      # (level, index)
    found: list[int] = []
    underlines: dict[str, int] = {}
    for number, mark in enumerate(marks):
        level = _level(text, mark, underlines)
        while open_marks and open_marks[-1][0] >= level:
            open_marks.pop()
        found.append(open_marks[-1][1] if open_marks else -1)
        open_marks.append((level, number))
    return found


def _level(text: str, mark: int, underlines: dict[str, int]) -> int:
    """The depth of a heading: its number of #, the order in which its underline first occurred, or
    its indentation.
    """
    hashes = _LEVEL.match(text, mark)
    if hashes:
        return len(hashes.group())
    below = text.find("\n", mark) + 1
    if below and text.startswith(_LINES, below):
        return underlines.setdefault(text[below], len(underlines) + 1)
    indent = _INDENT.match(text, mark)
    return 1 + len(indent.group() if indent else "")
