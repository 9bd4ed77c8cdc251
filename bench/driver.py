"""Runs one command in a real terminal or a pipe and records the times of events; it imports nothing
of the program.

Its own memory stays small on purpose: the kernel reports a child's peak memory as no less than
its parent's at the fork.
"""

from __future__ import annotations

import fcntl
import os
import re
import resource
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

COLUMNS, ROWS = 120, 40
KEPT = 4096               # bytes of output that are kept at either end
POLL = 0.005              # seconds between two looks at the peak memory
_QUESTIONS = re.compile(rb"\x1b\[6n|\x1b\[0?c|\x1b\[>0?c")
_POSITION, _TERMINAL, _VERSION = b"\x1b[1;1R", b"\x1b[?62;22c", b"\x1b[>41;366;0c"
_ANSWERS = {b"6n": _POSITION, b"c": _TERMINAL, b"0c": _TERMINAL, b">c": _VERSION, b">0c": _VERSION}
_STYLES = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")


@dataclass(frozen=True, slots=True)
class Step:
    """Wait until `shown` has been written since the last step, and `pause` seconds more; then type
    `keys`.
    """

    shown: bytes
    keys: bytes = b""
    pause: float = 0.0


@dataclass(slots=True)
class Run:
    """The results of one run.

    Times are CLOCK_MONOTONIC seconds, `cpu` seconds of user and system time, `peak` bytes.
    """

    started: float
    ended: float = 0.0
    cpu: float = 0.0
    peak: int = 0
    written: int = 0
    code: int = 0
    seen: dict[bytes, float] = field(default_factory=dict)
    # when a step's words were seen, when its keys were typed
    stepped: list[tuple[float, float]] = field(default_factory=list)
    head: bytes = b""
    tail: bytes = b""

    @property
    def seconds(self) -> float:
        return self.ended - self.started


def environment(home: str) -> dict[str, str]:
    """An empty home, and nothing from the user's environment."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": home,
            "XDG_CONFIG_HOME": f"{home}/config",
            "XDG_DATA_HOME": f"{home}/data", "XDG_CACHE_HOME": f"{home}/cache",
            "XDG_STATE_HOME": f"{home}/state",
            "TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8"}


def run(command: Sequence[str], env: Mapping[str, str], *, terminal: bool = True,
        marks: Sequence[bytes] = (),
        steps: Sequence[Step] = (), timeout: float = 120.0, cwd: str | None = None) -> Run:
    """Run it to its end.

    `marks` are words whose first appearance is timed. Raises TimeoutError, with its last words.
    """
    reading, process, started = _start(command, env, cwd, terminal=terminal)
    watch = _Watch(Run(started), reading, marks, steps, answering=terminal)
    ended = os.pidfd_open(process.pid)
    try:
        watch.until_end(ended, process.pid, started + timeout)
        watch.run.ended = time.monotonic()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        watch.drain()
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        os.close(ended)
        os.close(reading)
    return _summed_up(watch.run, process.returncode, usage)


def _start(command: Sequence[str], env: Mapping[str, str], cwd: str | None, *,
           terminal: bool) -> tuple[int, subprocess.Popen[bytes], float]:
    if terminal:
        reading, inside = os.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        started = time.monotonic()
        process = subprocess.Popen(command, env=env, cwd=cwd, stdin=inside,
                                   preexec_fn=lambda: os.login_tty(0))
    else:
        reading, inside = os.pipe()
        started = time.monotonic()
        process = subprocess.Popen(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL,
                                   stdout=inside, stderr=subprocess.STDOUT,
                                   start_new_session=True)
    os.close(inside)
    return reading, process, started


def _summed_up(result: Run, code: int, usage: resource.struct_rusage) -> Run:
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result.code = code
    result.cpu = usage.ru_utime + usage.ru_stime
    if usage.ru_maxrss > own:
        result.peak = max(result.peak, usage.ru_maxrss * 1024)
    return result


class _Watch:
    """Reads the command's output, answers its queries to the terminal, and types."""

    def __init__(self, result: Run, terminal: int, marks: Sequence[bytes], steps: Sequence[Step], *,
                 answering: bool) -> None:
        self.run = result
        self._terminal = terminal
        self._marks = list(marks)
        self._steps = list(steps)
        self._answering = answering
        self._recent = b""        # the end of the output, where a word may be cut
        self._since_step = b""
        self._type_at: float | None = None
        self._seen_at = 0.0
        self._look_at = 0.0

    def until_end(self, ended: int, pid: int, deadline: float) -> None:
        open_still = True
        while True:
            ready, _, _ = select.select([self._terminal, ended] if open_still else [ended], [], [],
                                        POLL)
            if self._terminal in ready:
                open_still = self._read()
            elif ended in ready:
                return
            self._look_at_memory(pid)
            self._step()
            if time.monotonic() > deadline:
                raise TimeoutError(f"not over in time; it wrote {self.run.written} bytes, at the "
                                   f"end {self.run.tail[-400:]!r}")

    def drain(self) -> None:
        while select.select([self._terminal], [], [], 0)[0] and self._read():
            pass

    def _read(self) -> bool:
        """False at the end of what the command writes."""
        try:
            data = os.read(self._terminal, 262_144)
        except OSError:           # EIO: the last one who had the terminal open is gone
            data = b""
        now = time.monotonic()
        if not data:
            return False
        self._note(data, now)
        if self._answering:
            for question in _QUESTIONS.findall(data):
                os.write(self._terminal, _ANSWERS[question[2:]])
        return True

    def _note(self, data: bytes, now: float) -> None:
        result = self.run
        result.written += len(data)
        result.head = (result.head + data)[:KEPT] if len(result.head) < KEPT else result.head
        result.tail = (result.tail + data)[-KEPT:]
        text = self._recent + data
        for mark in [mark for mark in self._marks if mark in text]:
            result.seen[mark] = now
            self._marks.remove(mark)
        self._recent = text[-64:]
        if self._steps:
            self._since_step = (self._since_step + data)[-65_536:]

    def _step(self) -> None:
        """Type the next keys if their time has come."""
        now = time.monotonic()
        if (self._type_at is None and self._steps
            and self._steps[0].shown in _STYLES.sub(b"", self._since_step)):
            self._seen_at, self._type_at = now, now + self._steps[0].pause
        if self._type_at is None or now < self._type_at:
            return
        step = self._steps.pop(0)
        self._type_at, self._since_step = None, b""
        self.run.stepped.append((self._seen_at, time.monotonic()))
        if step.keys:
            os.write(self._terminal, step.keys)

    def _look_at_memory(self, pid: int) -> None:
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + POLL
        try:
            with open(f"/proc/{pid}/status") as status:
                peak = next((int(line.split()[1]) for line in status if line.startswith("VmHWM:")),
                            0)
        except OSError:
            return
        self.run.peak = max(self.run.peak, peak * 1024)
