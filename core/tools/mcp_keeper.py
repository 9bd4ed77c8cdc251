"""Stands between the chat and one MCP server's program: passes its output on within limits,
and ends it with the chat.

A script, started by core/tools/mcp.py as `python -I -S mcp_keeper.py PROGRAM ARGUMENTS` in a
session of its own; it imports nothing of this program. However the chat ends, kill -9 included, the
server and all that it started are ended within a second. A line without end, which would fill the
chat's memory, ends the server too.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import time

LONGEST_LINE = 8 << 20    # bytes
# A backslash that stands for itself, a whole pair, and a half of a character: valid JSON, which
# strict readers refuse.
ESCAPES = re.compile(rb"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u[dD][89a-fA-F]..")
LOOK = 0.5                # seconds between looks at whether the chat still lives
GRACE = 2.0               # seconds that a server gets to end after it closed its output


def main(command: list[str]) -> None:
    chat = os.getppid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # the server gets these too; we stay to see that it ends
        signal.signal(number, lambda *_: None)
    source, sink = os.pipe()
    server = os.fork()
    if server == 0:
        _become(command, sink)
    os.close(sink)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    try:
        if _pass_on(source, chat, server):
            _wait(server, chat)
    except OSError:
        pass   # the chat does not read any more
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)


def _become(command: list[str], sink: int) -> None:
    """In the new process: turn into the server."""
    os.dup2(sink, 1)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    finally:
        os._exit(127)


def _pass_on(source: int, chat: int, server: int) -> bool:
    """Copy the server's output, whole lines only.

    True when it ended by itself, False when it has to be ended.
    """
    held = bytearray()
    while os.getppid() == chat:
        readable, _, _ = select.select([source], [], [], LOOK)
        if not readable:
            if _has_ended(server):
                return True
            continue
        data = os.read(source, 65_536)
        cut = data.rfind(b"\n") + 1
        if cut:
            _write(_readable(held + data[:cut]))
            held.clear()
        held += data[cut:]
        if not data:
            return True
        if len(held) > LONGEST_LINE:
            return False
    return False


def _readable(lines: bytearray) -> bytearray:
    """Halves of characters become U+FFFD: otherwise the answer could not be read,
    and its caller would wait in vain.
    """
    if b"\\u" not in lines:
        return lines
    return bytearray(ESCAPES.sub(lambda found: found[0] if len(found[0]) != 6 else b"\\ufffd",
                                 lines))


def _write(data: bytearray) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(1, left):]


def _wait(server: int, chat: int) -> None:
    end = time.monotonic() + GRACE
    while time.monotonic() < end and os.getppid() == chat and not _has_ended(server):
        time.sleep(0.02)


def _has_ended(server: int) -> bool:
    try:
        return os.waitpid(server, os.WNOHANG)[0] == server
    except ChildProcessError:
        return True


if __name__ == "__main__":
    main(sys.argv[1:])
