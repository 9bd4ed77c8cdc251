"""The files of a SQLite database: private to their owner, distinguished from other programs'."""

from __future__ import annotations

import os
import sqlite3

from core.errors import StoreForeign, StoreTooNew
from core.store.sqlite.connection import connect
from core.store.version import SCHEMA_VERSION

APPLICATION_ID = 0x53434854    # "SCHT": marks a SQLite file as ours


def file_at(path: str) -> tuple[int, int] | None:
    """Return the device and inode of the file at this path; None if it does not exist."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def create_private(path: str) -> None:
    """Create the file and its directory with access for the owner only. Raises OSError.

    SQLite gives its side files the same mode. If the file was lost but its log remains, the log is
    renamed first, because SQLite would delete it.
    """
    status = file_at(path)
    if (status is None or not os.path.getsize(path)) and os.path.exists(f"{path}-wal"):
        from core.store.sqlite.swap import set_log_aside
        set_log_aside(path)
    if status is None:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def connect_to_read(path: str) -> sqlite3.Connection | None:
    """Open the database for reading where nothing can be written (a full or read-only disk); return
    None if that fails too.

    SQLite cannot create its side files there. Without a log the file is read directly; with a log
    that a killed program left, a copy elsewhere is read.
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
            connection = connect(os.path.join(copy, "sessions"))
        else:
            connection = connect(f"file:{pathname2url(path)}?immutable=1")
        if connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION:
            connection.execute("SELECT count(*) FROM sessions").fetchone()
            return connection
        connection.close()
    except (OSError, sqlite3.Error):
        pass   # the caller reports why it cannot be written
    finally:
        if copy:
            shutil.rmtree(copy, ignore_errors=True)   # the connection keeps its open files
    return None


def check_usable(connection: sqlite3.Connection, place: str) -> int:
    """Return the schema version. Raises StoreForeign, StoreTooNew and sqlite3.Error."""
    version, application = (connection.execute(f"PRAGMA {name}").fetchone()[0]
                            for name in ("user_version", "application_id"))
    if application != APPLICATION_ID:
        _check_ours(connection, application, place)
    if version > SCHEMA_VERSION:
        raise StoreTooNew(
            f"The session database {place} was made by a newer version of this program.",
            "Update the program, or name another file with --database-url.")
    return int(version)


def _check_ours(connection: sqlite3.Connection, application: int, place: str) -> None:
    """Raise StoreForeign for another program's database.

    Our databases had no mark before version 5, and a new file has no tables.
    """
    tables = {row[0]
              for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not application and (not tables or "_sqlite_migrations" in tables and connection.execute(
            "SELECT 1 FROM _sqlite_migrations WHERE migration_set = 'stream_chat'").fetchone()):
        return
    raise StoreForeign(f"{place} is a database of another program; nothing in it was changed.",
                       "Name another file with --database-url.")
