"""Parses the inline Markdown of one paragraph while it streams: emphasis, links and atoms."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from core.regex import regex
from core.rendering.parser.atoms import Atoms, Wait
from core.rendering.parser.emphasis import (DELIMITERS, Closers, Delimiters, OpenEmphasis,
                                            close_run, find_run)
from core.rendering.parser.operations import END, IMAGE, Span
from core.rendering.parser.targets import (LINK_TARGET, LINK_TARGET_SO_FAR, find_html, normal_label,
                                           unescaped)

# characters within which a construct must end; otherwise its beginning is literal text
REACH = 1000
DEEPEST = 32            # levels of nested brackets
_SPECIAL = regex(
    r"[\\`*_~\[!&<$]|[ \t]*\n[ \t]*|(?<![A-Za-z0-9])(?:https?://|ftp://|www\.)(?=.)", re.DOTALL
)
_OPEN_END = regex(
    r"[ \t]+\Z|(?<![A-Za-z0-9])(?:h|ht|htt|https?(?::/{0,2})?|f|ft|ftp(?::/{0,2})?|w|ww|www\.?)\Z"
)
_BRACKETS = regex(r"[\\\[\]`<]")

Put = Callable[[Span], None]
Labels = dict[str, list[Span]]


def spans_of(text: str, references: Mapping[str, str]) -> list[Span]:
    """The spans of a complete text."""
    return _label_spans(text, references, {})


def _label_spans(text: str, references: Mapping[str, str], labels: Labels) -> list[Span]:
    """spans_of() with the results in `labels` reused: the text of a link is parsed twice to find
    links within it.
    """
    spans = labels.get(text)
    if spans is None:
        spans = []
        _resolve(_Segment(" " + text, True, references, labels), spans.append)
        labels[text] = spans
    return spans


class Inline:
    """Parses one paragraph; text that cannot be decided yet is kept in `rest`."""

    __slots__ = ("rest", "_put", "_references", "_before", "_budget", "_char", "_open")

    def __init__(self, put: Put, references: Mapping[str, str]) -> None:
        self.rest = ""
        self._put = put
        self._references = references
        self._before = " "
        self._budget = 0
        self._char = ""
        self._open: OpenEmphasis | None = None

    def feed(self, text: str, *, final: bool = False) -> None:
        """Parse more text; with `final`, undecided syntax becomes text."""
        waiting = bool(self.rest)
        self.rest += text
        if waiting and not final and self._char and self._char not in text:
            self._budget -= len(text)
            if self._budget > 0:
                return
        text = self._before + self.rest
        segment = _Segment(text, final, self._references, {}, self._open)
        consumed, self._char = _resolve(segment, self._put)
        self._open = segment.open.moved(consumed - 1) if segment.open is not None else None
        self._before, self.rest = text[consumed - 1], text[consumed:]
        self._budget = REACH - len(self.rest)


def _resolve(segment: _Segment, put: Put) -> tuple[int, str]:
    """Pass the decided spans to `put`; the first character of the text is only context.

    Return (start of the undecided rest, the character that could decide it).
    """
    text, final = segment.text, segment.final
    pos, size = 1, len(text)
    while pos < size:
        special = _SPECIAL.search(text, pos)
        stop = special.start() if special else size if final else _decided_end(text, pos)
        if stop > pos:
            put(Span(text[pos:stop]))
            pos = stop
        if special is None:
            return pos, ""
        try:
            spans, after = segment.special(pos)
        except Wait as wait:
            return pos, wait.char
        for span in spans:
            put(span)
        pos = after
    return pos, ""


def _decided_end(text: str, pos: int) -> int:
    end = _OPEN_END.search(text, max(pos, len(text) - 300))
    return max(end.start(), pos) if end else len(text)


class _Segment(Atoms):
    """The available text; a construct is parsed up to `end`, the limit of its reach.

    `complete`: no more text will follow there.
    """

    __slots__ = ("references", "final", "open", "_closers", "_labels")

    def __init__(self, text: str, final: bool, references: Mapping[str, str], labels: Labels,
                 known: OpenEmphasis | None = None) -> None:
        self.text = text
        self.references = references
        self.final = final
        self.open = known     # an unfinished emphasis at the start of the text, parsed so far
        self._closers = Closers(text)
        self._labels = labels
        self._reach_from(0)

    def _reach_from(self, pos: int) -> None:
        self.end = min(len(self.text), pos + REACH)
        self.complete = self.final or pos + REACH < len(self.text)

    def special(self, pos: int) -> tuple[list[Span], int]:
        if self.text[pos] not in DELIMITERS:
            return self.atom(pos)
        if self.open is not None:
            return self._emphasis(self.open)
        run = self._run(pos)
        literal = [Span(run.char * run.size)], pos + run.size
        if not run.opens:
            return literal
        self._reach_from(pos)
        if not self._closers.has(run.char, pos + run.size, self.end):
            self.need(self.end, run.char)
            return literal
        return self._emphasis(OpenEmphasis([Span(run.char * run.size)], [run], pos + run.size))

    def _run(self, pos: int) -> Delimiters:
        run = find_run(self.text, pos, len(self.text))
        if pos + run.size == len(self.text) and not self.final:
            raise Wait
        return run

    def atom(self, pos: int) -> tuple[list[Span], int]:
        self._reach_from(pos)
        match self.text[pos]:
            case "\\":
                return self._escape(pos)
            case "`":
                return self._code(pos)
            case "!":
                return self._image(pos)
            case "[":
                return self._link(pos)
            case "&":
                return self._entity(pos)
            case "<":
                return self._angle(pos)
            case "$":
                return self._dollars(pos)
            case " " | "\t" | "\n":
                return self._line_end(pos)
        return self._address(pos)

    # Links

    def _image(self, pos: int) -> tuple[list[Span], int]:
        self.need(pos + 1)
        if self.text[pos + 1:pos + 2] != "[":
            return [Span("!")], pos + 1
        found = self._find_link(pos + 1)
        if found is None:
            return [Span("!")], pos + 1
        label, href, after = found
        alt = "".join(span.text for span in _label_spans(label, self.references, self._labels))
        return [Span(f"[image: {alt}]" if alt else "[image]", IMAGE | END, href or "#")], after

    def _link(self, pos: int) -> tuple[list[Span], int]:
        found = self._find_link(pos)
        if found is None:
            return [Span("[")], pos + 1
        label, href, after = found
        spans = _label_spans(label, self.references, self._labels)
        if any(
            span.href and not span.marks & IMAGE and not span.href.endswith(span.text)
            for span in spans
        ):
            return [Span("[")], pos + 1
        if not href:
            return spans, after
        linked = [span._replace(href=href, marks=span.marks & ~END) for span in spans] or [
            Span(href, 0, href)
        ]
        linked[-1] = linked[-1]._replace(marks=linked[-1].marks | END)
        return linked, after

    def _find_link(self, pos: int) -> tuple[str, str, int] | None:
        """Label, target and end of the link whose bracket opens at `pos`."""
        close = self._closing_bracket(pos + 1) if self.text.find("]", pos, self.end) >= 0 else -1
        if close < 0:
            self.need(self.end, "]")
            return None
        self.need(close + 1)
        label = self.text[pos + 1:close]
        if self.text.startswith("(", close + 1):
            target = LINK_TARGET.match(self.text, close + 1, self.end)
            if target is not None:
                return label, unescaped(target["angle"] or target["url"] or ""), target.end()
            if LINK_TARGET_SO_FAR.fullmatch(self.text, close + 1, self.end):
                self.need(self.end, ")")
        return self._find_reference(label, close + 1)

    def _find_reference(self, label: str, pos: int) -> tuple[str, str, int] | None:
        """A reference to a definition in the preceding text."""
        name, after = label, pos
        if self.text.startswith("[", pos):
            close = self._closing_bracket(pos + 1)
            if close < 0:
                self.need(self.end, "]")
            elif close == pos + 1:
                after = close + 1
            else:
                name, after = self.text[pos + 1:close], close + 1
        href = self.references.get(normal_label(name)) if self.references else None
        return None if href is None else (label, href, after)

    def _closing_bracket(self, pos: int) -> int:
        depth = 0
        while (found := _BRACKETS.search(self.text, pos, self.end)) is not None:
            char, pos = found.group(), found.end()
            if char == "\\":
                pos += 1
            elif char == "`":
                pos = self._code_span(found.start())[2]
            elif char == "<":
                html = find_html(self.text, found.start(), self.end)
                pos = html[1] if html else pos
            elif char == "[":
                depth += 1
                if depth > DEEPEST:
                    return -1
            elif depth == 0:
                return found.start()
            else:
                depth -= 1
        return -1

    # Emphasis

    def _emphasis(self, known: OpenEmphasis) -> tuple[list[Span], int]:
        """Continue parsing an emphasis. Return (spans before the part that is still open, where
        that begins); all spans if it is closed.

        An opening run without an end within its reach becomes text; nothing is parsed twice.
        """
        self.open, openers = None, known.openers
        first = openers[0]
        try:
            while True:
                ended = self.final and known.pos >= len(self.text)
                while openers and (ended or known.pos >= openers[0].pos + REACH):
                    del openers[0]
                if not openers:
                    return known.settled(), known.pos
                known.pos = self._step(known, known.pos, known.spans)
        except Wait:
            self.open = known
            if openers[0] is first:
                raise
            return known.settled(), openers[0].pos

    def _step(self, known: OpenEmphasis, pos: int, spans: list[Span]) -> int:
        """Parse the next piece within an emphasis. Return the position after it."""
        special = _SPECIAL.search(self.text, pos)
        stop = (
            special.start()
            if special
            else len(self.text) if self.final else _decided_end(self.text, pos)
        )
        if stop > pos:
            before = spans.pop().text if known.words else ""
            spans.append(Span(before + self.text[pos:stop]))
            known.words = True
            return stop
        if special is None:
            raise Wait(known.openers[0].char)
        if self.text[pos] not in DELIMITERS:
            found, after = self.atom(pos)
            spans += found
            known.words = False
            return after
        run = self._run(pos)
        known.words = False
        if run.closes:
            close_run(run, known.openers, spans)
            if not known.openers:
                return pos + run.size - run.count
        run.index = len(spans)
        spans.append(Span(run.char * run.count))
        if run.opens and run.count:
            known.openers.append(run)
        return pos + run.size
