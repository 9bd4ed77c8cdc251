"""Reads one line that a user types as an answer; Ctrl-C always works meanwhile.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

LONGEST_ANSWER = 4096   # bytes; a terminal's own limit for a line
GLANCE = 0.1  # seconds between two looks for a signal that the kernel delivered to another thread


def drop_typed(source: TextIO) -> None:
    """Drop what was typed before a question was shown: it does not answer it."""
    if sys.platform != "win32":
        import termios
        termios.tcflush(source.fileno(), termios.TCIFLUSH)


def ask(question: str) -> str:
    """The answer to a question on standard error (standard output is for the model's answers).
    Raises EOFError.
    """
    print(question, end="", file=sys.stderr, flush=True)
    try:
        return wait_for_line(sys.stdin)
    except KeyboardInterrupt:
        print(file=sys.stderr)      # start what follows on a new line
        raise


def wait_for_line(source: TextIO) -> str:
    """One line from a terminal or pipe, without its line end. Raises EOFError at the end, and
    KeyboardInterrupt at once.
    """
    line = (_typed_line(source.fileno()) if sys.platform != "win32" and source.isatty()
            else source.readline())
    if not line:
        raise EOFError
    return line.removesuffix("\n")


async def read_line(source: TextIO) -> str:
    """One line from a terminal, with its line end, while the event loop keeps running. Empty at the
    end of input.
    """
    if sys.platform == "win32":
        return await _read_key()
    with _reopened(source.fileno()) as descriptor:
        while True:
            await wait_readable(descriptor)
            line = _read(descriptor)
            if line is not None:
                return line


async def wait_readable(descriptor: int) -> None:
    """Wait for input from a terminal while the event loop keeps running."""
    import asyncio
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


def wait_until_typed(descriptor: int) -> None:
    """Wait for input from a terminal."""
    while not select.select([descriptor], [], [], GLANCE)[0]:
        pass


def _typed_line(terminal: int) -> str:
    with _reopened(terminal) as descriptor:
        while True:
            wait_until_typed(descriptor)
            line = _read(descriptor)
            if line is not None:
                return line


def _read(descriptor: int) -> str | None:
    """What was typed; empty when the terminal has ended or is gone, None if there is nothing to
    read. Ctrl-C makes the kernel drop a line that was readable a moment before: a blocking read
    would then never return.
    """
    try:
        return os.read(descriptor, LONGEST_ANSWER).decode("utf-8", "surrogateescape")
    except BlockingIOError:
        return None
    except OSError:
        return ""


@contextmanager
def _reopened(descriptor: int) -> Iterator[int]:
    """The same terminal, for reads that do not block. It is opened again because the mode would
    otherwise apply to standard output too.
    """
    try:
        again = os.open(os.ttyname(descriptor), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:   # a terminal without a name here; its reads block
        yield descriptor
        return
    try:
        yield again
    finally:
        os.close(again)


async def _read_key() -> str:
    """Windows: its event loop cannot wait for the console, so poll for a key."""
    import asyncio
    import msvcrt
    keys: object = msvcrt
    while not keys.kbhit():  # type: ignore[attr-defined]  # only there on Windows
        await asyncio.sleep(0.05)
    return str(keys.getwch())  # type: ignore[attr-defined]  # likewise
