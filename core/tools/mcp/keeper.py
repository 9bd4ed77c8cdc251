"""Runs one MCP server's program for a chat: limits its output, and ends it with the chat.

This script is started by core/tools/mcp/wire.py as `python -I -S keeper.py PROGRAM ARGUMENTS` in a
separate session; it imports nothing of this program. It forks into two processes. The first passes
the chat's messages to the server and ends as soon as the chat closes its end, so that no chat waits
for its servers. The second passes on the server's output; when the first has ended, even by
kill -9, the server has GRACE seconds to end and is then killed with everything that it started. A
server is also ended for an endless line, which would fill the chat's memory; a server that sends
faster than a chat can read is made to wait.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import time

LONGEST_LINE = 8 << 20    # bytes
# core/tools/mcp/log.py searches for this text
TOO_LONG = f"it sent more than {LONGEST_LINE >> 20} MB in one line"
# An escaped backslash, a surrogate pair, and a lone surrogate: valid JSON, which strict parsers
# refuse.
ESCAPES = re.compile(rb"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u[dD][89a-fA-F]..")
LOOK = 0.5                # seconds between checks whether the chat still runs
GRACE = 1.0               # seconds that a server gets to end when the chat or its output is closed
AT_ONCE = 2_000           # lines that are passed on without waiting
A_SECOND = 1_000          # lines per second after that
A_LINE = 16_384           # bytes; longer ones count as several lines


def main(command: list[str]) -> None:
    own_group, first = os.getpgrp() == os.getpid(), os.getpid()
    asks, asked = os.pipe()
    if os.fork() == 0:
        os.close(asked)
        _keep(command, asks, first, own_group)
        os._exit(0)
    os.close(asks)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):     # the end of both is what shows that the server is gone
        os.dup2(nowhere, number)
    os.set_blocking(asked, False)
    try:
        _feed(asked, os.getppid())
    except OSError:
        pass   # the server does not read any more; now the chat notices as well


def _feed(sink: int, chat: int) -> None:
    """Pass on what the chat writes, until it closes its end or has ended."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    while os.getppid() == chat:
        if not poll.poll(LOOK * 1000):
            continue
        data = os.read(0, 65_536)
        if not data or not _hand_over(sink, memoryview(data)):
            return


def _hand_over(sink: int, left: memoryview) -> bool:
    """Write everything; False if the chat ends before the server has read it."""
    poll = select.poll()
    poll.register(0, 0)
    poll.register(sink, select.POLLOUT)
    while left:
        ready = dict(poll.poll())
        if sink in ready:
            left = left[os.write(sink, left):]
        elif 0 in ready:
            return False
    return True


def _keep(command: list[str], asks: int, first: int, own_group: bool) -> None:
    """The second process: start the server, pass on its output, end it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # the server gets these too; we stay to see that it ends
        signal.signal(number, lambda *_: None)
    source, sink = os.pipe()
    server = os.fork()
    if server == 0:
        _become(command, asks, sink)
    os.close(sink)
    os.close(asks)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    try:
        if _pass_on(source, first, server):
            _wait(source, server)
    except OSError:
        pass   # the chat no longer reads
    if own_group:
        os.killpg(0, signal.SIGKILL)


def _become(command: list[str], asks: int, sink: int) -> None:
    """In the new process: become the server."""
    os.dup2(asks, 0)
    os.dup2(sink, 1)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    finally:
        os._exit(127)


class _Pace:
    """Limits the rate of output; the server waits at its pipe, so nothing is lost."""

    def __init__(self) -> None:
        self._left, self._seen = float(AT_ONCE), time.monotonic()

    def wait(self, lines: bytearray, first: int) -> None:
        """Wait until these lines may be passed on."""
        self._left -= max(lines.count(b"\n"), len(lines) / A_LINE)
        self._refill()
        while self._left < 0 and os.getppid() == first:
            time.sleep(min(-self._left / A_SECOND, LOOK))
            self._refill()

    def _refill(self) -> None:
        now = time.monotonic()
        self._left = min(AT_ONCE, self._left + (now - self._seen) * A_SECOND)
        self._seen = now


def _pass_on(source: int, first: int, server: int) -> bool:
    """Copy the server's output, only in complete lines.

    Returns True if it may end by itself, False if it must be ended.
    """
    held, pace = bytearray(), _Pace()
    while os.getppid() == first:
        readable, _, _ = select.select([source], [], [], LOOK)
        if not readable:
            if _has_ended(server):
                return True
            continue
        data = os.read(source, 65_536)
        cut = data.rfind(b"\n") + 1
        if cut:
            lines = _readable(held + data[:cut])
            _write(lines)
            held.clear()
            pace.wait(lines, first)
        held += data[cut:]
        if not data:
            return True
        if len(held) > LONGEST_LINE:
            os.write(2, f"\n{TOO_LONG}\n".encode())
            return False
    return True


def _readable(lines: bytearray) -> bytearray:
    """Replace halves of surrogate pairs by U+FFFD: otherwise the answer could not be parsed, and
    its caller would wait in vain.
    """
    if b"\\u" not in lines:
        return lines
    return bytearray(ESCAPES.sub(lambda found: found[0] if len(found[0]) != 6 else b"\\ufffd",
                                 lines))


def _write(data: bytearray) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(1, left):]


def _wait(source: int, server: int) -> None:
    """Wait for the server to end; its further output is not read."""
    end, open_ends = time.monotonic() + GRACE, [source]
    while time.monotonic() < end and not _has_ended(server):
        readable, _, _ = select.select(open_ends, [], [], 0.02)
        if readable and not os.read(source, 65_536):
            open_ends = []


def _has_ended(server: int) -> bool:
    try:
        return os.waitpid(server, os.WNOHANG)[0] == server
    except ChildProcessError:
        return True


if __name__ == "__main__":
    main(sys.argv[1:])
