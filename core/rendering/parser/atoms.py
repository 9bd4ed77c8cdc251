"""Parses inline Markdown without nested content: line ends, escapes, formulas, code, entities and
addresses.
"""

from __future__ import annotations


from core.regex import regex
from core.rendering.parser.operations import CODE, END, MATH, Span
from core.rendering.parser.targets import find_address, find_html, unescaped
from core.safe_text import safe_text

_TICKS = regex(r"`+")
_ENTITY = regex(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_ENTITY_SO_FAR = regex(r"&(?:#[0-9]{0,7}|#[xX][0-9a-fA-F]{0,6}|[A-Za-z][A-Za-z0-9]{0,31})?")
_DOLLARS = regex(r"(?<![\s\\$])\$(?![\w$])")
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


class Wait(Exception):
    """More text is needed to decide; only text that contains `char` can help ("": any text)."""

    def __init__(self, char: str = "") -> None:
        super().__init__(char)
        self.char = char


class Atoms:
    """Parses one construct at a position of `text`; methods return (spans, position after it).

    A construct is parsed up to `end`. `complete`: no more text will follow there. Otherwise methods
    raise Wait if more text could decide.
    """

    __slots__ = ("text", "end", "complete")
    text: str
    end: int
    complete: bool

    def need(self, pos: int, char: str = "") -> None:
        if pos >= self.end and not self.complete:
            raise Wait(char)

    def _line_end(self, pos: int) -> tuple[list[Span], int]:
        after = self.text.index("\n", pos) + 1
        while after < self.end and self.text[after] in " \t":
            after += 1
        return [Span("\n")], after

    def _escape(self, pos: int) -> tuple[list[Span], int]:
        self.need(pos + 1)
        following = self.text[pos + 1:pos + 2]
        if following in ("(", "["):
            return self._formula(pos, "\\)" if following == "(" else "\\]")
        if following == "\n":
            return [], pos + 1
        if following and following in _PUNCTUATION:
            return [Span(following)], pos + 2
        return [Span("\\")], pos + 1

    # Formulas

    def _formula(self, pos: int, end: str) -> tuple[list[Span], int]:
        close = self.text.find(end, pos + 2, self.end)
        if close < 0:
            self.need(self.end)
            return [Span(self.text[pos + 1])], pos + 2
        if not self.text[pos + 2:close].strip():
            return [Span(self.text[pos:close + 2])], close + 2
        return [formula(self.text[pos:close + 2])], close + 2

    def _dollars(self, pos: int) -> tuple[list[Span], int]:
        self.need(pos + 1)
        if self.text.startswith("$$", pos):
            close = self.text.find("$$", pos + 2, self.end)
            if close < 0:
                self.need(self.end)
            if close > pos + 2 and self.text[pos + 2:close].strip():
                return [formula(self.text[pos:close + 2])], close + 2
            return [Span("$$")], pos + 2
        before, following = self.text[pos - 1], self.text[pos + 1:pos + 2]
        if not following or following.isspace() or before.isalnum() or before in "\\$":
            return [Span("$")], pos + 1
        return self._tight(pos)

    def _tight(self, pos: int) -> tuple[list[Span], int]:
        """Text between single dollars, which is a formula if no white space follows the first or
        precedes the second.
        """
        stop = self.text.find("\n", pos, self.end)
        end = self.end if stop < 0 else stop
        close = self.text.find("$", pos + 1, end)
        while close > 0:
            self.need(close + 1)
            if _DOLLARS.match(self.text, close):
                return [formula(self.text[pos:close + 1])], close + 1
            if self.text[close - 1] != "\\":
                return [Span("$")], pos + 1
            close = self.text.find("$", close + 1, end)
        if stop < 0:
            self.need(self.end)
        return [Span("$")], pos + 1

    # Code, entities, addresses

    def _code(self, pos: int) -> tuple[list[Span], int]:
        start, close, after = self._code_span(pos)
        if close < 0:
            return [Span(self.text[pos:start])], start
        content = self.text[start:close].replace("\n", " ")
        if len(content) > 2 and content[0] == content[-1] == " " and content.strip(" "):
            content = content[1:-1]
        return [Span(content, CODE)], after

    def _code_span(self, pos: int) -> tuple[int, int, int]:
        """Where the content begins, where it ends (-1: it does not), and where the text
        continues."""
        opener = _TICKS.match(self.text, pos, self.end)
        start = opener.end() if opener else pos + 1
        self.need(start)
        for run in _TICKS.finditer(self.text, start, self.end):
            if run.end() - run.start() == start - pos:
                self.need(run.end())
                return start, run.start(), run.end()
        self.need(self.end, "`")
        return start, -1, start

    def _entity(self, pos: int) -> tuple[list[Span], int]:
        match = _ENTITY.match(self.text, pos, self.end)
        if match:
            return [Span(safe_text(unescaped(match.group())))], match.end()
        so_far = _ENTITY_SO_FAR.match(self.text, pos, self.end)
        self.need(so_far.end() if so_far else pos + 1)
        return [Span("&")], pos + 1

    def _angle(self, pos: int) -> tuple[list[Span], int]:
        found = find_html(self.text, pos, self.end)
        if found is not None:
            return [found[0]] if found[0].text else [], found[1]
        self.need(pos + 1)
        following = self.text[pos + 1:pos + 2]
        if (following.isalpha() or following in "/!?") and self.text.find(">", pos, self.end) < 0:
            self.need(self.end, ">")
        return [Span("<")], pos + 1

    def _address(self, pos: int) -> tuple[list[Span], int]:
        """An address in the text, as one span whatever characters it contains."""
        address, after = find_address(self.text, pos, self.end)
        self.need(after)
        href = address if "://" in address else f"http://{address}"
        if not address:
            return [Span(self.text[pos])], pos + 1
        return [Span(address, END, href)], pos + len(address)


def formula(source: str) -> Span:
    """A formula with its delimiters, as Unicode if that is exact."""
    from core.rendering.parser.formulas import shown
    return Span(shown(source), MATH, "", source)
