"""Sessions in one SQLite file, readable by its owner only."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager

from core.errors import StoreBusy, StoreDamaged, StoreError, StoreForeign, StoreFull, StoreGone, StoreTooNew
from core.store.database import BUSY_SECONDS, MIGRATION_SECONDS, SCHEMA_VERSION, WAY_OUT, Database, Search
from core.store.locks import Owner, Queue
from core.store.sql_store import SqlStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from core.store.database import Statement
    from core.store.query import Query, Term

APPLICATION_ID = 0x53434854    # "SCHT": says that a SQLite file is ours
QUEUE_SECONDS = 5.0            # how long it stands in the queue of the programs that write


class SqliteDatabase(Database):
    triples = ("(SELECT json_extract(value, '$[0]') AS old, json_extract(value, '$[1]') AS new, "
               "json_extract(value, '$[2]') AS before FROM json_each(?))")

    def __init__(self, path: str, busy_seconds: float) -> None:
        self.place = self.url = os.path.abspath(os.path.expanduser(path))
        self._busy_seconds = busy_seconds
        self._owner, self._queue = Owner(self.place), Queue(f"{self.place}-queue", max(QUEUE_SECONDS, busy_seconds))
        self._synced = False
        self._file: tuple[int, int] | None = None    # which file is open
        self.unwritable = ""       # why it can only be read; each write tries again
        try:
            self._connection = self._connect()
        except StoreFull as error:
            readable = _connect_to_read(self.place)
            if readable is None:
                raise
            self._connection, self.unwritable = readable, error.message

    def _connect(self) -> sqlite3.Connection:
        try:
            if os.path.exists(f"{self.place}.new"):
                self._finish_swap()
            _create_private(self.place)
            connection = sqlite3.connect(self.place, timeout=self._busy_seconds, isolation_level=None)
        except OSError as problem:
            raise StoreFull(f"The session database {self.place} cannot be opened: {problem.strerror}.", WAY_OUT) from problem
        except sqlite3.Error as problem:
            raise _sqlite_error(problem, self.place) from problem
        try:
            self._prepare(connection)
        except sqlite3.Error as problem:
            connection.close()
            raise _sqlite_error(problem, self.place) from problem
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        run = connection.execute
        version, application = (run(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id"))
        if application != APPLICATION_ID:
            _check_ours(connection, application, self.place)
        if version > SCHEMA_VERSION:
            raise StoreTooNew(f"The session database {self.place} was made by a newer version of this program.",
                              "Update the program, or name another file with --database-url.")
        if version < SCHEMA_VERSION:
            self._migrate(connection)
        run("PRAGMA synchronous = NORMAL")
        run("PRAGMA foreign_keys = ON")
        run("PRAGMA secure_delete = ON")
        self._synced = False
        self._file = _file_at(self.place)

    def _finish_swap(self) -> None:
        """A program that put another file in this place was killed in the middle."""
        from core.store.swap import finish_swap
        with Queue(f"{self.place}-queue", MIGRATION_SECONDS):
            if os.path.exists(f"{self.place}.new"):
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
        """An earlier version's database is saved first. Where there is no room for that, nothing is migrated."""
        if connection.execute("PRAGMA user_version").fetchone()[0]:
            from core.store.backups import save_beside
            try:
                save_beside(connection, self.place)
            except OSError as problem:
                raise StoreFull(f"{self.place} cannot be saved before it is changed: {problem.strerror}.",
                                "Free some space on that disk.") from problem

    def _busy(self) -> StoreBusy:
        return StoreBusy(f"Other programs keep the session database {self.place} busy.",
                         "Wait for them or end them, then try again.")

    def read(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        try:
            return self._connection.execute(sql, tuple(values)).fetchall()
        except sqlite3.Error as problem:
            if str(problem).startswith("Could not decode"):
                return self._read_damaged_text(sql, values)
            raise _sqlite_error(problem, self.place) from problem

    def _read_damaged_text(self, sql: str, values: Sequence[object]) -> list[Any]:
        """A bit flipped in a text, which SQLite does not notice: the rest of the text and all other rows can be read."""
        self._connection.text_factory = lambda data: data.decode("utf-8", "replace")
        try:
            return self._connection.execute(sql, tuple(values)).fetchall()
        except sqlite3.Error as problem:
            raise _sqlite_error(problem, self.place) from problem
        finally:
            self._connection.text_factory = str

    def write(self, statements: Sequence[Statement], *, durable: bool = True) -> None:
        if self.unwritable:
            readable, self._connection = self._connection, self._connect()
            readable.close()
            self.unwritable = ""
        if durable:
            self._check_still_there()
        with self._queue as ready:
            if not ready:
                raise self._busy()
            self._transact(statements, durable)

    def _transact(self, statements: Sequence[Statement], durable: bool) -> None:
        run = self._connection.execute
        try:
            if durable is not self._synced:
                run("PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL")
                self._synced = durable
            run("BEGIN IMMEDIATE")
            for sql, values, unchanged, then in statements:
                if run(sql, values).rowcount == 0:
                    if unchanged is not None:
                        unchanged(self.read)
                elif then is not None:
                    run(then.sql, then.values)
            run("COMMIT")
        except BaseException as problem:
            self._roll_back()
            if getattr(problem, "sqlite_errorcode", 0) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
                raise self.session_gone() from problem
            if isinstance(problem, sqlite3.Error):
                raise _sqlite_error(problem, self.place) from problem
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._roll_back()

    def load(self, batches: Iterable[tuple[str, Sequence[Sequence[object]]]], check: Callable[[], None] = lambda: None) -> None:
        with self._queue as ready:
            if not ready:
                raise self._busy()
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                for sql, rows in batches:
                    self._connection.executemany(sql, rows)
                check()
                self._connection.execute("COMMIT")
            except BaseException as problem:
                self._roll_back()
                if isinstance(problem, sqlite3.Error):
                    raise _sqlite_error(problem, self.place) from problem
                raise

    def _check_still_there(self) -> None:
        """SQLite writes on into a file that was deleted, and nobody would ever see it. The next write starts a new one."""
        if self._file is not None and self._file != _file_at(self.place):
            self._file = None
            self.unwritable = "gone"
            raise StoreGone(f"The session database {self.place} was deleted or moved away.")

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass   # the first problem is the one to report; closing the connection rolls back too

    def identity(self, key: str) -> int:
        return int(key, 16)

    def owner(self) -> str:
        try:
            return self._owner.name()
        except OSError as problem:
            raise StoreFull(f"No file can be made beside {self.place}: {problem.strerror}.", WAY_OUT) from problem

    def is_gone(self, owner: str) -> bool:
        return self._owner.is_gone(owner)

    def sweep(self) -> None:
        self._owner.sweep()

    def scrub(self) -> None:
        """The full-text index keeps words of deleted rows until it is merged, the log until it is truncated."""
        try:
            with self._queue:
                self._connection.execute("INSERT INTO messages_fts (messages_fts) VALUES ('optimize')")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            pass   # the rows are gone; what a busy database keeps of them goes with the next deletion

    def search(self, query: Query) -> Search:
        """By row number, which grows with time: SQLite stops at the limit instead of sorting all that it finds."""
        wanted = " AND ".join(map(_fts_term, query.wanted))
        expression = f"({wanted})" + "".join(f" NOT {_fts_term(term)}" for term in query.unwanted)
        column = {"tool": "{tools} : ", "answer": "{words} : ", "question": "{words} : "}.get(query.place, "")
        return Search("messages_fts JOIN messages ON messages.number = messages_fts.rowid", "messages_fts MATCH ?",
                      (f"{column}({expression})",), "messages_fts.rowid")

    def close(self) -> None:
        self._connection.close()
        self._owner.close()
        self._queue.close()


def _fts_term(term: Term) -> str:
    """Words hold letters and digits only."""
    return f'"{" ".join(term.words)}"' + (" *" if term.begins else "")


class SqliteStore(SqlStore):
    """The store of one person."""

    def __init__(self, path: str, *, busy_seconds: float = BUSY_SECONDS) -> None:
        self._sqlite = SqliteDatabase(path, busy_seconds)
        super().__init__(self._sqlite)

    @property
    def unwritable(self) -> str:
        """Why it can only be read; empty when it can be written, as far as is known."""
        return self._sqlite.unwritable


def _check_ours(connection: sqlite3.Connection, application: int, place: str) -> None:
    """Raise StoreForeign for another program's database. Ours had no mark before version 5, and a new file has no tables."""
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not application and (not tables or "_sqlite_migrations" in tables and connection.execute(
            "SELECT 1 FROM _sqlite_migrations WHERE migration_set = 'stream_chat'").fetchone()):
        return
    raise StoreForeign(f"{place} is the database of another program; nothing in it was changed.",
                       "Name another file with --database-url.")


def _file_at(path: str) -> tuple[int, int] | None:
    """Which file is at this path; None for none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _create_private(path: str) -> None:
    """Make the file and its directory, for the owner's eyes only. SQLite gives its side files the same mode.

    SQLite would delete the log of a file that was lost; it is set aside.
    """
    status = _file_at(path)
    if (status is None or not os.path.getsize(path)) and os.path.exists(f"{path}-wal"):
        from core.store.swap import set_log_aside
        set_log_aside(path)
    if status is None:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _connect_to_read(path: str) -> sqlite3.Connection | None:
    """The database where nothing can be written (a full disk, a read-only one); None when that does not work either.

    SQLite's side files cannot be made there. Without a log the file is read as it is; a log that a killed program left
    is read in a copy elsewhere.
    """
    import shutil
    import tempfile
    from urllib.request import pathname2url
    copy = ""
    try:
        if os.path.exists(f"{path}-wal") and os.path.getsize(f"{path}-wal"):
            copy = tempfile.mkdtemp(prefix="stream-chat-")
            for end in ("", "-wal"):
                shutil.copyfile(f"{path}{end}", os.path.join(copy, f"sessions{end}"))
            connection = sqlite3.connect(os.path.join(copy, "sessions"), isolation_level=None)
        else:
            connection = sqlite3.connect(f"file:{pathname2url(path)}?immutable=1", uri=True, isolation_level=None)
        if connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION:
            connection.execute("SELECT count(*) FROM sessions").fetchone()
            return connection
        connection.close()
    except (OSError, sqlite3.Error):
        pass   # why it cannot be written is what is reported
    finally:
        if copy:
            shutil.rmtree(copy, ignore_errors=True)   # the connection keeps the open files
    return None


def _sqlite_error(problem: sqlite3.Error, place: str) -> StoreError:
    code = (getattr(problem, "sqlite_errorcode", 0) or 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(f"Another program holds the session database {place}.", "Wait for it or end it, then try again.")
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"There is no room left for the session database {place}.", "Free some space on that disk.")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR):
        return StoreFull(f"The session database {place} cannot be written: {problem}.", WAY_OUT)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreDamaged(f"{place} is damaged or is not a session database: {problem}.",
                            "stream-chat --db-repair saves what can be read; the damaged file is kept.")
    return StoreError(f"The session database {place} failed: {problem}.", WAY_OUT)
