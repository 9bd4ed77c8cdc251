"""Brings a SQLite connection's commits to the disk: each waits for it, or a thread syncs."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3

    from core.store.sqlite.log_sync import LogSync

FULL, NORMAL, OFF = "FULL", "NORMAL", "OFF"
CHECKPOINT = 1_000     # pages in the log after which SQLite moves them into the database


class Commits:
    """Sets PRAGMA synchronous before each transaction.

    FULL waits for the disk at each commit; NORMAL waits only at the first commit of a log, so that
    commit uses OFF: an incomplete log is ignored completely after a crash, and the thread syncs it.
    No checkpoint runs meanwhile, since that would not be synced either.
    """

    def __init__(self, log: str) -> None:
        self._path = log
        self._level = NORMAL
        self._empty = False     # the log, when it was looked at last
        self._soon: bool | None = None
        self._log: LogSync | None = None

    def overlapping(self, *, soon: bool) -> Overlapping:
        """Keep writes within it from waiting for the disk; a thread syncs them at once or `soon`.
        """
        return Overlapping(self, soon)

    def let(self, soon: bool | None) -> bool | None:
        """Set what overlapping() says, None for nothing; return what it was."""
        before, self._soon = self._soon, soon
        return before

    def waits(self, durable: bool) -> bool:
        """Return whether a write of that kind waits for the disk."""
        return durable and self._soon is None

    def opened(self, connection: sqlite3.Connection) -> None:
        self._set(connection, NORMAL)
        self._empty = self._log_is_empty()

    def before(self, connection: sqlite3.Connection, *, waits: bool) -> None:
        """Prepare for a transaction that is about to begin."""
        level = self._fitting(waits)
        if level != self._level:
            self._set(connection, level)

    def begun(self, waits: bool) -> bool:
        """Whether the transaction that has just begun may be committed; if not, begin it again."""
        self._empty = not waits and self._log_is_empty()
        return self._level == self._fitting(waits)

    def fits(self, waits: bool) -> bool:
        """The same later: nobody else empties the log within our transaction."""
        return (self._level == FULL) == waits

    def done(self, connection: sqlite3.Connection, *, durable: bool, waits: bool) -> None:
        """Record a committed transaction."""
        first, self._empty = self._level == OFF, False
        if first:
            self._set(connection, NORMAL)
        if first or self._soon is not None and not waits:
            if self._log is None:
                from core.store.sqlite.log_sync import LogSync
                self._log = LogSync(self._path)
            self._log.note(soon=not durable or self._soon is not False, name_is_new=first)

    def undone(self, connection: sqlite3.Connection) -> None:
        """Record a transaction that was rolled back or did not begin."""
        if self._level == OFF:
            self._set(connection, NORMAL)

    def take_failure(self) -> OSError | None:
        """Return why the last sync failed, only once."""
        return self._log.take_failure() if self._log is not None else None

    async def settle(self) -> None:
        """Wait, without blocking the event loop, until everything is on the disk. Raises OSError.
        """
        if self._log is not None:
            await self._log.settle()

    def finish(self, connection: sqlite3.Connection) -> None:
        """Bring everything to the disk now. Raises OSError and sqlite3.Error.

        If nobody else reads the log, it is moved into the database, as closing it would do anyway.
        """
        if self._log is None or self._log.settled:
            return
        busy, pages, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if busy or pages != moved:
            self._log.wait()
        else:
            self._log.checkpointed()

    def close(self) -> None:
        if self._log is not None:
            self._log.close()

    def _fitting(self, waits: bool) -> str:
        return FULL if waits else OFF if self._empty else NORMAL

    def _log_is_empty(self) -> bool:
        try:
            return os.stat(self._path).st_size == 0
        except OSError:
            return False

    def _set(self, connection: sqlite3.Connection, level: str) -> None:
        connection.execute(f"PRAGMA synchronous = {level}")
        if OFF in (level, self._level):
            pages = 0 if level == OFF else CHECKPOINT
            connection.execute(f"PRAGMA wal_autocheckpoint = {pages}")
        self._level = level


class Overlapping:
    """The writes within it do not wait for the disk. A generator would cost more at each frame."""

    __slots__ = ("_commits", "_soon")

    def __init__(self, commits: Commits, soon: bool | None) -> None:
        self._commits, self._soon = commits, soon

    def __enter__(self) -> None:
        self._soon = self._commits.let(self._soon)

    def __exit__(self, *exception: object) -> None:
        self._commits.let(self._soon)
