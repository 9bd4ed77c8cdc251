"""Backups as SQLite files: how one is made and checked, and where they are kept."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from contextlib import closing, suppress

from core.store.sqlite.connection import connect
from core.store.version import SCHEMA_VERSION

KEPT = 7  # backups in their directory; the oldest go
_STAMP = "%Y%m%d-%H%M%S"


def save(connection: sqlite3.Connection, path: str) -> None:
    """Write a database as one file, as it is at this moment, and check it: all of it or nothing.

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
    """The same into the directory of backups beside a database; returns the name."""
    path = new_backup(os.path.join(os.path.dirname(place), "backups"), backup_stem(place))
    save(connection, path)
    return path


def verify(path: str) -> None:
    """Check that it is ours and sound, and set the way of writing. Raises sqlite3.Error."""
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
    """A file of our own making, with what SQLite puts beside it."""
    for end in ("", "-wal", "-shm", "-journal", "-queue"):
        with suppress(FileNotFoundError):
            os.unlink(path + end)


def backup_stem(place: str) -> str:
    """What the names of its backups begin with: the name of the file or the PostgreSQL database."""
    return os.path.splitext(re.sub(r"[^\w.-]+", "-", place.rpartition("/")[2]) or "sessions")[0]


def backups_of(directory: str, stem: str) -> list[str]:
    """The backups that are kept there, the newest last."""
    named = re.compile(re.escape(stem) + r"-\d{8}-\d{6}(-\d+)?\.db")
    with suppress(OSError):
        return [
            os.path.join(directory, name)
            for name in sorted(os.listdir(directory))
            if named.fullmatch(name)
        ]
    return []


def new_backup(directory: str, stem: str) -> str:
    """The name of the next one; its directory is made."""
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
