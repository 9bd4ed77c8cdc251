"""Copies a whole database into another, SQLite or PostgreSQL, and compares the two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from core.errors import StoreBusy, StoreError
from core.store.database import Database

BATCH = 500  # rows per read and write
Rows = tuple[str, Sequence[Sequence[object]]]  # a statement and the values of each of its rows


class Table(NamedTuple):
    """A table to copy. Rows are read in the order of the columns `key`. With `own`, only the
    reading user's rows are copied, since the target holds one user's.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    own: bool = False


# Tables come after those that they refer to. Which program's turn runs (`turn`, `owner`) is not
# copied: a streaming reply then counts as left by a program that has ended, and the next start
# completes it.
TABLES = (
    Table("deleted_sessions", ("id",), ("id",)),
    Table(
        "sessions",
        ("id",),
        (
            "id",
            "title",
            "model",
            "created",
            "updated",
            "message_count",
            "parent",
            "settings",
            "name",
            "used",
            "pinned",
            "shelf",
            "trashed",
            "tags",
            "words",
            "member",
        ),
    ),
    Table("shares", ("session_id", "reader"), ("session_id", "reader", "may_write")),
    Table("accounts", ("name",), ("name", "password", "created", "seal", "subject")),
    Table(
        "messages",
        ("id",),
        (
            "id",
            "session_id",
            "position",
            "role",
            "state",
            "active",
            "created",
            "digest",
            "model",
            "finish",
            "usage",
            "parts",
            "words",
            "tools",
            "parent",
        ),
    ),
    Table("chunks", ("message_id", "seq"), ("message_id", "seq", "kind", "part", "text", "extra")),
    Table(
        "model_calls",
        ("id",),
        (
            "id",
            "created",
            "session_id",
            "provider",
            "model",
            "host",
            "first_seconds",
            "seconds",
            "input_tokens",
            "output_tokens",
            "cached_tokens",
            "speed",
            "cost",
            "retries",
            "fallbacks",
            "finish",
            "error",
            "member",
        ),
    ),
    Table("embeddings", ("id",), ("id", "model", "hash", "vector"), own=True),
)


def insertion(table: str, columns: Sequence[str]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) ON CONFLICT DO NOTHING"


def all_rows(source: Database) -> Iterator[Rows]:
    """Yield insertions for every row of a database. Call it within source.snapshot()."""
    for table in TABLES:
        sql = insertion(table.name, table.columns)
        for batch in _batches(source, table):
            yield sql, batch


def _batches(source: Database, table: Table) -> Iterator[list[tuple[object, ...]]]:
    keys, marks = ", ".join(table.key), ", ".join("?" * len(table.key))
    places = [table.columns.index(name) for name in table.key]
    last: Sequence[object] = ()
    own = source.mine if table.own else "1 = 1"
    while True:
        after = f"AND ({keys}) > ({marks})" if last else ""
        rows = source.read(
            f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE {own} {after} "
            f"ORDER BY {keys} LIMIT {BATCH}",
            last,
        )
        if rows:
            yield [tuple(map(_plain, row)) for row in rows]
        if len(rows) < BATCH:
            return
        last = [rows[-1][place] for place in places]


def _plain(value: Any) -> object:
    """Convert a value of a PostgreSQL type to the type SQLite stores."""
    if isinstance(value, memoryview):
        return bytes(value)
    return f"{value.int:032x}" if hasattr(value, "int") else value


def counts(database: Database) -> dict[str, int]:
    """Count the rows of each table."""
    return {
        table.name: int(database.read(f"SELECT count(*) FROM {table.name}")[0][0])
        for table in TABLES
    }


def fingerprint(database: Database) -> dict[str, tuple[int, int]]:
    """Return each table's row count and a checksum of its rows. The owner of a row is left out:
    rows of a single-user database belong to whoever copies them.
    """
    found = {}
    for table in TABLES:
        compared = len(table.columns) - (table.columns[-1] == "member")
        count = total = 0
        for batch in _batches(database, table):
            count += len(batch)
            total = (
                total + sum(
                    crc32(repr(row[:compared]).encode("utf-8", "surrogatepass")) for row in batch
                )
            ) & (1 << 64) - 1
        found[table.name] = count, total
    return found


def copy_all(source: Database, target: Database) -> dict[str, int]:
    """Copy everything into an empty database in one transaction, and compare; return counts().

    Raises StoreError when the target is not empty, or when the source changes meanwhile.
    """
    held = {name: count for name, count in counts(target).items() if count}
    if held:
        raise StoreError(
            f"{target.place} is not empty: it holds {held.get('sessions', 0):,} sessions. "
            "Nothing was copied.",
            "Name an empty database, or add sessions to this one with --export-all and --import.",
        )
    with source.snapshot():
        wanted = fingerprint(source)
        target.load(all_rows(source), lambda: _compare(wanted, target))
    with source.snapshot():
        newer = source.read(_NEWEST)
    if newer != target.read(_NEWEST):
        target.load([(f"DELETE FROM {table.name}", [()]) for table in reversed(TABLES)])
        raise StoreBusy(
            f"Another program wrote to {source.place} meanwhile; nothing was copied.",
            "Close it, then try again.",
        )
    return {name: count for name, (count, _) in wanted.items()}


_NEWEST = (
    "SELECT count(*), coalesce(max(used), 0), (SELECT count(*) FROM messages), "
    "(SELECT count(*) FROM chunks) FROM sessions"
)


def _compare(wanted: dict[str, tuple[int, int]], target: Database) -> None:
    found = fingerprint(target)
    wrong = [name for name in wanted if wanted[name] != found[name]]
    if wrong:
        raise StoreError(
            f"The copy in {target.place} differs from the original ({', '.join(wrong)}); "
            "it was discarded.",
            "Please report this; the original is unchanged.",
        )


_SHOWN = "(SELECT count(*) FROM messages WHERE session_id = sessions.id AND active = 1)"
RECOUNT = f"UPDATE sessions SET message_count = {_SHOWN} WHERE message_count <> {_SHOWN}"
