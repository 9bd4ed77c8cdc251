"""Keeps what is typed while the program is busy, without showing it, for the next prompt."""

from __future__ import annotations

import asyncio
import os
import re
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from core.console.suspending import resumable
from core.console.terminal_modes import (echo, lend, note_modes, pending_bytes, take_back,
                                         waiting_bytes)
from core.dataclass import dataclass
from core.regex import regex
from core.safe_text import without_surrogates

END = "\x04"                # Ctrl-D
OPEN = "\x0f"               # Ctrl-O
PASTE_BEGINS, PASTE_ENDS = "\x1b[200~", "\x1b[201~"
LISTEN, DEAF = "\x1b[?25h\x1b[?2004h", "\x1b[?2004l"    # the terminal marks what is pasted, or not
# Alt-Enter; Shift-Enter as terminals report it
_NEW_LINE = regex(r"\x1b[\r\n]|\x1b\[13;\d+u|\x1b\[27;\d+;13~")
# Arrows and the like, and a terminal's late answers (ECMA-48): CSI, OSC and other
# strings, SS3, Alt with a key.
_KEYS = regex(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1bO.|\x1b.?")
_UNFINISHED_KEY = regex(rb"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*|O)?")
_SIGNS = regex(r"[\x00-\x07\x0c\x0e-\x14\x16\x18-\x1f]")
_EDITS = regex(r"([\x08\x7f]+|\x15|\x17)")     # Backspace, Ctrl-U, Ctrl-W
_PASTE = regex(f"{re.escape(PASTE_BEGINS)}(.*?)(?:{re.escape(PASTE_ENDS)}|$)", re.DOTALL)
GLANCE = 0.05  # seconds between two reads; what arrives between them was typed or pasted at once
MUCH = 1024                 # bytes; a terminal holds 4096: longer text arrives in several pieces
UNFINISHED = 0.3            # seconds to wait for the end of a paste that has begun


@dataclass(frozen=True, slots=True)
class Typed:
    """What was entered, and which parts of it were pasted."""

    text: str
    pasted: tuple[str, ...] = ()


class Typeahead:
    """The lines typed ahead, and the one not ended yet. Ctrl-C is always a signal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._came = bytearray()      # the beginning of a burst that may not have ended
        self._lines: list[Typed] = []
        self._draft = Typed("")
        self._held = False
        self._ended = False
        self.on_open: Callable[[], None] | None = None    # what Ctrl-O does while something runs
        self._on_resume: Callable[[], None] | None = None

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Keep typed text without echo, beyond a terminal's line length and across Ctrl-C. At the
        end, and while the program is suspended, the terminal's modes are restored.
        """
        with echo(self._descriptor, on=False) as before, resumable(
                lambda: self._suspend(before), self._resume):
            try:
                yield
            finally:
                _write(DEAF)

    def listen(self) -> None:
        """Start after a prompt has ended: keep pasted text marked, and forget the modes that the
        prompt set.
        """
        _write(LISTEN)
        note_modes(self._descriptor)

    def _suspend(self, before: list[object]) -> None:
        _write(DEAF)
        lend(self._descriptor, before)

    def _resume(self) -> None:
        take_back(self._descriptor)
        _write(LISTEN)
        if self._on_resume is not None:
            self._on_resume()

    @contextmanager
    def resuming(self, act: Callable[[], None]) -> Iterator[None]:
        """Also call `act` when the program is resumed."""
        self._on_resume = act
        try:
            yield
        finally:
            self._on_resume = None

    def add(self, typed: bytes) -> None:
        """Take input that other code has read."""
        self._came += typed

    def collect(self) -> None:
        """Take what was typed so far, and the rest of a paste that has begun."""
        self._came += pending_bytes(self._descriptor)
        while self._came.rfind(PASTE_BEGINS.encode()) > self._came.rfind(PASTE_ENDS.encode()):
            if not select.select([self._descriptor], [], [], UNFINISHED)[0]:
                break
            more = pending_bytes(self._descriptor)
            if not more:
                break
            self._came += more
        self._take_burst()

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Take what is typed while an event loop runs, before the terminal's buffer is full.
        """
        watch = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watch.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(GLANCE)
            count = waiting_bytes(self._descriptor)
            if count:
                self._came += pending_bytes(self._descriptor)
            if self._came and count < MUCH:    # a longer read is followed by the rest of a paste
                self._take_burst()

    def _take_burst(self) -> None:
        """Interpret what arrived at once. Several lines at once were pasted, whether or not the
        terminal marks that.
        """
        cut = _whole_characters(self._came)
        burst = self._came[:cut].decode("utf-8", "surrogateescape")
        del self._came[:cut]
        if burst:
            self._ended = self._ended or END in burst
            if self.on_open is not None and OPEN in _PASTE.sub("", burst):
                self.on_open()
            ended, self._draft = readable(burst, self._draft)
            self._lines += ended

    def hold(self) -> None:
        """Send none of it: a user who stops a reply does not want the next question asked. It waits
        at the prompt as one text.
        """
        self._held = True

    def put_back(self, text: str) -> None:
        """Put back a line, first, that was taken and could not be sent."""
        self._lines.insert(0, Typed(text))
        self.hold()

    def next_line(self) -> Typed | None:
        """The oldest line ended with Enter."""
        return self._lines.pop(0) if self._lines and not self._held else None

    def waits(self) -> bool:
        """Whether anything was typed ahead, ended with Enter or not."""
        return bool(self._lines or self._draft.text or self._ended or self._came)

    def queued(self) -> int:
        """How many more lines were ended with Enter."""
        return len(self._lines)

    def rest(self) -> Typed:
        """The text that the prompt begins with: what was not sent.

        Raises EOFError for Ctrl-D on an empty line.
        """
        ended, self._ended = self._ended, False
        parts = [*self._lines, self._draft]
        text = "\n".join(part.text for part in parts)
        if ended and not text.strip():
            raise EOFError
        self._lines, self._draft, self._held = [], Typed(""), False
        return Typed(text.rstrip("\n"), tuple(piece for part in parts for piece in part.pasted))


def readable(burst: str, before: Typed = Typed("")) -> tuple[list[Typed], Typed]:
    """Read what was typed at once after `before`: the lines that it ends, and
    the line that stays open.

    Keys that are not characters are dropped, and what was deleted again. An Enter
    ends a line, unless it is pasted: between the marks of a paste, or with more text
    behind it in the same burst.
    """
    lines: list[Typed] = []
    line = before
    for place, piece in enumerate(_PASTE.split(burst)):
        if place % 2:
            pasted = _plain(piece)
            line = Typed(line.text + pasted, (*line.pasted, pasted))
        else:
            ended, line = _read_typed(piece, line)
            lines += ended
    return lines, line


def _read_typed(piece: str, line: Typed) -> tuple[list[Typed], Typed]:
    """Read the part of a burst outside paste marks. If it deletes something, it was typed, however
    much arrived at once.
    """
    text = _without_keys(piece)
    head, end, rest = text.partition("\n")
    if end and _EDITS.sub("", rest).strip() and not _EDITS.search(text):
        pasted = _kept(text)
        return [], Typed(line.text + pasted, (*line.pasted, pasted))
    lines = []
    while end:
        lines.append(_edited(line, head))
        line = Typed("")
        head, end, rest = rest.partition("\n")
    return lines, _edited(line, head)


def _without_keys(piece: str) -> str:
    """Enter as \\n, the keys for a new line as \\v,
    and nothing else that is neither a character nor deletes one.
    """
    text = _KEYS.sub("", _NEW_LINE.sub("\v", piece.replace("\v", "")))
    return _SIGNS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _edited(line: Typed, typed: str) -> Typed:
    """The line with these keys applied, which may delete."""
    text = line.text
    for piece in _EDITS.split(typed):
        if not _EDITS.match(piece):
            text += _kept(piece)
        elif piece == "\x15":
            text = ""
        elif piece == "\x17":
            text = text.rstrip().removesuffix((text.split() or [""])[-1])
        else:
            text = text[:-len(piece)]
    return Typed(text, line.pasted if text else ())


def _plain(pasted: str) -> str:
    """Pasted text without characters that a terminal acts on."""
    text = _KEYS.sub("", pasted.replace("\r\n", "\n").replace("\r", "\n"))
    return _kept(_EDITS.sub("", _SIGNS.sub("", text.replace("\v", "\n"))))


def _kept(text: str) -> str:
    return without_surrogates(text.replace("\v", "\n"))


def _whole_characters(data: bytes | bytearray) -> int:
    """How much of the input is complete: a character or key at its end may have arrived in part."""
    escape = data.rfind(b"\x1b")
    if 0 <= escape and len(data) - escape < 32 and _UNFINISHED_KEY.fullmatch(data, escape):
        return escape
    for back in range(1, min(4, len(data)) + 1):
        if data[-back] >= 0xC0:
            need = 2 if data[-back] < 0xE0 else 3 if data[-back] < 0xF0 else 4
            return len(data) - back if back < need else len(data)
        if data[-back] < 0x80:
            break
    return len(data)


def _write(switch: str) -> None:
    """Write past standard output's buffer, which a signal handler that interrupted a write cannot
    use.
    """
    with suppress(OSError, ValueError):
        os.write(sys.stdout.fileno(), switch.encode())
