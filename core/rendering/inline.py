"""Inline Markdown of one paragraph, resolved while it comes: emphasis, code, links, escapes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from core.rendering.layout import Layout
from core.rendering.widths import char_width

BOLD, ITALIC, STRIKE, CODE, LINK, FAINT = 1, 2, 4, 8, 16, 32
_SGR = {BOLD: "1", ITALIC: "3", STRIKE: "9", CODE: "36", LINK: "4", FAINT: "2"}

_PLAIN = re.compile(r"[^\\`*_~\[!]+")
_TICKS = re.compile(r"`+")
_BRACKETS = re.compile(r"[\\\[\]`]")
_TARGET = re.compile(
    r"\(\s*(?:<(?P<angle>[^<>\n]*)>|(?P<url>[^\s()]*(?:\([^\s()]*\)[^\s()]*)*))(?:\s+(?:\"[^\"]*\"|'[^']*'))?\s*\)")
_CLOSER = {char: re.compile(rf"(?<![\s{char}]){re.escape(char)}") for char in "*_~"}      # what closes follows no white space
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")

# A backslash disappears only before these. CommonMark lets it vanish before all punctuation, which would eat LaTeX: \( \[ \{ \\.
_ESCAPABLE = frozenset("*_`~#<>|.+-")

Pieces = list[tuple[int, str]]


class Wait(Exception):
    """More text is needed to decide; only one that contains `char` can help ("" stands for any text)."""

    def __init__(self, char: str) -> None:
        super().__init__(char)
        self.char = char


@lru_cache(maxsize=256)
def style_of(base: str, flags: int) -> str:
    return ";".join([*([base] if base else []), *(code for flag, code in _SGR.items() if flags & flag)])


def plain_pieces(text: str) -> Pieces:
    """All of `text`, which is complete, as styled pieces."""
    pieces: Pieces = []
    _resolve(text, " ", len(text) + 1, 1, True, lambda flags, piece: pieces.append((flags, piece)))
    return pieces


class Inline:
    """Feeds a layout with one paragraph. What cannot be decided yet is in `rest`; a construct whose end is not found
    within `reach` cells of its beginning is literal text, wherever the stream was cut."""

    __slots__ = ("rest", "base", "_layout", "_before", "_reach", "_line", "_budget", "_char")

    def __init__(self, layout: Layout, base: str, reach: int, line: int) -> None:
        self.rest = ""
        self.base = base
        self._layout = layout
        self._before = " "
        self._reach = reach
        self._line = line
        self._budget = 0
        self._char = ""

    def feed(self, text: str, *, final: bool = False) -> None:
        waiting = bool(self.rest)
        self.rest += text
        if waiting and not final and self._char and self._char not in text and text.isascii() and "\n" not in text:
            self._budget -= len(text)
            if self._budget > 0:
                return
        consumed, self._char, used = _resolve(self.rest, self._before, self._reach, self._line, final, self._put)
        if consumed:
            self._before = self.rest[consumed - 1]
        self.rest = self.rest[consumed:]
        self._budget = self._reach - used

    def _put(self, flags: int, text: str) -> None:
        self._layout.text(text, style_of(self.base, flags) if flags else self.base)

    def show(self, layout: Layout) -> None:
        """Write the undecided rest to `layout` as it is."""
        if self.rest:
            layout.text(self.rest, self.base)


def _resolve(text: str, before: str, reach: int, line: int, final: bool,
             put: Callable[[int, str], None]) -> tuple[int, str, int]:
    """Put what is decided; return its length, and for what the rest waits: the character and its cells so far."""
    pos, size = 0, len(text)
    while pos < size:
        plain = _PLAIN.match(text, pos)
        if plain:
            put(0, plain.group())
            pos = plain.end()
            continue
        end, cells, full = _window(text, pos, reach, line)
        try:
            pieces, after = _Segment(text, end, final or full).special(pos, text[pos - 1] if pos else before)
        except Wait as wait:
            return pos, wait.char, cells
        for flags, piece in pieces:
            put(flags, piece)
        pos = after
    return pos, "", 0


def _window(text: str, pos: int, reach: int, line: int) -> tuple[int, int, bool]:
    """Where the search for an end must stop, the cells up to there, and whether text follows."""
    part = text[pos:pos + reach]
    if part.isascii() and "\n" not in part:
        return pos + len(part), len(part), pos + reach < len(text)
    cells = 0
    for number, char in enumerate(part):
        cells += line if char == "\n" else char_width(char)
        if cells > reach:
            return pos + number, cells, True
    return pos + len(part), cells, pos + len(part) < len(text)


@dataclass(slots=True)
class _Delimiters:
    """A run of `*`, `_` or `~`."""

    char: str
    size: int
    opens: bool
    closes: bool
    count: int
    index: int = 0


class _Segment:
    """The text up to `end`; `complete` says that no more of it will come."""

    __slots__ = ("text", "end", "complete")

    def __init__(self, text: str, end: int, complete: bool) -> None:
        self.text = text
        self.end = end
        self.complete = complete

    def special(self, pos: int, before: str) -> tuple[Pieces, int]:
        if self.text[pos] not in "*_~":
            return self.atom(pos)
        run = self._run(pos, before)
        if not run.opens:
            return [(0, run.char * run.size)], pos + run.size
        if _CLOSER[run.char].search(self.text, pos + run.size, self.end) is None:
            self._need(self.end, run.char)
            return [(0, run.char * run.size)], pos + run.size
        return self._emphasis(pos, before)

    def atom(self, pos: int) -> tuple[Pieces, int]:
        match self.text[pos]:
            case "\\":
                return self._escape(pos)
            case "`":
                return self._code(pos)
            case "!":
                return self._image(pos)
            case _:
                return self._link(pos)

    def _need(self, pos: int, char: str = "") -> None:
        if pos >= self.end and not self.complete:
            raise Wait(char)

    def _escape(self, pos: int) -> tuple[Pieces, int]:
        self._need(pos + 1)
        following = self.text[pos + 1:pos + 2]
        if following and following in _ESCAPABLE:
            return [(0, following)], pos + 2
        if following == "\\":
            return [(0, "\\\\")], pos + 2
        return [(0, "" if following == "\n" else "\\")], pos + 1

    def _code(self, pos: int) -> tuple[Pieces, int]:
        start, close, after = self._code_span(pos)
        if close < 0:
            return [(0, self.text[pos:start])], start
        content = self.text[start:close].replace("\n", " ")
        if len(content) > 2 and content[0] == content[-1] == " " and content.strip():
            content = content[1:-1]
        return [(CODE, content)], after

    def _code_span(self, pos: int) -> tuple[int, int, int]:
        """Where the content begins, where it ends (-1: it does not), and where the text goes on."""
        opener = _TICKS.match(self.text, pos, self.end)
        start = opener.end() if opener else pos + 1
        self._need(start)
        for run in _TICKS.finditer(self.text, start, self.end):
            if run.end() - run.start() == start - pos:
                self._need(run.end())
                return start, run.start(), run.end()
        self._need(self.end, "`")
        return start, -1, start

    def _image(self, pos: int) -> tuple[Pieces, int]:
        self._need(pos + 1)
        if self.text[pos + 1:pos + 2] != "[":
            return [(0, "!")], pos + 1
        found = self._find_link(pos + 1)
        if found is None:
            return [(0, "!")], pos + 1
        alt, url, after = found
        return [(0, f"[image: {alt}] "), (FAINT, f"({url})")], after

    def _link(self, pos: int) -> tuple[Pieces, int]:
        found = self._find_link(pos)
        if found is None:
            return [(0, "[")], pos + 1
        label, url, after = found
        pieces = [(flags | LINK, text) for flags, text in plain_pieces(label)]
        if url and url != label:
            pieces += [(0, " "), (FAINT, f"({url})")] if pieces else [(FAINT, f"({url})")]
        return pieces, after

    def _find_link(self, pos: int) -> tuple[str, str, int] | None:
        """Label, target and end of the link at `pos`."""
        if self.text.find("](", pos, self.end) < 0:
            self._need(self.end)
            return None
        close = self._closing_bracket(pos + 1)
        if close < 0:
            self._need(self.end, "]")
            return None
        self._need(close + 1)
        if self.text[close + 1:close + 2] != "(":
            return None
        target = _TARGET.match(self.text, close + 1, self.end)
        if target is None:
            self._need(self.end, ")")
            return None
        return self.text[pos + 1:close], target["angle"] or target["url"] or "", target.end()

    def _closing_bracket(self, pos: int) -> int:
        depth = 0
        while (found := _BRACKETS.search(self.text, pos, self.end)) is not None:
            char, pos = found.group(), found.end()
            if char == "\\":
                pos += 1
            elif char == "`":
                pos = self._code_span(found.start())[2]
            elif char == "[":
                depth += 1
            elif depth == 0:
                return found.start()
            else:
                depth -= 1
        return -1

    def _run(self, pos: int, before: str) -> _Delimiters:
        char, stop = self.text[pos], pos
        while stop < self.end and self.text[stop] == char:
            stop += 1
        self._need(stop)
        after = self.text[stop:stop + 1] or " "
        size = stop - pos
        left, right = _flanks(before, after), _flanks(after, before)
        if char == "_":
            opens, closes = left and (not right or _is_punctuation(before)), right and (not left or _is_punctuation(after))
        else:
            opens, closes = left, right
        if char == "~" and size != 2:
            opens = closes = False
        return _Delimiters(char, size, opens, closes, size)

    def _emphasis(self, start: int, before: str) -> tuple[Pieces, int]:
        """The emphasis that begins at `start`; as plain delimiters if it has no end."""
        pieces: list[tuple[int, str]] = []
        openers: list[_Delimiters] = []
        first: _Delimiters | None = None
        pos = start
        while pos < self.end:
            plain = _PLAIN.match(self.text, pos, self.end)
            if plain:
                pieces.append((0, plain.group()))
                pos = plain.end()
            elif self.text[pos] not in "*_~":
                found, pos = self.atom(pos)
                pieces += found
            else:
                run = self._run(pos, self.text[pos - 1] if pos > start else before)
                pos += run.size
                if run.closes:
                    _close(run, openers, pieces)
                if first is not None and not first.count:
                    return pieces, pos - run.count
                run.index = len(pieces)
                pieces.append((0, run.char * run.count))
                if run.opens and run.count:
                    openers.append(run)
                first = first or run
        self._need(self.end, self.text[start])
        count = first.count if first else 1
        return [(0, self.text[start] * count)], start + count


def _close(run: _Delimiters, openers: list[_Delimiters], pieces: Pieces) -> None:
    """Match a closing run with the openers before it, the nearest first."""
    while run.count:
        found = next((n for n in range(len(openers) - 1, -1, -1) if _belong(openers[n], run)), -1)
        if found < 0:
            return
        opener = openers[found]
        used = 2 if opener.count > 1 and run.count > 1 else 1
        flag = STRIKE if run.char == "~" else BOLD if used == 2 else ITALIC
        for n in range(opener.index + 1, len(pieces)):
            pieces[n] = (pieces[n][0] | flag, pieces[n][1])
        opener.count -= used
        run.count -= used
        pieces[opener.index] = (pieces[opener.index][0], opener.char * opener.count)
        del openers[found + (opener.count > 0):]


def _belong(opener: _Delimiters, closer: _Delimiters) -> bool:
    if opener.char != closer.char:
        return False
    both = (opener.closes or closer.opens) and opener.char != "~"
    return not both or (opener.size + closer.size) % 3 != 0 or (opener.size % 3 == 0 and closer.size % 3 == 0)


def _flanks(outer: str, inner: str) -> bool:
    """Whether a run between `outer` and `inner` leans on `inner`. Ideographs stand without spaces around emphasis."""
    if inner.isspace():
        return False
    return not _is_punctuation(inner) or outer.isspace() or _is_punctuation(outer) or outer > "\u2e80"


def _is_punctuation(char: str) -> bool:
    return not char.isalnum() and not char.isspace()
