"""Sessions in one SQLite file, readable by its owner only."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager, suppress

from core.errors import StoreBusy, StoreError, StoreFull, StoreGone
from core.store.database import BUSY_SECONDS, MIGRATION_SECONDS, WAY_OUT, Database, Search
from core.store.locks import GLANCE, Owner, Queue
from core.store.reservation import Reservation
from core.store.sql.store import SqlStore
from core.store.sqlite.commits import Commits
from core.store.sqlite.connection import connect
from core.store.sqlite.errors import is_busy, sqlite_error
from core.store.sqlite.files import (APPLICATION_ID, check_usable, connect_to_read, create_private,
                                     file_at)
from core.store.version import SCHEMA_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Any

    from core.store.database import Statement
    from core.store.query import Query, Term

MOMENT = 0.2                   # seconds that a write waits inside hurried()
QUEUE_SECONDS = 10.0           # seconds that a write waits in the queue of programs


class SqliteDatabase(Database):
    triples = ("(SELECT substr(value, 1, 32) AS old, substr(value, 33, 32) AS new, "
               "substr(value, 65) AS before FROM json_each(?))")

    def __init__(self, path: str, busy_seconds: float) -> None:
        self.place = self.url = os.path.abspath(os.path.expanduser(path))
        self._busy_seconds = busy_seconds
        self._owner, self._queue = (Owner(self.place),
                                    Queue(f"{self.place}-queue", max(QUEUE_SECONDS, busy_seconds)))
        self._commits = Commits(f"{self.place}-wal")
        self._reserved = self._begun = False  # ready() holds the queue; has begun to write
        self._held_outside = False     # locked by a program that does not use the queue
        self._patience: float | None = None  # seconds that a write waits; None: the default
        self._file: tuple[int, int] | None = None    # device and inode of the open file
        self.unwritable = ""       # why it is read-only; each write tries again
        try:
            self._connection = self._connect()
        except StoreFull as error:
            readable = connect_to_read(self.place)
            if readable is None:
                raise
            self._connection, self.unwritable = readable, error.message

    def _connect(self) -> sqlite3.Connection:
        try:
            if os.path.exists(f"{self.place}.new"):
                self._finish_swap()
            create_private(self.place)
            connection = connect(self.place, timeout=self._busy_seconds)
        except OSError as problem:
            raise StoreFull(f"The session database {self.place} cannot be opened: "
                            f"{problem.strerror}.", WAY_OUT) from problem
        except sqlite3.Error as problem:
            raise sqlite_error(problem, self.place) from problem
        try:
            self._prepare(connection)
        except sqlite3.Error as problem:
            connection.close()
            raise sqlite_error(problem, self.place) from problem
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        run = connection.execute
        if check_usable(connection, self.place) < SCHEMA_VERSION:
            self._migrate(connection)
        run("PRAGMA foreign_keys = ON")
        run("PRAGMA secure_delete = ON")
        run("PRAGMA busy_timeout = 0")       # _begin() does the waiting
        self._commits.opened(connection)
        self._file = file_at(self.place)

    def _finish_swap(self) -> None:
        """Complete a swap of the file during which a program was killed."""
        with Queue(f"{self.place}-queue", MIGRATION_SECONDS):
            if os.path.exists(f"{self.place}.new"):
                from core.store.sqlite.swap import finish_swap
                finish_swap(self.place)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        from core.store.schema import migrate_sqlite
        queue = Queue(f"{self.place}-queue", MIGRATION_SECONDS)
        try:
            with queue as ready:
                if not ready:
                    raise self._busy()
                if connection.execute("PRAGMA user_version").fetchone()[0] < SCHEMA_VERSION:
                    connection.execute("PRAGMA journal_mode = WAL")
                    self._save_before_migration(connection)
                    migrate_sqlite(connection, SCHEMA_VERSION, APPLICATION_ID)
        finally:
            queue.close()

    def _save_before_migration(self, connection: sqlite3.Connection) -> None:
        """Back up a database of an earlier version before migrating it. Raises StoreFull, and
        nothing is migrated, if there is no room for the backup.
        """
        if connection.execute("PRAGMA user_version").fetchone()[0]:
            from core.store.sqlite.backups import save_beside
            try:
                save_beside(connection, self.place)
            except OSError as problem:
                raise StoreFull(f"{self.place} cannot be saved before it is changed: "
                                f"{problem.strerror}.",
                                "Free some space on that disk.") from problem

    def _busy(self) -> StoreBusy:
        return StoreBusy(f"Other programs keep the session database {self.place} busy.",
                         "Wait for them or close them, then try again.")

    def read(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        try:
            return self._connection.execute(sql, tuple(values)).fetchall()
        except sqlite3.Error as problem:
            if str(problem).startswith("Could not decode"):
                return self._read_damaged_text(sql, values)
            if is_busy(problem):      # happens briefly while another program recovers the log
                return self._read_patiently(sql, values)
            raise sqlite_error(problem, self.place) from problem

    def _read_patiently(self, sql: str, values: Sequence[object]) -> list[Any]:
        limit = time.monotonic() + self._busy_seconds
        while True:
            time.sleep(GLANCE)
            try:
                return self._connection.execute(sql, tuple(values)).fetchall()
            except sqlite3.Error as problem:
                if not is_busy(problem) or time.monotonic() > limit:
                    raise sqlite_error(problem, self.place) from problem

    def _read_damaged_text(self, sql: str, values: Sequence[object]) -> list[Any]:
        """Read rows with invalid UTF-8, which SQLite does not detect; replace the invalid bytes."""
        self._connection.text_factory = lambda data: data.decode("utf-8", "replace")
        try:
            return self._connection.execute(sql, tuple(values)).fetchall()
        except sqlite3.Error as problem:
            raise sqlite_error(problem, self.place) from problem
        finally:
            self._connection.text_factory = str

    def write(self, statements: Sequence[Statement], *, durable: bool = True) -> None:
        if self.unwritable:
            self.release()
            readable, self._connection = self._connection, self._connect()
            readable.close()
            self.unwritable = ""
        if (failure := self._commits.take_failure()) is not None:
            raise self._not_synced(failure)
        if durable:
            self._check_still_there()
        if self._reserved:
            self._transact(statements, durable)
            return
        if not self._queue.enter(self._queue.seconds if self._patience is None else self._patience):
            raise self._busy()
        try:
            self._transact(statements, durable)
        finally:
            self._queue.leave()

    def ready(self, *, durable: bool) -> Reservation:
        return Reservation(self, durable)

    def reserve(self, durable: bool) -> bool:
        """Begin the next transaction if no other program is writing; return whether it began."""
        if self.unwritable or self._reserved:
            return True      # it must be reopened first, or another task of this program is writing
        if not self._queue.try_enter():
            return False
        try:
            self._begin(0, waits=False)
        except sqlite3.Error as problem:
            self._queue.leave()
            self._held_outside = is_busy(problem)
            return not self._held_outside    # the write itself reports any other problem
        self._reserved = self._begun = True
        return True

    async def come(self, limit: float) -> None:
        """Wait for the queue, or for a moment if a program outside the queue is writing."""
        if self._held_outside:
            import asyncio
            self._held_outside = False
            await asyncio.sleep(GLANCE)
        else:
            await self._queue.come(limit)

    def release(self) -> None:
        if self._reserved:
            self._reserved = self._begun = False
            self._roll_back()
            self._queue.leave()

    @contextmanager
    def hurried(self) -> Iterator[None]:
        before, self._patience = self._patience, MOMENT
        try:
            yield
        finally:
            self._patience = before

    def overlapping(self, *, soon: bool) -> AbstractContextManager[None]:
        return self._commits.overlapping(soon=soon)

    async def settled(self) -> None:
        try:
            await self._commits.settle()
        except OSError as problem:
            raise self._not_synced(problem) from problem

    def settle(self) -> None:
        try:
            self._commits.finish(self._connection)
        except OSError as problem:
            raise self._not_synced(problem) from problem
        except sqlite3.Error as problem:
            raise sqlite_error(problem, self.place) from problem

    def _not_synced(self, problem: OSError) -> StoreFull:
        reason = f"The session database {self.place} cannot be written: {problem.strerror}."
        return StoreFull(reason, WAY_OUT)

    def refuse_to_wait(self, on: bool) -> None:
        self._patience = 0.0 if on else None

    def _begin(self, seconds: float, *, waits: bool) -> None:
        """Begin a transaction, waiting for programs outside the queue. `waits`: the commit returns
        when it is on the disk. Raises sqlite3.Error.
        """
        run = self._connection.execute
        limit = time.monotonic() + seconds
        while True:
            self._commits.before(self._connection, waits=waits)
            try:
                run("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as problem:
                self._commits.undone(self._connection)
                if not is_busy(problem) or time.monotonic() > limit:
                    raise
                time.sleep(GLANCE)
                continue
            if self._commits.begun(waits):
                return
            run("ROLLBACK")

    def _transact(self, statements: Sequence[Statement], durable: bool) -> None:
        run, waits = self._connection.execute, self._commits.waits(durable)
        begun, self._begun = self._begun, False
        try:
            if begun and not self._commits.fits(waits):
                run("ROLLBACK")
                begun = False
            if not begun:
                patience = self._busy_seconds if self._patience is None else self._patience
                self._begin(patience, waits=waits)
            for sql, values, unchanged, then in statements:
                if run(sql, values).rowcount == 0:
                    if unchanged is not None:
                        unchanged(self.read)
                elif then is not None:
                    run(then.sql, then.values)
            run("COMMIT")
            self._commits.done(self._connection, durable=durable, waits=waits)
        except BaseException as problem:
            self._roll_back()
            if getattr(problem, "sqlite_errorcode", 0) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
                raise self.session_gone() from problem
            if isinstance(problem, sqlite3.Error):
                raise sqlite_error(problem, self.place) from problem
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._roll_back()

    def load(self, batches: Iterable[tuple[str, Sequence[Sequence[object]]]],
             check: Callable[[], None] = lambda: None) -> None:
        with self._queue as ready:
            if not ready:
                raise self._busy()
            try:
                self._begin(self._busy_seconds, waits=True)
                for sql, rows in batches:
                    self._connection.executemany(sql, rows)
                check()
                self._connection.execute("COMMIT")
            except BaseException as problem:
                self._roll_back()
                if isinstance(problem, sqlite3.Error):
                    raise sqlite_error(problem, self.place) from problem
                raise

    def _check_still_there(self) -> None:
        """Raise StoreGone if the file was deleted; the next write starts a new one.

        SQLite would keep writing to the deleted file, where nobody would ever see it.
        """
        if self._file is not None and self._file != file_at(self.place):
            self._file = None
            self.unwritable = "gone"
            raise StoreGone(f"The session database {self.place} was deleted or moved away.")

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._commits.undone(self._connection)
        except sqlite3.Error:
            pass   # report the first problem; closing the connection rolls back too

    def identity(self, key: str) -> int:
        return int(key, 16)

    def owner(self) -> str:
        try:
            return self._owner.name()
        except OSError as problem:
            raise StoreFull(f"No file can be made beside {self.place}: {problem.strerror}.",
                            WAY_OUT) from problem

    def is_gone(self, owner: str) -> bool:
        return self._owner.is_gone(owner)

    def pulse(self) -> int:
        return int(self.read("PRAGMA data_version")[0][0])

    def sweep(self) -> None:
        self._owner.sweep()

    def scrub(self) -> None:
        """Remove deleted words from the index, which keeps them until merged, and from the log."""
        try:
            with self._queue:
                self._connection.execute(f"PRAGMA busy_timeout = {int(self._busy_seconds * 1000)}")
                self._connection.execute("INSERT INTO messages_fts (messages_fts) VALUES "
                                         "('optimize')")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self._connection.execute("PRAGMA busy_timeout = 0")
        except sqlite3.Error:
            # the rows are deleted; traces in a busy database go with the next deletion
            pass

    def search(self, query: Query, limit: int = 0, *, trash: bool = False) -> Search:
        """Search in the order of row numbers, which grow with time: SQLite stops at the limit
        unsorted.
        """
        wanted = " AND ".join(map(_fts_term, query.wanted))
        expression = f"({wanted})" + "".join(f" NOT {_fts_term(term)}" for term in query.unwanted)
        column = {"tool": "{tools} : ", "answer": "{words} : ",
                  "question": "{words} : "}.get(query.place, "")
        return Search("messages_fts JOIN messages ON messages.number = messages_fts.rowid",
                      "messages_fts MATCH ?",
                      (f"{column}({expression})",), "messages_fts.rowid")

    def close(self) -> None:
        with suppress(StoreError):
            self.settle()
        self._commits.close()
        self._connection.close()
        self._owner.close()
        self._queue.close()


def _fts_term(term: Term) -> str:
    """Return an FTS5 phrase. Words contain only letters and digits, so nothing needs escaping."""
    return f'"{" ".join(term.words)}"' + (" *" if term.begins else "")


class SqliteStore(SqlStore):
    """The store of a single user."""

    def __init__(self, path: str, *, busy_seconds: float = BUSY_SECONDS) -> None:
        self._sqlite = SqliteDatabase(path, busy_seconds)
        super().__init__(self._sqlite)

    @property
    def unwritable(self) -> str:
        """Why the database is read-only; empty if it is known to be writable or was not opened yet.
        """
        return self._sqlite.unwritable
