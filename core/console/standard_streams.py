"""Handles standard streams that are closed, full, a pipe without a reader, or a terminal that is
gone.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress

EXIT_CLOSED_PIPE = 141
# no reader, a full disk, a terminal that is gone
OUTPUT_LOST = (errno.EPIPE, errno.ENOSPC, errno.EIO)


class Closed(io.TextIOBase):
    """Replaces a standard stream that was closed at the start; records whether anything was lost.
    """

    def __init__(self) -> None:
        self.lost = False
        os.open(os.devnull, os.O_WRONLY)    # its number, likewise

    def write(self, text: str) -> int:
        self.lost = self.lost or bool(text)
        return len(text)


def prepare_streams() -> None:
    """Show characters that the terminal's encoding lacks as their codes. Output to closed streams
    is discarded.
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
    text, note = _as_text(sys.stdin.buffer.read())
    if note:
        print(f"note: standard input is {note}", file=sys.stderr)
    return text


def _as_text(content: bytes) -> tuple[str, str]:
    """Read it as files are read; nothing that stands in a pipe is refused."""
    with suppress(UnicodeDecodeError):
        if content.count(0) * 3 <= len(content):      # else it is UTF-16 in plain letters
            return content.decode("utf-8-sig"), ""
    from core.text_encoding import NotText, read_as_text
    try:
        return read_as_text(content)
    except NotText:
        text = content.decode("utf-8-sig", "replace")
        lost = "\ufffd" in text and "\ufffd".encode() not in content
        return text, "not UTF-8; what could not be read was replaced by \ufffd" if lost else ""


def flush() -> int:
    """Write what is left. Returns 0, or the exit code if the output has no reader."""
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
    """Say why the output ends, unless its reader has left."""
    _drop_output()
    if problem.errno == errno.EPIPE:
        return EXIT_CLOSED_PIPE
    try:
        print(f"error: The output cannot be written: {problem.strerror}.", file=sys.stderr)
    except OSError:
        pass   # it was a terminal that is gone now
    return 1


def _drop_output() -> None:
    """Discard the interpreter's last flush, which would fail without a reader."""
    try:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
    except (OSError, ValueError):
        pass
