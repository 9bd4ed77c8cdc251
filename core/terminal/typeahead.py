"""What is typed while the program is busy: not shown then, but kept, and said when the prompt is back."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

if sys.platform != "win32":
    import termios

END = "\x04"                # Ctrl-D
_LOCAL, _CONTROL = 3, 6     # places in what tcgetattr gives
_KEYS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO.|\x1b.?")    # arrows and the like, and a terminal's answers (ECMA-48)
_SIGNS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Typeahead:
    """The lines that a person typed ahead, and the one that they have only begun. Ctrl-C is a signal all the time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._typed = ""
        self._held = False
        self._ended = False

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """What is typed is not echoed. However it ends, the terminal is as it was."""
        with _echo(self._descriptor, on=False):
            yield

    def collect(self) -> None:
        """Take what was typed so far."""
        typed = _pending(self._descriptor).decode("utf-8", "replace")
        self._ended = self._ended or END in typed
        self._typed += readable(typed)

    def hold(self) -> None:
        """Send nothing of it: who stops a reply does not want the next question asked. It waits at the prompt as one text."""
        self._held = True

    def next_line(self) -> str | None:
        """The oldest line that was ended with Enter."""
        line, end, rest = self._typed.partition("\n")
        if not end or self._held:
            return None
        self._typed = rest
        return line

    def rest(self) -> str:
        """What stands at the prompt from the start: the line that was not ended. Raises EOFError for Ctrl-D on an empty line."""
        ended, self._ended = self._ended, False
        if ended and not self._typed.strip():
            raise EOFError
        text, self._typed, self._held = self._typed, "", False
        return text.rstrip("\n")


def readable(typed: str) -> str:
    """Without the keys that are no characters; each Enter is a newline."""
    return _SIGNS.sub("", _KEYS.sub("", typed.replace("\r", "\n")))


@contextmanager
def echoed(descriptor: int) -> Iterator[None]:
    """For a question in the middle of a turn: its answer is seen while it is typed."""
    with _echo(descriptor, on=True):
        yield


@contextmanager
def _echo(descriptor: int, *, on: bool) -> Iterator[None]:
    try:
        before = termios.tcgetattr(descriptor)
    except (termios.error, OSError, NameError):   # no terminal, or Windows
        yield
        return
    wanted = list(before)
    wanted[_LOCAL] = wanted[_LOCAL] | termios.ECHO if on else wanted[_LOCAL] & ~termios.ECHO
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


def _set(descriptor: int, modes: list[object]) -> None:
    with suppress(OSError, termios.error):   # the terminal may be gone
        termios.tcsetattr(descriptor, termios.TCSANOW, modes)  # type: ignore[arg-type]  # typeshed names each element
