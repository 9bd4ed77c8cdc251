"""Recovers a damaged SQLite file written by an earlier version of the program."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

from core.store.schema import make_sqlite, migrate_sqlite
from core.store.sqlite.backups import remove_database
from core.store.sqlite.connection import connect
from core.store.sqlite.salvage import DamagedFile, Value
from core.store.version import SCHEMA_VERSION

SAME = 7  # the first version whose rows have today's shape (core/store/sqlite/recovering.py)
RECOVERED = "(recovered)"  # the title of a session known only from its messages
ROLES = ("system", "user", "assistant", "tool")
TABLES = ("deleted_sessions", "sessions", "messages", "chunks", "model_calls", "embeddings")
_KINDS: dict[str, type | tuple[type, ...]] = {
    "text": str,
    "integer": int,
    "bigint": int,
    "double precision": (int, float),
    "blob": bytes,
}
# Name, type, whether a value is required, and whether it is the row number.
Column = tuple[str, str, bool, bool]


def recover_earlier(damaged: DamagedFile, path: str, application: int) -> bool:
    """Write what can be read to a new database at `path`, migrated to the current schema.

    The version is read from the header, or guessed from the rows if that is lost. Returns False
    when nothing of an earlier version can be read. Raises sqlite3.Error and OSError.
    """
    versions = [damaged.version] if damaged.version else range(SAME - 1, 0, -1)
    for version in versions:
        if not 0 < version < SAME:
            continue
        remove_database(path)
        with closing(connect(path)) as connection:
            make_sqlite(connection, version)
            if _fill(connection, damaged):
                connection.execute("PRAGMA journal_mode = WAL")
                migrate_sqlite(connection, SCHEMA_VERSION, application)
                return True
    remove_database(path)
    return False


def _fill(connection: sqlite3.Connection, damaged: DamagedFile) -> int:
    """Insert every row that matches a table; return the number of messages."""
    run = connection.execute
    columns = {table: _columns(connection, table) for table in TABLES}
    run("BEGIN")
    for table, values in _rows(damaged, columns):
        names = ", ".join(name for name, *_ in columns[table][:len(values)])
        marks = ", ".join("?" * len(values))
        run(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})", values)
    if columns["deleted_sessions"]:
        run("DELETE FROM sessions WHERE id IN (SELECT id FROM deleted_sessions)")
        run("DELETE FROM messages WHERE session_id IN (SELECT id FROM deleted_sessions)")
    run(
        "INSERT INTO sessions (id, title, model, created, updated) "
        f"SELECT session_id, '{RECOVERED}', '', min(created), max(created) FROM messages "
        "WHERE session_id NOT IN (SELECT id FROM sessions) GROUP BY session_id"
    )
    run("DELETE FROM chunks WHERE message_id NOT IN (SELECT id FROM messages)")
    if any(name == "name" for name, *_ in columns["sessions"]):
        run("UPDATE sessions SET name = id WHERE name = ''")
    run("COMMIT")
    return int(run("SELECT count(*) FROM messages").fetchone()[0])


def _columns(connection: sqlite3.Connection, table: str) -> list[Column]:
    """Return the columns of a table; empty if the version did not have it."""
    return [
        (name, kind.lower(), bool(needed), bool(key) and kind.lower() == "integer")
        for _, name, kind, needed, _, key in connection.execute(f"PRAGMA table_info({table})")
    ]


def _rows(
    damaged: DamagedFile, columns: dict[str, list[Column]]
) -> Iterator[tuple[str, list[Value]]]:
    """Yield each row that matches a table, with the name of that table."""
    for number, values in damaged.rows():
        for table, known in columns.items():
            if known and _fits(table, values, known):
                yield table, [
                    number if is_number else value for value, (*_, is_number) in zip(values, known)
                ]
                break


def _fits(table: str, values: list[Value], columns: list[Column]) -> bool:
    """Return whether a row can belong to a table; columns added at the end may be missing."""
    missing = len(columns) - len(values)
    if missing < 0 or missing and table not in ("sessions", "messages"):
        return False
    for value, (name, kind, needed, is_number) in zip(values, columns):
        if value is None:
            if needed and not is_number:
                return False
        elif not isinstance(value, _KINDS[kind]) or name == "role" and value not in ROLES:
            return False
    least = next(at for at, name in enumerate(reversed(columns)) if name[2])
    return missing <= least
