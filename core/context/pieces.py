"""Splits texts into pieces of whole lines that can be chosen: functions, sections, groups of rows.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from core.context.form import Piece
from core.regex import regex

MOST, LEAST = 800, 220            # characters of a piece
TOGETHER = 1.3                    # times MOST: a function or section up to this size stays whole
MOST_ROWS = 700                   # characters of a piece of rows
PIECE_CHARACTERS = 4_000          # characters kept of a line that is longer than a piece
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
Span = tuple[int, int]


def marks_of(name: str, kind: str, text: str) -> list[int]:
    """The positions at which functions, classes and sections begin."""
    prose = kind not in ("file", "document") or _TEXT.search(name) is not None
    return list(_found(PROSE if prose else _CODE, text))


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


def spans_of(name: str, kind: str, text: str, marks: Sequence[int]) -> list[Span]:
    """The (start, end) positions of consecutive pieces of whole lines."""
    most = MOST_ROWS if kind == "table" or _ROWS.search(name) else MOST
    spans, start = [], 0
    while start < len(text):
        end = _end(text, start, most, marks)
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
    if line < 0:
        line = text.find("\n", start + most)
    return line + 1 if line >= 0 else len(text)


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
        pieces.append(Piece(name, kind, _shortened(body), line, line + body.count("\n"),
                            numbers.all, note))
    return pieces


def _shortened(body: str) -> str:
    """The text with long lines cut: data is often written as one line of megabytes."""
    if len(body) <= PIECE_CHARACTERS:
        return body
    return "\n".join(map(_short_line, body.split("\n")))


def _short_line(line: str) -> str:
    if len(line) <= PIECE_CHARACTERS:
        return line
    return f"{line[:PIECE_CHARACTERS]} [\u2026 {len(line) - PIECE_CHARACTERS:,} more characters]"


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
