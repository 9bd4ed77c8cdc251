"""CommonMark's rules for emphasis: which runs of `*`, `_` and `~` open, close and match."""

from __future__ import annotations

import re

from core.dataclass import dataclass
from core.regex import regex
from core.rendering.parser.operations import BOLD, ITALIC, STRIKE, Span

DELIMITERS = frozenset("*_~")
# A closing run does not follow white space. The patterns begin with the literal character, which
# makes searching fastest.
_CLOSER = {char: regex(rf"{re.escape(char)}(?<=[^\s{char}]{re.escape(char)})") for char in "*_~"}


@dataclass(slots=True)
class Delimiters:
    """A run of one delimiter character at `pos`, with `count` unused ones; `index` is its span."""

    char: str
    size: int
    opens: bool
    closes: bool
    count: int
    pos: int
    index: int = 0


@dataclass(slots=True)
class OpenEmphasis:
    """An unfinished emphasis: its spans, the runs not closed yet, and the position after it."""

    spans: list[Span]
    openers: list[Delimiters]
    pos: int
    words: bool = False      # whether the last span is plain text, which can be extended

    def moved(self, by: int) -> OpenEmphasis:
        """Adjust the positions to a text without its first `by` characters; return self."""
        if by:
            self.pos -= by
            for run in self.openers:
                run.pos -= by
        return self

    def settled(self) -> list[Span]:
        """Remove and return the spans before the first open run."""
        first = self.openers[0].index if self.openers else len(self.spans)
        done = [span for span in self.spans[:first] if span.text]
        del self.spans[:first]
        for run in self.openers if first else ():
            run.index -= first
        return done


class Closers:
    """Finds runs that may close an emphasis; a search is repeated only after its result is passed.
    """

    __slots__ = ("_text", "_known")

    def __init__(self, text: str) -> None:
        self._text = text
        # by character: (position searched from, position found)
        self._known: dict[str, tuple[int, int]] = {}

    def has(self, char: str, pos: int, end: int) -> bool:
        """Whether one exists between `pos` and `end`; call it with increasing positions."""
        start, found = self._known.get(char, (0, -1))
        if not start <= pos <= found:
            match = _CLOSER[char].search(self._text, pos)
            found = match.start() if match else len(self._text)
            self._known[char] = pos, found
        return found < end


def find_run(text: str, pos: int, end: int) -> Delimiters:
    """The run that begins at `pos`, which must not be the start of `text`."""
    before, char, stop = text[pos - 1], text[pos], pos
    while stop < end and text[stop] == char:
        stop += 1
    after = text[stop:stop + 1] or " "
    size = stop - pos
    left, right = _flanks(before, after), _flanks(after, before)
    if char == "_":
        opens, closes = (left and (not right or _is_punctuation(before)),
                         right and (not left or _is_punctuation(after)))
    else:
        opens, closes = left, right
    if char == "~" and size != 2:       # models write ~5 for "about five"
        opens = closes = False
    return Delimiters(char, size, opens, closes, size, pos)


def close_run(run: Delimiters, openers: list[Delimiters], spans: list[Span]) -> None:
    """Match a closing run with the openers before it, the nearest first."""
    while run.count:
        found = next((n for n in range(len(openers) - 1, -1, -1) if _belong(openers[n], run)), -1)
        if found < 0:
            return
        opener = openers[found]
        used = 2 if opener.count > 1 and run.count > 1 else 1
        flag = STRIKE if run.char == "~" else BOLD if used == 2 else ITALIC
        for n in range(opener.index + 1, len(spans)):
            span = spans[n]
            spans[n] = Span(span.text, span.marks | flag, span.href, span.source)
        opener.count -= used
        run.count -= used
        spans[opener.index] = spans[opener.index]._replace(text=opener.char * opener.count)
        del openers[found + (opener.count > 0):]


def _belong(opener: Delimiters, closer: Delimiters) -> bool:
    if opener.char != closer.char:
        return False
    both = (opener.closes or closer.opens) and opener.char != "~"
    return (not both or (opener.size + closer.size) % 3 != 0
            or (opener.size % 3 == 0 and closer.size % 3 == 0))


def _flanks(outer: str, inner: str) -> bool:
    """Whether a run between the characters `outer` and `inner` is flanking towards `inner`.

    Ideographs need no spaces around emphasis.
    """
    if inner.isspace():
        return False
    return (not _is_punctuation(inner) or outer.isspace() or _is_punctuation(outer)
            or outer > "\u2e80")


def _is_punctuation(char: str) -> bool:
    return not char.isalnum() and not char.isspace()
