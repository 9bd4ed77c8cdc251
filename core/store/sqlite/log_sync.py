"""Syncs the log of a SQLite database to the disk in a thread."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from contextlib import suppress
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SOON = 0.15      # seconds that a frame waits for its sync; below 250 ms with the sync
_sync = getattr(os, "fdatasync", os.fsync)


class LogSync:
    """Counts commits, and how many of them are on the disk.

    The log is opened for each sync: SQLite takes no locks on that file, so closing it releases
    none.
    """

    def __init__(self, log: str) -> None:
        self._log = log
        self._state = threading.Condition()
        self._noted = self._safe = 0      # number of commits, and of those on the disk
        self._due: float | None = None    # when the next sync begins at the latest
        self._wakes = math.inf            # when the thread wakes up by itself
        self._name_is_new = False
        self._failure: OSError | None = None
        self._sleepers: list[tuple[int, Callable[[], object]]] = []  # (commit, wake)
        self._thread: threading.Thread | None = None

    def note(self, *, soon: bool, name_is_new: bool = False) -> None:
        """Record a commit, to be synced now or `soon`. `name_is_new`: the log was just created."""
        with self._state:
            self._noted += 1
            self._name_is_new |= name_is_new
            self._wake_by(time.monotonic() + (SOON if soon else 0))

    def _wake_by(self, due: float) -> None:
        if self._due is None or due < self._due:
            self._due = due
            if due < self._wakes:
                self._state.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log-sync", daemon=True)
            self._thread.start()

    @property
    def settled(self) -> bool:
        """Whether all commits are known to be on the disk."""
        return self._safe == self._noted and self._failure is None

    def checkpointed(self) -> None:
        """Record that a checkpoint moved all commits into the synced database."""
        with self._state:
            self._safe, self._due, self._failure = self._noted, None, None

    def take_failure(self) -> OSError | None:
        """Return why the last sync failed, only once."""
        failure, self._failure = self._failure, None
        return failure

    async def settle(self) -> None:
        """Wait, without blocking the event loop, until all commits are on the disk.

        Raises OSError.
        """
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        with self._state:
            waits = self._safe < self._noted
            if waits:
                self._wake_by(time.monotonic())
                wake = partial(loop.call_soon_threadsafe, woken.set)
                self._sleepers.append((self._noted, wake))
        if waits:
            await woken.wait()
        if failure := self.take_failure():
            raise failure

    def wait(self) -> None:
        """Block until all commits are on the disk. Raises OSError."""
        with self._state:
            goal = self._noted
            if self._safe < goal:
                self._wake_by(time.monotonic())
            while self._safe < goal:
                self._state.wait()
        if failure := self.take_failure():
            raise failure

    def close(self) -> None:
        """End the thread without waiting for pending syncs."""
        with self._state:
            self._due = -1.0
            self._state.notify_all()

    def _run(self) -> None:
        while (noted := self._next()) is not None:
            failure = self._sync(name_is_new=self._name_is_new)
            with self._state:
                self._failure = failure or self._failure
                self._name_is_new = self._name_is_new and failure is not None
                self._safe = max(self._safe, noted)
                ready = [wake for goal, wake in self._sleepers if goal <= self._safe]
                self._sleepers = [entry for entry in self._sleepers if entry[0] > self._safe]
                self._state.notify_all()
            for wake in ready:
                with suppress(RuntimeError):      # its event loop has ended
                    wake()

    def _next(self) -> int | None:
        """Wait until a sync is due; return how many commits it covers, or None at the end.

        What is noted within SOON of the last sync is synced when that time is over: the thread need
        not be woken up for it, only to begin to wait.
        """
        rested = time.monotonic() + SOON
        with self._state:
            while self._due is None or self._due > time.monotonic():
                self._wait_until(min(rested, math.inf if self._due is None else self._due))
                if time.monotonic() >= rested:
                    rested = math.inf
                    if self._due is not None:
                        break
            ended, self._due = self._due < 0, None
            return None if ended else self._noted

    def _wait_until(self, moment: float) -> None:
        self._wakes = moment
        self._state.wait(None if moment == math.inf else max(0.0, moment - time.monotonic()))
        self._wakes = math.inf

    def _sync(self, *, name_is_new: bool) -> OSError | None:
        try:
            _sync_file(self._log, os.O_RDWR)
            if name_is_new and os.name != "nt":
                _sync_file(os.path.dirname(self._log), os.O_RDONLY)
        except FileNotFoundError:
            pass      # the commits are in the database, or the store reports a moved file
        except OSError as failure:
            return failure
        return None


def _sync_file(path: str, flags: int) -> None:
    descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0))
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)
