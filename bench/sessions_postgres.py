"""Copies the database of bench.sessions_bench into PostgreSQL."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing

SESSIONS = "id, name, title, words, model, created, updated, used, message_count"
MESSAGES = "id, session_id, position, role, state, created, parts, words, parent"


def copy_into(url: str, path: str) -> None:
    """Fill the empty database at `url` with the data that bench.sessions_bench has made in `path`.
    """
    import psycopg

    from core.store.words import POSTGRES_WORDS
    from db import open_store

    open_store(url).close()
    with (
        psycopg.connect(url, autocommit=True) as connection,
        closing(sqlite3.connect(path)) as source,
    ):
        connection.execute("SET search_path = stream_chat")
        connection.execute("DROP INDEX messages_words")
        for table, columns in (("sessions", SESSIONS), ("messages", MESSAGES)):
            with (
                connection.cursor() as cursor,
                cursor.copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as copy,
            ):
                for row in rows_of(source, table, columns):
                    copy.write_row(row)
        connection.execute(
            f"CREATE INDEX messages_words ON messages USING gin ({POSTGRES_WORDS})".encode()
        )
        connection.execute("VACUUM ANALYZE")


def rows_of(source: sqlite3.Connection, table: str, columns: str) -> Iterator[Sequence[object]]:
    yield from source.execute(f"SELECT {columns} FROM {table} ORDER BY rowid")


if __name__ == "__main__":
    begun = time.monotonic()
    copy_into(*sys.argv[1:3])
    print(f"copied in {time.monotonic() - begun:.0f} s", file=sys.stderr)
