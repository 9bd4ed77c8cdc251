"""Sets a terminal's modes: whether typed text is echoed, and what input waits."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

if sys.platform != "win32":
    import fcntl
    import termios

_INPUT, _LOCAL, _CONTROL = 0, 3, 6     # indices in the result of tcgetattr
# modes of each terminal as last set or noted: restored on resuming
_modes: dict[int, list[object]] = {}


@contextmanager
def echoed(descriptor: int) -> Iterator[None]:
    """For a question during a turn: echo its answer while it is typed; Ctrl-C drops it.
    """
    with echo(descriptor, on=True):
        yield


@contextmanager
def echo(descriptor: int, *, on: bool) -> Iterator[list[object]]:
    """Yield the modes that the terminal had."""
    try:
        before = termios.tcgetattr(descriptor)
    except (termios.error, OSError, NameError):   # no terminal, or Windows
        yield []
        return
    wanted = [*before[:_CONTROL], list(before[_CONTROL])]
    if on:
        wanted[_INPUT] |= termios.ICRNL
        wanted[_LOCAL] = wanted[_LOCAL] & ~termios.NOFLSH | termios.ECHO | termios.ICANON
    else:
        # keep Enter as it is, also for a prompt that opens before it is read
        wanted[_INPUT] &= ~termios.ICRNL
        wanted[_LOCAL] = (wanted[_LOCAL] & ~(termios.ECHO | termios.ICANON | termios.IEXTEN)
                          | termios.NOFLSH)
        wanted[_CONTROL][termios.VMIN], wanted[_CONTROL][termios.VTIME] = 1, 0
    try:
        _set(descriptor, wanted)
        yield before
    finally:
        _set(descriptor, before)


def pending_bytes(descriptor: int) -> bytes:
    """What can be read without waiting. Not in canonical mode, which holds back a line until it is
    ended.
    """
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


def waiting_bytes(descriptor: int) -> int:
    """Bytes that can be read; none while a question waits for its line."""
    try:
        if termios.tcgetattr(descriptor)[_LOCAL] & termios.ICANON:
            return 0
        return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)
    except (termios.error, OSError, NameError):
        return 0


def note_modes(descriptor: int) -> None:
    """Remember modes set by other code, such as the prompt."""
    with suppress(OSError, termios.error):
        _modes[descriptor] = termios.tcgetattr(descriptor)


def lend(descriptor: int, modes: list[object]) -> None:
    """Set modes for another program until take_back()."""
    note_modes(descriptor)
    _apply(descriptor, modes)


def take_back(descriptor: int) -> None:
    """Restore the modes that were set or noted last."""
    if descriptor in _modes:
        _apply(descriptor, _modes[descriptor])


def _set(descriptor: int, modes: list[object]) -> None:
    _modes[descriptor] = modes
    _apply(descriptor, modes)


def _apply(descriptor: int, modes: list[object]) -> None:
    with suppress(OSError, termios.error):   # the terminal may be gone
        # typeshed names each element
        termios.tcsetattr(descriptor, termios.TCSANOW, modes)  # type: ignore[arg-type]
