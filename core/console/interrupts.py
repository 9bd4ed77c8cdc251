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
# seconds after which another Ctrl-C cancels again, in case a library swallowed the first
AGAIN = 1.0
DRAIN = 1.0   # seconds for the remaining output when the program is asked to end


class Interrupted(Exception):
    """The user stopped what was running."""


class Terminated(SystemExit):
    """SIGTERM or SIGHUP; the code is the shell's 128 + signal number."""


class Interrupts:
    """Runs coroutines on one event loop, one after another, so that a signal ends the coroutine and
    not the program.
    """

    def __init__(self) -> None:
        # what is typed while a coroutine runs; None if that is not read
        self.typed: Typeahead | None = None
        self._runner = asyncio.Runner()
        self._task: asyncio.Task[Any] | None = None     # what Ctrl-C stops
        self._whole: asyncio.Task[Any] | None = None    # everything that runs
        # the loop is running: an exception raised by a signal would corrupt its state
        self._running = False
        self._stop_at_once = False
        self._cancelled_at = -AGAIN
        self._ended_by: int | None = None
        self._ending = False      # Terminated was raised: from now on, only cleanup runs
        # a line is being read: nothing else would notice a request to end
        self._reading = False
        self._previous = {number: signal.getsignal(number) for number in _signals()}
        self._listen()

    def _listen(self) -> None:
        """Install the signal handlers, before each run: a prompt (prompt_toolkit) resets SIGINT to
        Python's default.
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
                raise self._terminated()     # it finished just before it was cancelled

    def _terminated(self) -> Terminated:
        self._ending = True
        return Terminated(128 + (self._ended_by or 0))

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While a line is read, repeat a request to end until it succeeds: a library may swallow
        one.
        """
        self._reading = True
        try:
            if self._ended_by is not None:
                raise self._terminated()
            yield
        finally:
            self._reading = False

    async def stoppable(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a part of a coroutine; Ctrl-C stops only that part and raises Interrupted in the
        rest.
        """
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
        """Stop what runs. If it has just ended, or has not begun, no exception is raised in the
        loop itself.
        """
        now = time.monotonic()
        task = self._whole if self._task is None or self._task.done() else self._task
        if task is None:
            self._stop_at_once = True
        elif now - self._cancelled_at > AGAIN:
            self._cancelled_at = now
            self._runner.get_loop().call_soon_threadsafe(task.cancel)

    def _end_without_reader(self) -> None:
        """Output may have no reader (a hung window, Ctrl-S): a write that waits for one would never
        end.
        """
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, self._on_alarm)
            signal.setitimer(signal.ITIMER_REAL, DRAIN, DRAIN)

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        _drop_output()
        if self._reading:
            raise self._terminated()

    def stopped_lately(self) -> bool:
        """Whether a Ctrl-C is a second, impatient press: the first one has just stopped what ran.
        """
        return time.monotonic() - self._cancelled_at <= AGAIN

    def close(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._runner.close()


def _drop_output() -> None:
    """Discard what cannot be written. Python repeats a write that was waiting, which then succeeds.
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
    """Let a signal wake the loop even when the kernel delivers it to another thread; otherwise the
    loop waits for the next event.
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
