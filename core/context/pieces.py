"""Splits texts into pieces that can be chosen: functions, sections, groups of rows, and parts of a
very long line.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from core.context.form import Piece
from core.dataclass import dataclass
from core.regex import regex

MOST, LEAST = 800, 220            # characters of a piece
TOGETHER = 1.3                    # times MOST: a function or section up to this size stays whole
MOST_ROWS = 700                   # characters of a piece of rows
LONG_LINE = 2_000                 # characters; longer lines are cut
GAP = 3                           # lines between two pieces that are included, not left out
STRETCH = 1 << 13                 # characters that are searched or counted at once
_CODE = regex(
    r"^(?:[ \t]{0,4}(?:@\w|(?:async +)?def |class |(?:export |pub |public |private |protected "
    r"|static )*(?:func|fn|impl|function|interface|struct|enum|trait|type) )|CREATE "
    r"|\[[\w.\-\" ]+\]$)",
    re.MULTILINE)
PROSE = regex(r"^(?:#{1,6} |\*\*\w+:\*\*$|<h[1-6]|.+\n(?:={3,}|-{3,}|~{3,})$)", re.MULTILINE)
_ROWS = regex(r"\.(?:csv|tsv|jsonl|ndjson|log|out|err|trace)(?:\.[\d-]+)?$", re.IGNORECASE)
_TEXT = regex(r"\.(?:mdx?|markdown|rst|rest|txt|adoc|org|html?)$", re.IGNORECASE)
# where a long line is cut, the first one that occurs: after a record, a sentence, a word
_CUTS = ("},", "],", ". ", "; ", ", ", " ", ";", ",")
_FENCE = regex(r"^[ \t>]*(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)?(`{3,}|~{3,})(.*)$", re.MULTILINE)
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Marks:
    """The positions at which functions, classes and sections begin (`headings`), and these and
    others at which a text may be cut: comments in fenced code look like headings (`cuts`).
    """

    headings: Sequence[int]
    cuts: Sequence[int]


def marks_of(name: str, kind: str, text: str) -> Marks:
    """The marks of a text, from its beginning to its end."""
    prose = kind not in ("file", "document") or _TEXT.search(name) is not None
    found = list(_found(PROSE if prose else _CODE, text))
    fenced = list(_fences(text)) if prose and found and ("```" in text or "~~~" in text) else []
    starts = [start for start, _ in fenced]
    return Marks([mark for mark in found if not (place := bisect_right(starts, mark))
                  or mark >= fenced[place - 1][1]] if fenced else found, found)


def _fences(text: str) -> Iterator[Span]:
    """The (start, end) positions of fenced code; a fence that is not closed is ignored, and so are
    tildes directly below a line, which underline a heading.
    """
    start, run = 0, ""
    for place in _found(_FENCE, text):
        fence = _FENCE.match(text, place)
        mark, words = fence.groups() if fence else ("", "")
        if run:
            if mark.startswith(run) and not words.strip():
                yield start, place
                run = ""
        elif (text[max(0, place - 2):place].strip("\n") == "" if mark[:1] == "~"
              else "`" not in words):
            start, run = place, mark


def _found(pattern: re.Pattern[str], text: str) -> Iterator[int]:
    """The positions of matches. Text is searched in parts (whole lines, and one more), since a
    search in megabytes would block everything else, even Ctrl-C.
    """
    start = 0
    while start < len(text):
        end = text.find("\n", start + STRETCH) + 1 or len(text)
        for found in pattern.finditer(text, start, text.find("\n", end) + 1 or len(text)):
            if found.start() >= end:
                break
            yield found.start()
        start = end


class LineNumbers:
    """Finds line numbers (from 1) in a text without counting from its beginning each time."""

    def __init__(self, text: str) -> None:
        self._text, self._before = text, [0]
        for start in range(0, len(text), STRETCH):
            self._before.append(self._before[-1] + text.count("\n", start, start + STRETCH))
        self.all = self._before[-1] + (not text.endswith("\n") and bool(text))

    def at(self, place: int) -> int:
        stretch = place // STRETCH
        return 1 + self._before[stretch] + self._text.count("\n", stretch * STRETCH, place)


def spans_of(name: str, kind: str, text: str, marks: Marks) -> list[Span]:
    """The (start, end) positions of consecutive pieces: whole lines, or parts of a long one."""
    most = MOST_ROWS if kind == "table" or _ROWS.search(name) else MOST
    spans, start = [], 0
    while start < len(text):
        end = _end(text, start, most, marks.cuts)
        spans.append((start, end))
        start = end
    return spans


def _end(text: str, start: int, most: int, marks: Sequence[int]) -> int:
    if len(text) - start <= most:
        return len(text)
    last = bisect_right(marks, start + most) - 1
    if last >= 0 and marks[last] > start + LEAST:
        return marks[last]
    following = marks[last + 1] if last + 1 < len(marks) else len(text)
    if following <= start + most * TOGETHER:
        return following
    empty = text.rfind("\n\n", start + most // 2, start + most)
    if empty >= 0:
        return empty + 2
    line = text.rfind("\n", start, start + most)
    return line + 1 if line >= 0 else _end_in_line(text, start, most)


def _end_in_line(text: str, start: int, most: int) -> int:
    """The end of a piece that begins there, if its line is longer than `most`."""
    begun = start > 0 and text[start - 1] != "\n"
    longest = int(most * TOGETHER) if begun else LONG_LINE
    line = text.find("\n", start + most, start + longest)
    if line >= 0 or len(text) - start <= longest:
        return line + 1 if line >= 0 else len(text)
    ends = (place + len(mark) for mark in _CUTS
            if (place := text.rfind(mark, start + most // 2, start + most)) >= 0)
    return next(ends, start + most)


def split_pieces(name: str, kind: str, text: str) -> list[Piece]:
    """All pieces of a text."""
    return cut(name, kind, text, spans_of(name, kind, text, marks_of(name, kind, text)))


def cut(name: str, kind: str, text: str, spans: Sequence[Span], note: str = "",
        numbers: LineNumbers | None = None) -> list[Piece]:
    """The pieces at these positions."""
    numbers = numbers or LineNumbers(text)
    pieces = []
    for start, end in spans:
        body, line = text[start:end].removesuffix("\n"), numbers.at(start)
        pieces.append(Piece(name, kind, body, line, line + body.count("\n"), numbers.all, note,
                            start - text.rfind("\n", 0, start) - 1, _after(text, end)))
    return pieces


def _after(text: str, end: int) -> int:
    """The characters between `end` and the end of the line that is cut there."""
    if end >= len(text) or text[end - 1] == "\n":
        return 0
    line = text.find("\n", end)
    return (line if line >= 0 else len(text)) - end


def join_spans(spans: Sequence[Span], text: str) -> list[Span]:
    """The spans, joined where they are adjacent or only a few lines apart."""
    joined: list[Span] = []
    for start, end in sorted(set(spans)):
        if (joined and text.count("\n", joined[-1][1], start) <= GAP
            and start - joined[-1][1] < LEAST // 2):
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
