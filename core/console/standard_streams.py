"""Standard input, output and error, which may be closed, full, a pipe without a reader,
or a terminal that is gone.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys

EXIT_CLOSED_PIPE = 141
# the reader left, the disk is full, the terminal is gone
OUTPUT_LOST = (errno.EPIPE, errno.ENOSPC, errno.EIO)


class Closed(io.TextIOBase):
    """Stands in for a standard stream that was closed at the start;
    remembers whether anything was lost.
    """

    def __init__(self) -> None:
        self.lost = False
        os.open(os.devnull, os.O_WRONLY)    # its number, likewise

    def write(self, text: str) -> int:
        self.lost = self.lost or bool(text)
        return len(text)


def prepare_streams() -> None:
    """A character that the terminal's encoding lacks is shown as its code, not a crash.

    Closed streams lead nowhere.
    """
    if sys.stdin is None:
        os.open(os.devnull, os.O_RDONLY)    # its number, which no other file may get
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Closed())
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def read_stdin() -> str:
    if sys.stdin is None or sys.stdin.closed:
        return ""
    content = sys.stdin.buffer.read()
    text = content.decode(_encoding(content), "replace")
    if "\ufffd" in text and "\ufffd".encode() not in content:
        print("note: standard input is not UTF-8; what could not be read was replaced by \ufffd",
              file=sys.stderr)
    return text


def _encoding(content: bytes) -> str:
    """By the byte order mark, as files are read; else UTF-8."""
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    return ("utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            else "utf-8-sig")


def flush() -> int:
    """Write out what is left. 0, or the exit code for output that nobody takes."""
    if isinstance(sys.stdout, Closed) and sys.stdout.lost:
        print("error: Standard output is closed, so nothing could be printed.", file=sys.stderr)
        return 1
    try:
        sys.stdout.flush()
    except ValueError:
        return 0
    except OSError as problem:
        return lose_output(problem)
    return 0


def lose_output(problem: OSError) -> int:
    """Tell why the output ends; a reader that left needs no telling."""
    _drop_output()
    if problem.errno == errno.EPIPE:
        return EXIT_CLOSED_PIPE
    try:
        print(f"error: The output cannot be written: {problem.strerror}.", file=sys.stderr)
    except OSError:
        pass   # it was a terminal, and it is gone
    return 1


def _drop_output() -> None:
    """Nobody reads any more: let the interpreter's last flush go nowhere instead of failing."""
    try:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
    except (OSError, ValueError):
        pass
