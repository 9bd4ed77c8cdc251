"""Locks on whole files that the operating system gives back when their holder ends,
however it ends.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

GLANCE = 0.005     # seconds between two looks where nothing tells that the turn has come
SHORT = 0.02       # seconds that an event loop may be held up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def try_lock(descriptor: int) -> bool:
    """Lock a whole file for this open file, until it is closed or the process ends;
    False when another holds it.
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
    """A thread in the kernel's queue for a lock, which has no time limit;
    one that is given up lets go when its turn comes.
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
        """Until the turn has come, at most so long;
        the event loop is woken at once, since others wait behind this one.
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
    """Programs that write to one file, one behind the other: SQLite itself lets those
    that wait long go hungry.

    The lock is on a file of its own. Where it cannot be made or locked, nothing is waited for.
    """

    def __init__(self, path: str, seconds: float) -> None:
        self._path, self.seconds = path, seconds
        self._descriptor = -1
        self._stand: _Stand | None = None     # waits for the lock on the descriptor

    def __enter__(self) -> bool:
        """Wait for the turn, at most `seconds`; False when it did not come."""
        return self.enter(self.seconds)

    def __exit__(self, *exception: object) -> None:
        self.leave()

    def enter(self, seconds: float) -> bool:
        return self.try_enter() or os.name == "nt" or self._wait(seconds)

    def try_enter(self) -> bool:
        """Take the turn if it is ours now."""
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
            self.close()     # there, closing is what gives a lock back for certain
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
        """Wait until try_enter() takes the turn, at most until then (time.monotonic()),
        while the event loop runs on.
        """
        if os.name == "nt" or self._descriptor < 0:
            import asyncio
            await asyncio.sleep(GLANCE)
            return
        stand = self._stand = self._stand or _Stand(self._descriptor)
        if stand.came.wait(SHORT):      # most waits: shorter than anybody notices
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
    """A name for this program's run, held as a locked file beside the database
    while the program lives.
    """

    def __init__(self, place: str) -> None:
        self._prefix = f"{place}-live-"
        self._held: tuple[str, int] | None = None

    def name(self) -> str:
        """The name; taken the first time. Raises OSError."""
        while self._held is None:
            name = os.urandom(8).hex()
            path = self._prefix + name
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
            if try_lock(descriptor) and os.path.exists(path):
                self._held = name, descriptor
            else:
                # another program took it for a left one, between our two steps
                os.close(descriptor)
        return self._held[0]

    def is_gone(self, name: str) -> bool:
        """Whether the run of that name has ended; removes what it left."""
        path = self._prefix + name
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        try:
            gone = try_lock(descriptor)
            # Windows takes no open file away; there it stays, empty and without meaning
            if gone and os.name != "nt":
                os.unlink(path)
        except FileNotFoundError:
            pass   # another program was quicker
        finally:
            os.close(descriptor)
        return gone

    def sweep(self) -> None:
        """Remove the files of all runs that have ended."""
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
                pass   # without its lock the file means nothing, and the next start takes it away
