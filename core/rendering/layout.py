"""Wraps styled text to terminal rows while it streams."""

from __future__ import annotations


from core.regex import regex
from core.rendering.widths import char_width, clip, text_width

Run = tuple[str, str]           # style (SGR parameters, "" for none), text

RESET = "\x1b[m"
_PIECES = regex(r"[^ \t\n]+|[ \t]+|\n")
_CLOSING = frozenset("。，、．！？；：）」』】》〉〕”’…")      # may not begin a row


class Layout:
    """Writes text in rows of at most `limit` cells to `out`.

    A word is written when it is complete; until then it is in `word`. `indent` begins every row of
    a block except the first, whose beginning the caller writes.
    """

    __slots__ = ("out", "style", "col", "limit", "indent", "indent_width", "word", "word_width",
                 "wide",
                 "space", "space_style")

    def __init__(self, limit: int) -> None:
        self.out: list[str] = []
        self.style = ""
        self.col = 0
        self.limit = limit
        self.indent: list[Run] = []
        self.indent_width = 0
        self.word: list[Run] = []
        self.word_width = 0
        self.wide = False
        self.space = ""
        self.space_style = ""

    def fork(self) -> Layout:
        """An independent copy with an empty `out`."""
        copy = Layout(self.limit)
        copy.style, copy.col, copy.indent, copy.indent_width = (self.style, self.col, self.indent,
                                                                self.indent_width)
        copy.word, copy.word_width, copy.wide = list(self.word), self.word_width, self.wide
        copy.space, copy.space_style = self.space, self.space_style
        return copy

    def take(self) -> str:
        """Remove and return the finished text."""
        text = "".join(self.out)
        self.out.clear()
        return text

    def emit(self, style: str, text: str) -> None:
        """Write `text` without wrapping."""
        if style != self.style:
            self.out.append(f"\x1b[0;{style}m" if style and self.style else f"\x1b[{style}m")
            self.style = style
        self.out.append(text)

    def raw(self, text: str) -> None:
        """Write a piece of a row that the terminal wraps."""
        self.emit("", text)
        self.col += text_width(text)

    def begin(self, first: list[Run], indent: list[Run]) -> None:
        """Start a block on a new row."""
        for style, text in first:
            self.emit(style, text)
        self.indent = indent
        self.indent_width = self.col = sum(text_width(text) for _, text in first)

    def text(self, text: str, style: str) -> None:
        """Write text, wrapped between words."""
        for piece in _PIECES.findall(text):
            first = piece[0]
            if first == " " or first == "\t":
                self.flush()
                if not self.space:
                    self.space_style = style
                self.space = (self.space + " " * len(piece))[:self.limit]
            elif first == "\n":
                self.flush()
                self.newline()
            elif piece.isascii():
                if self.wide:
                    self.flush()
                self.word.append((style, piece))
                self.word_width += len(piece)
                if self.word_width > self.limit - self.indent_width:
                    self._break_word()
            else:
                self._text_by_characters(piece, style)

    def together(self, text: str, style: str) -> None:
        """Write words on one row if they fit on one."""
        if text_width(text) > self.limit - self.indent_width or "\n" in text:
            self.text(text, style)
            return
        self.word.append((style, text))
        self.word_width += text_width(text)
        if self.word_width > self.limit - self.indent_width:
            self._break_word()

    def unbroken(self, text: str, style: str) -> None:
        """Write an address without breaking it, on a new row if it does not fit on this one."""
        width = text_width(text)
        if self.word_width + width <= self.limit - self.indent_width:
            self.word.append((style, text))
            self.word_width += width
            return
        self.flush()
        if self.col > self.indent_width:
            self.newline()
        self.space = ""
        self.emit("" if self.col + width > self.limit else style, text)
        self.col += width

    def _text_by_characters(self, piece: str, style: str) -> None:
        for char in piece:
            cells = char_width(char)
            if cells and (self.wide or cells == 2):
                if char not in _CLOSING:
                    self.flush()
                self.wide = cells == 2
            self.word.append((style, char))
            self.word_width += cells
            if self.word_width > self.limit - self.indent_width:
                self._break_word()

    def flush(self) -> None:
        """Write the pending word, on the next row if it does not fit on this one."""
        if not self.word:
            return
        if self.col > self.indent_width:
            gap = len(self.space)
            if self.col + gap + self.word_width > self.limit:
                self.newline()
            elif gap:
                self.emit(self.space_style, self.space)
                self.col += gap
        self.space = ""
        for style, text in self.word:
            self.emit(style, text)
        self.col += self.word_width
        self.word, self.word_width, self.wide = [], 0, False

    def _break_word(self) -> None:
        available = max(self.limit - self.indent_width, 1)
        while self.word_width > available:
            if self.col > self.indent_width:
                self.newline()
            cells, head, rest = _split(self.word, available)
            for style, text in head:
                self.emit(style, text)
            self.col += cells
            self.word = rest
            self.word_width -= cells
        self.space = ""

    def newline(self) -> None:
        self._end()
        for style, text in self.indent:
            self.emit(style, text)
        self.col = self.indent_width

    def end_row(self) -> None:
        """End a block: write its last word and a newline."""
        self.flush()
        self._end()
        self.col = self.indent_width = 0
        self.indent = []

    def _end(self) -> None:
        if self.style:
            self.out.append(RESET)
            self.style = ""
        self.out.append("\n")
        self.space = ""


def _split(word: list[Run], cells: int) -> tuple[int, list[Run], list[Run]]:
    """(cells, beginning, rest): the longest beginning of `word` that fits into `cells`, at least
    one character.
    """
    used = 0
    for number, (style, text) in enumerate(word):
        taken = max(len(clip(text, cells - used)), 0 if used else 1)
        if taken < len(text):
            head = [*word[:number], (style, text[:taken])]
            return (used + text_width(text[:taken]), head,
                    [(style, text[taken:]), *word[number + 1:]])
        used += text_width(text)
    return used, word, []
