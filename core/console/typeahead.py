"""What is typed while the program is busy: not shown then, but kept, and said when the prompt is back."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

if sys.platform != "win32":
    import fcntl
    import termios

END = "\x04"                # Ctrl-D
_INPUT, _LOCAL, _CONTROL = 0, 3, 6     # places in what tcgetattr gives
_KEYS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO.|\x1b.?")    # arrows and the like, and a terminal's answers (ECMA-48)
_SIGNS = re.compile(r"[\x00-\x07\x0b\x0c\x0e-\x14\x16\x18-\x1f]")
_EDITS = re.compile(r"([\x08\x7f]+|\x15|\x17)")     # Backspace, Ctrl-U, Ctrl-W
GLANCE = 0.1                # seconds between two looks at how much has been typed
MUCH = 1024                 # bytes; a terminal keeps 4096, and hears no Ctrl-C behind them


class Typeahead:
    """The lines that a person typed ahead, and the one that they have only begun. Ctrl-C is a signal all the time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._came = bytearray()
        self._typed = ""
        self._held = False
        self._ended = False

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """What is typed is not echoed, may be longer than a terminal's line, and outlasts a Ctrl-C.

        However it ends, the terminal is as it was.
        """
        with _echo(self._descriptor, on=False):
            yield

    def collect(self) -> None:
        """Take what was typed so far."""
        self._came += _pending(self._descriptor)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """While an event loop runs: take what is typed before there is too much of it for the terminal."""
        watch = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watch.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(GLANCE)
            if _waiting(self._descriptor) >= MUCH:
                self.collect()

    def _read(self) -> None:
        """Only when it is used: a character or a key may have come in two pieces."""
        typed = self._came.decode("utf-8", "surrogateescape")
        self._came.clear()
        self._ended = self._ended or END in typed
        self._typed = readable(typed, self._typed)

    def hold(self) -> None:
        """Send nothing of it: who stops a reply does not want the next question asked. It waits at the prompt as one text."""
        self._held = True

    def next_line(self) -> str | None:
        """The oldest line that was ended with Enter."""
        self._read()
        line, end, rest = self._typed.partition("\n")
        if not end or self._held:
            return None
        self._typed = rest
        return line

    def rest(self) -> str:
        """What stands at the prompt from the start: the line that was not ended. Raises EOFError for Ctrl-D on an empty line."""
        self._read()
        ended, self._ended = self._ended, False
        if ended and not self._typed.strip():
            raise EOFError
        text, self._typed, self._held = self._typed, "", False
        return text.rstrip("\n")


def readable(typed: str, before: str = "") -> str:
    """What stands there after `before`, with what was taken back again and without the keys that are no characters.

    Each Enter is a newline; a line that has been ended is not changed any more.
    """
    head, end, line = before.rpartition("\n")
    pieces = [head + end]
    for piece in _EDITS.split(_SIGNS.sub("", _KEYS.sub("", typed.replace("\r", "\n")))):
        if not _EDITS.match(piece):
            ended, end, rest = piece.rpartition("\n")
            pieces += [line, ended, end] if end else []
            line = rest if end else line + rest
        elif piece == "\x15":
            line = ""
        else:
            line = line.rstrip().removesuffix((line.split() or [""])[-1]) if piece == "\x17" else line[:-len(piece)]
    return "".join([*pieces, line])


@contextmanager
def echoed(descriptor: int) -> Iterator[None]:
    """For a question in the middle of a turn: its answer is seen while it is typed, and dropped by Ctrl-C."""
    with _echo(descriptor, on=True):
        yield


@contextmanager
def _echo(descriptor: int, *, on: bool) -> Iterator[None]:
    try:
        before = termios.tcgetattr(descriptor)
    except (termios.error, OSError, NameError):   # no terminal, or Windows
        yield
        return
    wanted = [*before[:_CONTROL], list(before[_CONTROL])]
    if on:
        wanted[_INPUT] |= termios.ICRNL
        wanted[_LOCAL] = wanted[_LOCAL] & ~termios.NOFLSH | termios.ECHO | termios.ICANON
    else:
        wanted[_INPUT] &= ~termios.ICRNL     # an Enter stays one, also for a prompt that opens before it is collected
        wanted[_LOCAL] = wanted[_LOCAL] & ~(termios.ECHO | termios.ICANON) | termios.NOFLSH
        wanted[_CONTROL][termios.VMIN], wanted[_CONTROL][termios.VTIME] = 1, 0
    try:
        _set(descriptor, wanted)
        yield
    finally:
        _set(descriptor, before)


def _pending(descriptor: int) -> bytes:
    """What can be read without waiting. Not in canonical mode, which keeps a line back until it is ended."""
    try:
        before = termios.tcgetattr(descriptor)
    except (termios.error, OSError):
        return b""
    wanted = [*before[:_CONTROL], list(before[_CONTROL])]
    wanted[_LOCAL] &= ~(termios.ICANON | termios.ECHO)
    wanted[_CONTROL][termios.VMIN] = wanted[_CONTROL][termios.VTIME] = 0
    pieces = []
    try:
        _set(descriptor, wanted)
        with suppress(OSError):
            while piece := os.read(descriptor, 65_536):
                pieces.append(piece)
    finally:
        _set(descriptor, before)
    return b"".join(pieces)


def _waiting(descriptor: int) -> int:
    """Bytes that can be read; none while a question waits for its line."""
    try:
        if termios.tcgetattr(descriptor)[_LOCAL] & termios.ICANON:
            return 0
        return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)
    except (termios.error, OSError, NameError):
        return 0


def _set(descriptor: int, modes: list[object]) -> None:
    with suppress(OSError, termios.error):   # the terminal may be gone
        termios.tcsetattr(descriptor, termios.TCSANOW, modes)  # type: ignore[arg-type]  # typeshed names each element
