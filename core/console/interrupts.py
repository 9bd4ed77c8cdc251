"""Signals: Ctrl-C stops what runs and keeps what has arrived;
SIGTERM and SIGHUP end the program cleanly.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any, TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.console.typeahead import Typeahead

T = TypeVar("T")
# seconds after which a further Ctrl-C cancels once more, should the first have been swallowed
AGAIN = 1.0
DRAIN = 1.0   # seconds that what is still to be shown may take when the program is told to end


class Interrupted(Exception):
    """The user stopped what was running."""


class Terminated(SystemExit):
    """SIGTERM or SIGHUP; the code is the shell's 128 + signal number."""


class Interrupts:
    """Runs coroutines on one loop, one after the other,
    so that a signal ends the running one and not the program.
    """

    def __init__(self) -> None:
        # what is typed while a coroutine runs; None where that is not looked after
        self.typed: Typeahead | None = None
        self._runner = asyncio.Runner()
        self._task: asyncio.Task[Any] | None = None     # what Ctrl-C stops
        self._whole: asyncio.Task[Any] | None = None    # all of what runs
        self._running = False  # the loop runs: an exception of a signal would leave it in disorder
        self._stop_at_once = False
        self._cancelled_at = -AGAIN
        self._ended_by: int | None = None
        self._ending = False      # Terminated was raised: what runs from now on closes things
        # a line is being read: nothing else would notice that the program is to end
        self._reading = False
        self._previous = {number: signal.getsignal(number) for number in _signals()}
        self._listen()

    def _listen(self) -> None:
        """Take the signals.

        Again before each run: a prompt (prompt_toolkit) leaves SIGINT at Python's default.
        """
        for number in self._previous:
            signal.signal(number, self._on_signal)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result.

        Raises Interrupted after Ctrl-C and Terminated after SIGTERM or SIGHUP.
        """
        self._listen()
        self._running, self._stop_at_once = True, False
        try:
            return self._runner.run(self._watched(coroutine))
        except asyncio.CancelledError:
            if self._ended_by is not None:
                raise self._terminated() from None
            raise Interrupted from None
        finally:
            self._running, self._task, self._whole = False, None, None
            if self._ended_by is not None and not self._ending:
                raise self._terminated()     # it was done just before it would have been cancelled

    def _terminated(self) -> Terminated:
        self._ending = True
        return Terminated(128 + (self._ended_by or 0))

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While a line is read, the end of the program is asked for again until it happens:
        a library may swallow it once.
        """
        self._reading = True
        try:
            if self._ended_by is not None:
                raise self._terminated()
            yield
        finally:
            self._reading = False

    async def stoppable(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Part of what runs; Ctrl-C stops only that part, and raises Interrupted in the rest."""
        outer = self._task
        self._task = part = asyncio.ensure_future(coroutine)
        try:
            return await part
        except asyncio.CancelledError:
            if self._ended_by is None and outer is not None and not outer.cancelling():
                raise Interrupted from None
            raise
        finally:
            self._task = outer

    async def _watched(self, coroutine: Coroutine[Any, Any, T]) -> T:
        self._cancelled_at = -AGAIN
        self._task = self._whole = asyncio.current_task()
        if self._stop_at_once:
            coroutine.close()
            raise asyncio.CancelledError
        with _woken_by_signals(), self.typed.collecting() if self.typed else nullcontext():
            return await coroutine

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGINT:
            self._ended_by = number
            self._end_without_reader()
        if self._running:
            self._stop()
        elif self._ended_by is not None:
            raise self._terminated()
        elif not self.stopped_lately():
            raise KeyboardInterrupt

    def _stop(self) -> None:
        """Stop what runs.

        What has just ended, or has not begun, is not interrupted by an
        exception in the loop itself.
        """
        now = time.monotonic()
        task = self._whole if self._task is None or self._task.done() else self._task
        if task is None:
            self._stop_at_once = True
        elif now - self._cancelled_at > AGAIN:
            self._cancelled_at = now
            self._runner.get_loop().call_soon_threadsafe(task.cancel)

    def _end_without_reader(self) -> None:
        """Nobody may be reading what is written (a hung window, Ctrl-S):
        a write that waits for them would never end.
        """
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, self._on_alarm)
            signal.setitimer(signal.ITIMER_REAL, DRAIN, DRAIN)

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        _drop_output()
        if self._reading:
            raise self._terminated()

    def stopped_lately(self) -> bool:
        """Whether a Ctrl-C is the second press of somebody impatient:
        the first one has just stopped what ran.
        """
        return time.monotonic() - self._cancelled_at <= AGAIN

    def close(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._runner.close()


def _drop_output() -> None:
    """Let what cannot be written go nowhere.

    A write that was waiting is tried again by Python and gets through.
    """
    for descriptor in (1, 2):
        try:
            if not select.select([], [descriptor], [], 0)[1]:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
        except (OSError, ValueError):
            continue


@contextmanager
def _woken_by_signals() -> Iterator[None]:
    """Let a signal wake the loop also when the kernel hands it to another thread;
    else it would wait for the next event.
    """
    if sys.platform == "win32":
        yield
        return
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    loop = asyncio.get_running_loop()
    loop.add_reader(reader, reader.recv, 4096)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        loop.remove_reader(reader)
        reader.close()
        writer.close()


def _signals() -> list[int]:
    return [getattr(signal, name)
            for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
