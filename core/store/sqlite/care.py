"""Maintenance of sessions in a SQLite file."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.request import pathname2url

from core.errors import StoreBusy, StoreDamaged, StoreError, StoreFull
from core.store.care import Problem, Report, common_problems, no_room, repairable, summary
from core.store.copying import RECOUNT, copy_all, counts
from core.store.database import MIGRATION_SECONDS
from core.store.locks import Queue
from core.store.sql.store import SqlStore
from core.store.sqlite.backups import backup_stem, backups_of, remove_database, save, verify
from core.store.sqlite.connection import connect
from core.store.sqlite.errors import NOT_WRITABLE, code_of, is_damage, reason, sqlite_error
from core.store.sqlite.files import APPLICATION_ID, check_usable
from core.store.sqlite.recovering import recover_file
from core.store.sqlite.store import SqliteStore
from core.store.sqlite.swap import put_in_place

MOST_SHOWN = 5  # problems reported by SQLite itself


class SqliteCare:
    """Implements care.Care, which describes the methods."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.backups = os.path.join(os.path.dirname(place), "backups")

    def check(self) -> Report:
        self._require_file()
        size = f"{os.path.getsize(self.place) / 1e6:,.1f} MB"
        problems = self._structure()
        if problems:
            return Report(f"{self.place}, {size}", tuple(problems))
        try:
            with closing(SqliteStore(self.place)) as store:
                database = store.database
                with database.snapshot():
                    found = [*self._references(store), *common_problems(database)]
                    about = f"{self.place}: {summary(counts(database))}, {size}"
            found += [*self._index(), *self._drill()]
        except StoreDamaged as problem:
            return Report(f"{self.place}, {size}", (Problem("structure", problem.message),))
        return Report(about, tuple(found))

    def _require_file(self) -> None:
        if not os.path.exists(self.place):
            raise StoreError(
                f"There is no session database at {self.place}.",
                "Name it with --database-url, or start a chat.",
            )

    def _structure(self) -> list[Problem]:
        """Return what SQLite's integrity check finds. Raises StoreError for a database that is not
        ours.
        """
        try:
            with closing(self._connect()) as connection:
                application = connection.execute("PRAGMA application_id").fetchone()[0]
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                said = [
                    row[0] for row in connection.execute(f"PRAGMA integrity_check({MOST_SHOWN})")
                ]
        except sqlite3.DatabaseError as problem:
            if not is_damage(problem):
                raise StoreError(
                    f"{self.place} cannot be checked: {reason(problem)}.",
                    "Close other programs that use it, then try again.",
                ) from None
            return [Problem("structure", f"SQLite cannot read it: {reason(problem)}.")]
        if said != ["ok"]:
            return [Problem("structure", line) for line in said[:MOST_SHOWN]]
        if application != APPLICATION_ID and version == 0 and os.path.getsize(self.place):
            raise StoreError(
                f"{self.place} is not a session database.", "Name another file with --database-url."
            )
        return []

    def _connect(self) -> sqlite3.Connection:
        return connect(f"file:{pathname2url(self.place)}?mode=rw")

    def _references(self, store: SqliteStore) -> list[Problem]:
        lost = store.database.read("PRAGMA foreign_key_check")
        return (
            [
                Problem(
                    "structure",
                    f"{len(lost):,} rows belong to a session or message that is missing.",
                )
            ]
            if lost
            else []
        )

    def _index(self) -> list[Problem]:
        """Compare the search index with the messages, in a write transaction that is rolled back.
        """
        with closing(self._connect()) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(
                    "INSERT INTO messages_fts (messages_fts, rank) VALUES ('integrity-check', 1)"
                )
            except sqlite3.DatabaseError as problem:
                if code_of(problem) != sqlite3.SQLITE_CORRUPT:
                    raise sqlite_error(problem, self.place) from None
                return [Problem("index", "The search index does not match the messages.")]
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        return []

    def _drill(self) -> list[Problem]:
        """Restore the newest backup into a temporary directory: each of its messages must be in
        the database or have been deleted.
        """
        kept = backups_of(self.backups, backup_stem(self.place))
        if not kept:
            return []
        try:
            with prepared_backup(kept[-1]) as prepared, closing(self._connect()) as connection:
                connection.execute("ATTACH ? AS backup", (prepared,))
                missing = connection.execute(_MISSING).fetchone()[0]
        except sqlite3.Error as problem:
            raise sqlite_error(problem, self.place) from None
        except StoreError as problem:
            return [
                Problem(
                    "backup",
                    f"The newest backup {kept[-1]} cannot be restored: {reason(problem)}. "
                    "Make a new one with --db-backup.",
                )
            ]
        if missing:
            return [
                Problem(
                    "backup",
                    f"{missing:,} messages of the newest backup {kept[-1]} are not "
                    "in the database. --db-restore FILE restores a backup; the "
                    "current database is then renamed.",
                )
            ]
        return []

    # ---- repair

    def repair(self) -> list[str]:
        report = self.check()
        if not repairable(report.problems):
            return []
        if all(problem.kind != "structure" for problem in report.problems):
            try:
                return self._rebuild()
            except sqlite3.Error as problem:
                if not is_damage(problem):
                    raise sqlite_error(problem, self.place) from problem
                # there is more damage than the check saw
        partial = f"{self.place}.partial"
        try:
            done = recover_file(self.place, partial)
            done.append(f"The damaged file is kept as {self._swap(partial)}")
        except OSError as problem:
            raise no_room(partial, problem) from problem
        finally:
            remove_database(partial)
        return done

    def _rebuild(self) -> list[str]:
        """Rebuild indexes and counts from the intact tables."""
        with self._alone(), closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("REINDEX")
            connection.execute("INSERT INTO messages_fts (messages_fts) VALUES ('rebuild')")
            connection.execute(RECOUNT)
            connection.execute("COMMIT")
        return ["The indexes and counts were rebuilt; no message was changed."]

    # ---- backup and restore

    def backup(self, path: str) -> None:
        self._require_file()
        try:
            with closing(self._connect()) as connection:
                check_usable(connection, self.place)
                save(connection, path)
        except OSError as problem:
            raise no_room(path, problem) from problem
        except sqlite3.Error as problem:
            raise _backup_error(problem, self.place, path) from problem

    def restore(self, path: str) -> str:
        partial = f"{self.place}.partial"
        try:
            prepare(path, partial)
            return self._swap(partial)
        except OSError as problem:
            raise StoreError(
                f"{path} cannot be restored: {problem.strerror}.", "Nothing was changed."
            ) from problem
        finally:
            remove_database(partial)

    def _swap(self, partial: str) -> str:
        with self._alone():
            return put_in_place(self.place, partial)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other programs from writing."""
        queue = Queue(f"{self.place}-queue", MIGRATION_SECONDS)
        try:
            with queue as ready:
                if not ready:
                    raise StoreBusy(
                        f"Other programs keep {self.place} busy.", "Close them, then try again."
                    )
                yield
        finally:
            queue.close()

    # ---- size

    def shrink(self) -> tuple[int, int]:
        self._require_file()
        before = self._bytes()
        try:
            with closing(SqliteStore(self.place)) as store, self._alone():
                store.database.read("SELECT 1")
                with closing(self._connect()) as connection:
                    connection.execute(
                        "INSERT INTO messages_fts (messages_fts) VALUES ('optimize')"
                    )
                    connection.execute("VACUUM")
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as problem:
            raise sqlite_error(problem, self.place) from problem
        return before, self._bytes()

    def _bytes(self) -> int:
        return sum(
            os.path.getsize(self.place + end)
            for end in ("", "-wal")
            if os.path.exists(self.place + end)
        )


def copy_into_file(source: SqlStore, path: str) -> None:
    """Write everything in `source` to a new SQLite file, which appears only when it is complete.

    Raises StoreError, OSError and sqlite3.Error.
    """
    partial = f"{path}.partial"
    remove_database(partial)
    try:
        with closing(SqliteStore(partial)) as target:
            copy_all(source.database, target.database)
        os.replace(partial, path)
    finally:
        remove_database(partial)


@contextmanager
def prepared_backup(path: str) -> Iterator[str]:
    """Yield a checked and migrated copy of a backup in a temporary directory. Raises StoreError."""
    with tempfile.TemporaryDirectory(prefix="stream-chat-") as scratch:
        prepared = os.path.join(scratch, "sessions.db")
        try:
            prepare(path, prepared)
        except OSError as problem:
            raise StoreError(
                f"{path} cannot be read: {problem.strerror}.", "Nothing was changed."
            ) from problem
        yield prepared


def prepare(path: str, prepared: str) -> None:
    """Copy, check and migrate a backup. Raises StoreError and OSError."""
    remove_database(prepared)
    os.makedirs(os.path.dirname(prepared), mode=0o700, exist_ok=True)
    for end in ("", "-wal"):
        if not end or os.path.exists(path + end):
            shutil.copyfile(path + end, prepared + end)
            os.chmod(prepared + end, 0o600)
    try:
        with closing(connect(prepared)) as connection:
            check_usable(connection, path)
        verify(prepared)
    except sqlite3.Error as problem:
        raise StoreDamaged(
            f"{path} is damaged or is not a session database: {reason(problem)}.",
            "Try an older backup, or repair this one: --db-repair --database-url FILE",
        ) from problem
    with closing(SqliteStore(prepared)) as store:  # migrates an earlier version
        store.database.read("SELECT count(*) FROM messages")


_MISSING = """SELECT count(*) FROM backup.messages WHERE id NOT IN (SELECT id FROM main.messages)
    AND session_id NOT IN (SELECT id FROM main.deleted_sessions)"""


def _backup_error(problem: sqlite3.Error, place: str, path: str) -> StoreError:
    """Return the error of a failed backup; if the disk failed, it was the new file's."""
    if code_of(problem) in (sqlite3.SQLITE_FULL, *NOT_WRITABLE):
        return StoreFull(f"{path} cannot be written: {reason(problem)}.",
                         "Free some space or name another file with --output.")
    return sqlite_error(problem, place)
