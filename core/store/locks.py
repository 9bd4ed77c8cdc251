"""Locks on whole files that the operating system gives back when their holder ends, however it ends."""

from __future__ import annotations

import os


def try_lock(descriptor: int) -> bool:
    """Lock a whole file for this open file, until it is closed or the process ends; False when another holds it."""
    try:
        if os.name == "nt":
            import msvcrt
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]  # Windows only
        else:
            import fcntl
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


class Queue:
    """Programs that write to one file, one behind the other: SQLite itself lets those that wait long go hungry.

    The lock is on a file of its own. Where it cannot be made or locked, nothing is waited for.
    """

    def __init__(self, path: str, seconds: float) -> None:
        self._path, self._seconds = path, seconds
        self._descriptor = -1

    def __enter__(self) -> bool:
        """Wait for the turn, at most `seconds`; False when it did not come."""
        if self._descriptor < 0:
            try:
                self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
            except OSError:
                return True
        return try_lock(self._descriptor) or os.name == "nt" or self._wait()

    def __exit__(self, *exception: object) -> None:
        if self._descriptor >= 0 and os.name == "nt":
            self.close()     # there, closing is what gives a lock back for certain
        elif self._descriptor >= 0:
            import fcntl
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _wait(self) -> bool:
        """The kernel's queue has no time limit, so a thread stands in it; one that is given up lets go when its turn comes."""
        import fcntl
        import threading
        descriptor, came, given_up = self._descriptor, threading.Event(), threading.Event()

        def stand() -> None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except OSError:
                pass
            came.set()
            if given_up.is_set():
                os.close(descriptor)
        threading.Thread(target=stand, daemon=True).start()
        try:
            if came.wait(self._seconds):
                return True
        except BaseException:
            self._descriptor = -1
            given_up.set()
            raise
        self._descriptor = -1
        given_up.set()
        return False

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Owner:
    """A name for this program's run, held as a locked file beside the database while the program lives."""

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
                os.close(descriptor)   # another program took it for a left one, between our two steps
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
            if gone and os.name != "nt":   # Windows takes no open file away; there it stays, empty and without meaning
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
