"""Makes, checks and finds backups, which are SQLite files."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from contextlib import closing, suppress

from core.store.sqlite.connection import connect
from core.store.version import SCHEMA_VERSION

KEPT = 7  # backups to keep; older ones are deleted
_STAMP = "%Y%m%d-%H%M%S"


def save(connection: sqlite3.Connection, path: str) -> None:
    """Write a checked snapshot of a database to one file, completely or not at all.

    Raises OSError and sqlite3.Error.
    """
    partial = f"{path}.partial"
    remove_database(partial)
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), mode=0o700, exist_ok=True)
        os.close(os.open(partial, os.O_CREAT | os.O_RDWR, 0o600))
        connection.execute("VACUUM INTO ?", (partial,))
        verify(partial)
        sync(partial)
        os.replace(partial, path)
    finally:
        remove_database(partial)


def save_beside(connection: sqlite3.Connection, place: str) -> str:
    """Save a snapshot in the backup directory beside a database; return its path."""
    path = new_backup(os.path.join(os.path.dirname(place), "backups"), backup_stem(place))
    save(connection, path)
    return path


def verify(path: str) -> None:
    """Check that a file is an intact database of ours, and switch it to WAL mode. Raises
    sqlite3.Error.
    """
    with closing(connect(path)) as connection:
        said = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if said != "ok":
            raise sqlite3.DatabaseError(said)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.execute(
            "SELECT count(*) FROM messages JOIN sessions ON sessions.id = session_id"
        ).fetchone()
        if version > SCHEMA_VERSION:
            raise sqlite3.DatabaseError("it was made by a newer version of this program")
        connection.execute("PRAGMA journal_mode = WAL")


def sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_database(path: str) -> None:
    """Delete a database file that we made, with SQLite's side files."""
    for end in ("", "-wal", "-shm", "-journal", "-queue"):
        with suppress(FileNotFoundError):
            os.unlink(path + end)


def backup_stem(place: str) -> str:
    """Return the prefix of its backups' names: the name of the file or PostgreSQL database."""
    return os.path.splitext(re.sub(r"[^\w.-]+", "-", place.rpartition("/")[2]) or "sessions")[0]


def backups_of(directory: str, stem: str) -> list[str]:
    """Return the paths of the backups in a directory, newest last."""
    named = re.compile(re.escape(stem) + r"-\d{8}-\d{6}(-\d+)?\.db")
    with suppress(OSError):
        return [
            os.path.join(directory, name)
            for name in sorted(os.listdir(directory))
            if named.fullmatch(name)
        ]
    return []


def new_backup(directory: str, stem: str) -> str:
    """Return an unused backup path, creating its directory if needed."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    base = os.path.join(directory, f"{stem}-{time.strftime(_STAMP)}")
    number, path = 1, f"{base}.db"
    while os.path.exists(path):
        number += 1
        path = f"{base}-{number}.db"
    return path


def keep_newest(directory: str, stem: str, most: int = KEPT) -> None:
    for path in backups_of(directory, stem)[:-most]:
        remove_database(path)
