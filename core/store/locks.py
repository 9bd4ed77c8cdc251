"""File locks that the operating system releases when their process ends, however it ends."""

from __future__ import annotations

import os
import time
from contextlib import suppress

GLANCE = 0.005     # seconds between attempts where nothing signals that the lock is free
SHORT = 0.02       # seconds for which the event loop may be blocked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def try_lock(descriptor: int) -> bool:
    """Lock an open file until it is closed or the process ends; return False if another process
    holds the lock.
    """
    try:
        if os.name == "nt":
            import msvcrt
            # Windows only
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore
        else:
            import fcntl
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


class _Stand:
    """A thread that waits for a lock in the kernel's queue, which has no time limit. An abandoned
    one releases the lock as soon as it gets it.
    """

    def __init__(self, descriptor: int) -> None:
        import threading
        self._descriptor, self._given_up = descriptor, False
        self._sleepers: list[Callable[[], object]] = []
        self._deciding, self.came = threading.Lock(), threading.Event()
        threading.Thread(target=self._stand, daemon=True).start()

    def _stand(self) -> None:
        import fcntl
        with suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        with self._deciding:
            self.came.set()
            if self._given_up:
                os.close(self._descriptor)
        for wake in self._sleepers:
            with suppress(RuntimeError):     # its event loop has ended
                wake()

    async def wait(self, seconds: float) -> None:
        """Wait for the lock, at most `seconds`. The event loop is woken at once, since other
        programs queue behind this one.
        """
        import asyncio
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        self._sleepers.append(lambda: loop.call_soon_threadsafe(woken.set))
        if not self.came.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), seconds)

    def give_up(self) -> None:
        with self._deciding:
            self._given_up = True
            if self.came.is_set():
                os.close(self._descriptor)


class Queue:
    """A fair queue of the programs that write to one SQLite file; SQLite's own locking can starve
    them. The lock is on a separate file. Where that cannot be created or locked, nobody waits.
    """

    def __init__(self, path: str, seconds: float) -> None:
        self._path, self.seconds = path, seconds
        self._descriptor = -1
        self._stand: _Stand | None = None     # waits for the lock on the descriptor

    def __enter__(self) -> bool:
        """Wait for the lock, at most `seconds`; return False if it was not acquired."""
        return self.enter(self.seconds)

    def __exit__(self, *exception: object) -> None:
        self.leave()

    def enter(self, seconds: float) -> bool:
        return self.try_enter() or os.name == "nt" or self._wait(seconds)

    def try_enter(self) -> bool:
        """Acquire the lock if it is free now; return whether it was."""
        if self._stand is not None:
            if not self._stand.came.is_set():
                return False
            self._stand = None
            return True
        if self._descriptor < 0:
            try:
                self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
            except OSError:
                return True
        return try_lock(self._descriptor)

    def leave(self) -> None:
        if self._descriptor >= 0 and os.name == "nt":
            self.close()     # on Windows only closing reliably releases a lock
        elif self._descriptor >= 0:
            import fcntl
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _wait(self, seconds: float) -> bool:
        stand = self._stand = self._stand or _Stand(self._descriptor)
        try:
            if stand.came.wait(seconds):
                self._stand = None
                return True
        except BaseException:
            self._give_up()
            raise
        self._give_up()
        return False

    async def come(self, limit: float) -> None:
        """Wait for try_enter() to succeed, at most until `limit` (time.monotonic()), without
        blocking the event loop.
        """
        if os.name == "nt" or self._descriptor < 0:
            import asyncio
            await asyncio.sleep(GLANCE)
            return
        stand = self._stand = self._stand or _Stand(self._descriptor)
        if stand.came.wait(SHORT):      # most waits are too short to notice
            return
        came = False
        try:
            await stand.wait(limit - time.monotonic())
            came = stand.came.is_set()
        finally:
            if not came and self._stand is stand:
                self._give_up()

    def _give_up(self) -> None:
        stand, self._stand, self._descriptor = self._stand, None, -1
        if stand is not None:
            stand.give_up()

    def close(self) -> None:
        if self._stand is not None:
            self._give_up()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Owner:
    """A name for this process, held as a locked file beside the database while the process runs."""

    def __init__(self, place: str) -> None:
        self._prefix = f"{place}-live-"
        self._held: tuple[str, int] | None = None

    def name(self) -> str:
        """Return the name, creating it at the first call. Raises OSError."""
        while self._held is None:
            name = os.urandom(8).hex()
            path = self._prefix + name
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
            if try_lock(descriptor) and os.path.exists(path):
                self._held = name, descriptor
            else:
                # another program removed it as abandoned before we locked it
                os.close(descriptor)
        return self._held[0]

    def is_gone(self, name: str) -> bool:
        """Return whether the process of that name has ended, and remove its file if so."""
        path = self._prefix + name
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        try:
            gone = try_lock(descriptor)
            # Windows cannot delete an open file; there it stays, empty and harmless
            if gone and os.name != "nt":
                os.unlink(path)
        except FileNotFoundError:
            pass   # another program removed it first
        finally:
            os.close(descriptor)
        return gone

    def sweep(self) -> None:
        """Remove the files of all processes that have ended."""
        directory, start = os.path.split(self._prefix)
        for name in os.listdir(directory):
            if name.startswith(start):
                self.is_gone(name.removeprefix(start))

    def close(self) -> None:
        if self._held is not None:
            (name, descriptor), self._held = self._held, None
            os.close(descriptor)
            try:
                os.unlink(self._prefix + name)
            except OSError:
                pass   # an unlocked file is meaningless, and the next start removes it
