"""A user at a terminal, for tests: runs a program in a pseudo-terminal, types, and reads the screen
that pyte emulates.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pyte

from tests import emulator

PATIENCE = 60.0                      # seconds; a slow machine is not a failure
# once a prompt; the chat itself shows the cursor before it
PROMPT_BEGINS = re.compile(rb"(?<!\x1b\[\?25h)\x1b\[\?2004h")
CTRL_C, CTRL_D, ENTER, ESCAPE, UP, DOWN = "\x03", "\x04", "\r", "\x1b", "\x1b[A", "\x1b[B"
ALT_ENTER = "\x1b\r"


class _Screen(emulator.Screen):
    """Answers a program's queries to its terminal (the cursor's position)."""

    def __init__(self, columns: int, lines: int, descriptor: int) -> None:
        super().__init__(columns, lines)
        self._descriptor = descriptor

    def write_process_input(self, data: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self._descriptor, data.encode())


class Terminal:
    """A program in a pseudo-terminal.

    Use it in a `with` block, which ends the program if it has not ended by itself.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], *,
                 columns: int = 100, lines: int = 30,
                 cwd: str | os.PathLike[str] | None = None, stdin: Any = None,
                 stderr: Any = None) -> None:
        self.master, self.slave = os.openpty()
        _set_size(self.slave, columns, lines)
        self.modes_before = self.modes()
        self.screen = _Screen(columns, lines, self.master)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._prompts = 0
        self.child = subprocess.Popen(
            command, stdin=self.slave if stdin is None else stdin, stdout=self.slave,
            stderr=self.slave if stderr is None else stderr, env=dict(environment), cwd=cwd,
            start_new_session=True, preexec_fn=self._take_terminal)

    def _take_terminal(self) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
        # it is ignored where the tests run in a shell's background
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        for descriptor in (self.master, self.slave):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    # ---- what the person does

    def send(self, keys: str | bytes) -> None:
        os.write(self.master, keys.encode() if isinstance(keys, str) else keys)

    def say(self, text: str, keys: str = ENTER) -> None:
        """Type a line at the prompt, see it there, and press Enter."""
        self.wait_prompt()
        self.send(text)
        letters = "".join(text.split())[-20:]
        self.wait_until(lambda: letters in "".join("".join(self.screen.display).split()),
                        f"the echo of {text!r}")
        self._prompts += 1
        self.send(keys)

    def ask(self, text: str, pattern: str, count: int = 1) -> str:
        """Enter it, and wait for the expected text and the next prompt.

        Returns what the screen shows from the question on.
        """
        self.say(text)
        self.wait(pattern, count)
        self.wait_prompt()
        return self.text()[self.text().rindex(f"\u203a {text.splitlines()[0][:40]}"):]

    def interrupt(self) -> None:
        self.send(CTRL_C)

    def resize(self, columns: int, lines: int) -> None:
        """The kernel tells the program (SIGWINCH)."""
        _set_size(self.slave, columns, lines)
        self.screen.resize(lines, columns)

    def hang_up(self) -> None:
        """Close the terminal's window."""
        os.close(self.master)

    # ---- what the person sees

    def text(self) -> str:
        """Everything on the screen and scrolled off its top, without trailing spaces."""
        lines = [*self.screen.gone, *self.screen.display]
        return "\n".join(line.rstrip() for line in lines).rstrip()

    def at_prompt(self) -> bool:
        at_mark = (self.screen.cursor.x == 2
                   and self.screen.display[self.screen.cursor.y].rstrip() in ("\u203a", ">"))
        return at_mark and len(PROMPT_BEGINS.findall(self.raw)) > self._prompts

    def wait_prompt(self) -> None:
        """Wait until the program waits for the next line."""
        self.wait_until(self.at_prompt, "a prompt")

    def wait(self, pattern: str, count: int = 1, timeout: float = PATIENCE) -> None:
        """Wait until the screen shows the pattern (`count` times)."""
        found = re.compile(pattern, re.MULTILINE)
        self.wait_until(lambda: len(found.findall(self.text())) >= count, f"{pattern!r} x {count}",
                        timeout)

    def wait_until(self, holds: Any, what: str, timeout: float = PATIENCE) -> None:
        limit = time.monotonic() + timeout
        while not holds():
            if not self.read(0.05) and (time.monotonic() > limit or self.child.poll() is not None
                                        and not self.read(0)):
                if holds():
                    return
                raise AssertionError(f"{what} did not come (exit status {self.child.poll()}); the "
                                     f"screen:\n{self.text()}\nthe end of what came: "
                                     f"{self.raw[-600:]!r}")

    def read(self, seconds: float) -> bool:
        """Read what arrives within this time."""
        readable, _, _ = select.select([self.master], [], [], seconds)
        if not readable:
            return False
        try:
            data = os.read(self.master, 65_536)
        except OSError:
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)

    # ---- how it ends

    def exit_status(self, timeout: float = PATIENCE) -> int:
        """Wait for the end of the program and return its exit code, -n after signal n."""
        limit = time.monotonic() + timeout
        while self.child.poll() is None:
            assert time.monotonic() < limit, f"it does not end; the screen:\n{self.text()}"
            self.read(0.02)
        while self.read(0):
            pass
        return self.child.returncode

    def modes(self) -> list[Any]:
        """The terminal's modes (termios)."""
        return termios.tcgetattr(self.slave)

    def check_restored(self) -> None:
        """Assert that the terminal is restored: modes, cursor, no bracketed paste, main screen, no
        style.
        """
        assert self.modes() == self.modes_before
        for switch in (b"?2004", b"?1049", b"?1000", b"?1006", b"?7"):
            on, off = (b"h", b"l") if switch != b"?7" else (b"l", b"h")
            assert (self.raw.rfind(b"\x1b[" + switch + on)
                    <= self.raw.rfind(b"\x1b[" + switch + off)), f"{switch!r} is left on"
        assert self.raw.rfind(b"\x1b[?25l") <= self.raw.rfind(b"\x1b[?25h"), "the cursor is hidden"
        styles = re.findall(rb"\x1b\[([0-9;]*)m", self.raw)
        assert not styles or styles[-1] in (b"", b"0"), "a style is left on"


def _set_size(descriptor: int, columns: int, lines: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
