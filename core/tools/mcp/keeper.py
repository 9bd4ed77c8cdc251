"""Stands between the chat and one MCP server's program: passes its output on within limits,
and ends it with the chat.

A script, started by core/tools/mcp/wire.py as `python -I -S keeper.py PROGRAM ARGUMENTS` in a
session of its own; it imports nothing of this program. It becomes two processes. The first hands
the chat's messages to the server and ends as soon as the chat closes its end, so that no chat
waits for its servers. The second passes on what the server says; when the first is gone, kill -9
included, the server has GRACE seconds to end by itself, and is then ended with all that it
started. A line without end, which would fill the chat's memory, ends the server too; one that
says more than a chat can read waits.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import time

LONGEST_LINE = 8 << 20    # bytes
# core/tools/mcp/log.py looks for these words
TOO_LONG = f"it sent more than {LONGEST_LINE >> 20} MB in one line"
# A backslash that stands for itself, a whole pair, and a half of a character: valid JSON, which
# strict readers refuse.
ESCAPES = re.compile(rb"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u[dD][89a-fA-F]..")
LOOK = 0.5                # seconds between looks at whether the chat still lives
GRACE = 1.0               # seconds that a server gets to end when the chat or its output is closed
AT_ONCE = 2_000           # lines that are passed on without a wait
A_SECOND = 1_000          # lines after that
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
    """Hand over what the chat writes, until it closes its end or is gone."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    while os.getppid() == chat:
        if not poll.poll(LOOK * 1000):
            continue
        data = os.read(0, 65_536)
        if not data or not _hand_over(sink, memoryview(data)):
            return


def _hand_over(sink: int, left: memoryview) -> bool:
    """Write it all; False when the chat leaves before the server has read it."""
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
    """In the second process: start the server, pass its output on, end it."""
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
        pass   # the chat does not read any more
    if own_group:
        os.killpg(0, signal.SIGKILL)


def _become(command: list[str], asks: int, sink: int) -> None:
    """In the new process: turn into the server."""
    os.dup2(asks, 0)
    os.dup2(sink, 1)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    finally:
        os._exit(127)


class _Pace:
    """How much is passed on at once. The server waits at its pipe: nothing is left out."""

    def __init__(self) -> None:
        self._left, self._seen = float(AT_ONCE), time.monotonic()

    def wait(self, lines: bytearray, first: int) -> None:
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
    """Copy the server's output, whole lines only.

    True when it may end by itself, False when it has to be ended.
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


def _wait(source: int, server: int) -> None:
    """Give the server its time; what it still writes is not read by anybody."""
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
