"""The tables that sessions are kept in, as ordered migrations for both databases; loaded only when a database is not up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

# One row per migration, in order, never changed once released: name, statements for both databases. {key} is the type of
# a 64-bit key: SQLite makes only INTEGER PRIMARY KEY the row's own number, PostgreSQL's integer has 32 bits. {listed} is
# what a list of sessions is sorted by and, in SQLite, all that it shows, so that it is read from the index alone.
SQLITE = {"key": "integer", "bytes": "blob", "listed": "updated, id, title, model, message_count"}
POSTGRES = {"key": "bigint", "bytes": "bytea", "listed": "updated"}
MIGRATIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("sessions_and_messages", (
        """CREATE TABLE sessions (
            id text PRIMARY KEY, title text NOT NULL, model text NOT NULL,
            created double precision NOT NULL, updated double precision NOT NULL,
            message_count integer NOT NULL DEFAULT 0, parent text, settings text NOT NULL DEFAULT '{{}}')""",
        "CREATE INDEX sessions_listed ON sessions ({listed})",
        """CREATE TABLE messages (
            id {key} PRIMARY KEY, session_id text NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
            position integer NOT NULL, role text NOT NULL, state text NOT NULL, active integer NOT NULL DEFAULT 1,
            model text, created double precision NOT NULL, finish text, usage text, parts text NOT NULL, text text NOT NULL,
            owner text)""",
        "CREATE INDEX messages_session ON messages (session_id, position)",
        "CREATE INDEX messages_streaming ON messages (state) WHERE state = 'streaming'",
        """CREATE TABLE chunks (
            message_id {key} NOT NULL REFERENCES messages (id) ON DELETE CASCADE, seq integer NOT NULL,
            kind text NOT NULL, part integer NOT NULL, text text NOT NULL, extra text, PRIMARY KEY (message_id, seq))""",
        "CREATE TABLE meta (key text PRIMARY KEY, value text NOT NULL)",
    )),
    ("full_text_index", ()),
    ("model_calls", (
        """CREATE TABLE model_calls (
            id {key} PRIMARY KEY, created double precision NOT NULL, session_id text NOT NULL, provider text NOT NULL,
            model text NOT NULL, host text NOT NULL, first_seconds double precision, seconds double precision NOT NULL,
            input_tokens {key}, output_tokens {key}, cached_tokens {key}, speed double precision, cost double precision,
            retries integer NOT NULL, fallbacks integer NOT NULL, finish text, error text)""",
        "CREATE INDEX model_calls_created ON model_calls (created)",
    )),
    ("embeddings", (
        """CREATE TABLE embeddings (
            id {key} PRIMARY KEY, model text NOT NULL, hash text NOT NULL, vector {bytes} NOT NULL, UNIQUE (model, hash))""",
    )),
)

# tsvector ends at 1 MB, and a longer text would refuse the row; the head of such a text is enough to find it by.
POSTGRES_TEXT = "to_tsvector('simple', left(text, 200000))"


def migrate_sqlite(connection: sqlite3.Connection, version: int) -> None:
    """Bring the schema up to date in one transaction, also when two programs start at once."""
    import sqlite_utils
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] < version:
            _sqlite_migrations().apply(sqlite_utils.Database(connection))
            connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _sqlite_migrations() -> Any:
    from sqlite_utils import Migrations
    migrations = Migrations("stream_chat")

    def register(name: str, statements: tuple[str, ...]) -> None:
        @migrations(name=name)
        def apply(database: Any) -> None:
            for statement in statements:
                database.execute(statement.format_map(SQLITE))
            if name == "full_text_index":
                database["messages"].enable_fts(["text"], tokenize="unicode61 remove_diacritics 2", create_triggers=True)

    for name, statements in MIGRATIONS:
        register(name, statements)
    return migrations


def migrate_postgres(execute: Callable[[str], Any], applied: int) -> None:
    """Apply the migrations after the first `applied` ones; the caller holds the transaction and the lock."""
    for name, statements in MIGRATIONS[applied:]:
        for statement in statements:
            execute(statement.format_map(POSTGRES))
        if name == "full_text_index":
            execute(f"CREATE INDEX messages_text ON messages USING gin ({POSTGRES_TEXT})")
