"""The tables that sessions are kept in, as ordered migrations for both databases;
loaded only when a database is not up to date.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from core.store import new_tables
from core.store.acting import ACTING_POSTGRES
from core.store.member_index import MEMBERS_POSTGRES
from core.store.message_json import read_message
from core.store.news import NEWS_POSTGRES, SEALS_OF_BOTH
from core.store.owners import DESKS_POSTGRES, OWNERS_OF_BOTH, OWNERS_POSTGRES
from core.store.text import from_database
from core.store.title_index import TITLES_POSTGRES
from core.store.words import POSTGRES_WORDS, message_words, words_of

# One row per migration, in order, never changed once released: name, statements for both databases.
# {key} is the type of a 64-bit key: SQLite makes only INTEGER PRIMARY KEY the row's own number,
# PostgreSQL's integer has 32 bits. {listed} holds the columns that a list of sessions is sorted by
# and, in SQLite, all that it shows, so that the list is read from the index alone.
SQLITE = {"key": "integer", "bytes": "blob", "listed": "updated, id, title, model, message_count",
          "listed_by_use": "used, id, name, title, model, created, updated, message_count, parent",
          "identity": "text",
          "listed_by_shelf": "shelf, pinned, used, id, name, title, model, created, updated, "
          "message_count, parent, tags",
          "me": "''"}
POSTGRES = {"key": "bigint", "bytes": "bytea", "listed": "updated", "listed_by_use": "used",
            "identity": "uuid",
            "listed_by_shelf": "shelf, pinned, used", "me": "session_user", "schema": "stream_chat",
            "words": POSTGRES_WORDS.replace("'", "''")}
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
    # Messages had 63-bit IDs made of milliseconds and random bits: two made in one millisecond
    # could collide. Old IDs keep their values as 128-bit numbers, smaller than all new ones.
    # Sessions keep their text IDs, which also become their names.
    ("identity", ()),
    # The history of a session is a tree: `parent` is the previous message of the same branch (all
    # zeros for none), so that undone and edited messages stay reachable. A session can be pinned,
    # tagged, archived and in the trash.
    ("tree_and_shelves", (
        "ALTER TABLE messages ADD COLUMN parent {identity}",
        "ALTER TABLE sessions ADD COLUMN pinned integer NOT NULL DEFAULT 0",
        "ALTER TABLE sessions ADD COLUMN shelf text NOT NULL DEFAULT 'open'",
        "ALTER TABLE sessions ADD COLUMN trashed double precision",
        "ALTER TABLE sessions ADD COLUMN tags text NOT NULL DEFAULT ''",
        "DROP INDEX sessions_listed",
        "CREATE INDEX sessions_listed ON sessions ({listed_by_shelf})",
        "CREATE INDEX sessions_used ON sessions (used)",
    )),
    # Both databases search words that we make (core/store/words.py) instead of using their own
    # parsers, so that they find the same, including names such as C++ and text without spaces. The
    # words replace a copy of the text.
    ("words", ()),
    # Each session has an owner, who may share it (core/store/owners.py).
    ("owners", OWNERS_OF_BOTH),
    # The work of page servers, so that one finishes what another left unfinished.
    ("desks", ()),
    # Writes are announced (core/store/news.py), and browsers can be signed out.
    ("news_and_seals", SEALS_OF_BOTH),
    # Titles are found by an index in PostgreSQL; SQLite looks through 100,000 of them in 20 ms.
    ("titles", ()),
    # What a member lists and searches in PostgreSQL (core/store/member_index.py).
    ("members", ()),
    # Who a statement in PostgreSQL runs for (core/store/acting.py).
    ("acting", ()),
)

# The two databases differ too much here. SQLite's full-text index refers to rows by number, so each
# message keeps one; the old ID becomes that number, and the index stays valid.
IDENTITY_SQLITE = (
    """CREATE TABLE new_messages (
        number integer PRIMARY KEY, id text NOT NULL UNIQUE,
        session_id text NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
        position integer NOT NULL, role text NOT NULL, state text NOT NULL, active integer NOT NULL DEFAULT 1,
        created double precision NOT NULL, owner text, digest integer, model text, finish text, usage text,
        parts text NOT NULL, text text NOT NULL)""",
    """INSERT INTO new_messages (number, id, session_id, position, role, state, active, created, owner, model, finish, usage,
                                 parts, text)
        SELECT id, printf('%032x', id), session_id, position, role, state, active, created, owner, model, finish, usage, parts, text
        FROM messages ORDER BY id""",
    """CREATE TABLE new_chunks (
        message_id text NOT NULL REFERENCES messages (id) ON DELETE CASCADE, seq integer NOT NULL,
        kind text NOT NULL, part integer NOT NULL, text text NOT NULL, extra text, PRIMARY KEY (message_id, seq))""",
    "INSERT INTO new_chunks SELECT printf('%032x', message_id), seq, kind, part, text, extra FROM "
    "chunks",
    "DROP TABLE chunks",
    "DROP TABLE messages",
    "ALTER TABLE new_messages RENAME TO messages",
    "ALTER TABLE new_chunks RENAME TO chunks",
    "CREATE INDEX messages_session ON messages (session_id, position)",
    "CREATE INDEX messages_streaming ON messages (state) WHERE state = 'streaming'",
    """CREATE TRIGGER messages_ai AFTER INSERT ON messages BEGIN
        INSERT INTO messages_fts (rowid, text) VALUES (new.number, new.text); END""",
    """CREATE TRIGGER messages_ad AFTER DELETE ON messages BEGIN
        INSERT INTO messages_fts (messages_fts, rowid, text) VALUES ('delete', old.number, old.text); END""",
    """CREATE TRIGGER messages_au AFTER UPDATE OF text ON messages BEGIN
        INSERT INTO messages_fts (messages_fts, rowid, text) VALUES ('delete', old.number, old.text);
        INSERT INTO messages_fts (rowid, text) VALUES (new.number, new.text); END""",
    "ALTER TABLE model_calls RENAME TO old_calls",
    """CREATE TABLE model_calls (
        id text PRIMARY KEY NOT NULL, created double precision NOT NULL, session_id text NOT NULL, provider text NOT NULL,
        model text NOT NULL, host text NOT NULL, first_seconds double precision, seconds double precision NOT NULL,
        input_tokens integer, output_tokens integer, cached_tokens integer, speed double precision, cost double precision,
        retries integer NOT NULL, fallbacks integer NOT NULL, finish text, error text)""",
    """INSERT INTO model_calls SELECT printf('%032x', id), created, session_id, provider, model, host, first_seconds, seconds,
        input_tokens, output_tokens, cached_tokens, speed, cost, retries, fallbacks, finish, error FROM old_calls""",
    "DROP TABLE old_calls",
    "CREATE INDEX model_calls_created ON model_calls (created)",
    "ALTER TABLE embeddings RENAME TO old_embeddings",
    """CREATE TABLE embeddings (
        id text PRIMARY KEY NOT NULL, model text NOT NULL, hash text NOT NULL, vector blob NOT NULL, UNIQUE (model, hash))""",
    "INSERT INTO embeddings SELECT printf('%032x', id), model, hash, vector FROM old_embeddings",
    "DROP TABLE old_embeddings",
)
IDENTITY_POSTGRES = (
    "ALTER TABLE chunks DROP CONSTRAINT chunks_message_id_fkey",
    *(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE uuid USING lpad(to_hex({column}), 32, "
      "'0')::uuid" for table, column in (
        ("messages", "id"), ("chunks", "message_id"), ("model_calls", "id"), ("embeddings", "id"))),
    "ALTER TABLE chunks ADD CONSTRAINT chunks_message_id_fkey FOREIGN KEY (message_id) REFERENCES "
    "messages (id) ON DELETE CASCADE",
    "ALTER TABLE messages ADD COLUMN digest bigint",
)
# Both databases. `used` is the order of use, since a clock may go back. `turn` names the program
# whose turn runs. The identity of a deleted session is kept, so that a program that still has the
# session open cannot restore it.
SESSIONS_OF_BOTH = (
    "ALTER TABLE sessions ADD COLUMN name text NOT NULL DEFAULT ''",
    "ALTER TABLE sessions ADD COLUMN used bigint NOT NULL DEFAULT 0",
    "ALTER TABLE sessions ADD COLUMN turn text",
    "DROP INDEX sessions_listed",
    """UPDATE sessions SET name = id, used = ranked.place
        FROM (SELECT id AS ranked_id, row_number() OVER (ORDER BY updated, id) AS place FROM sessions) AS ranked
        WHERE ranked_id = id""",
    "CREATE INDEX sessions_listed ON sessions ({listed_by_use})",
    "CREATE INDEX sessions_named ON sessions (name)",
    "CREATE TABLE deleted_sessions (id text PRIMARY KEY)",
)

WORDS_OF_BOTH = (
    "ALTER TABLE messages RENAME COLUMN text TO words",
    "ALTER TABLE messages ADD COLUMN tools text NOT NULL DEFAULT ''",
    "ALTER TABLE sessions ADD COLUMN words text NOT NULL DEFAULT ''",
)
WORDS_SQLITE = (
    """CREATE VIRTUAL TABLE messages_fts USING fts5 (words, tools, content='messages', content_rowid='number',
        tokenize="unicode61 remove_diacritics 0 categories 'L* N* Co Mn Mc'", prefix='2 3')""",
    "INSERT INTO messages_fts (messages_fts) VALUES ('rebuild')",
    """CREATE TRIGGER messages_ai AFTER INSERT ON messages BEGIN
        INSERT INTO messages_fts (rowid, words, tools) VALUES (new.number, new.words, new.tools); END""",
    """CREATE TRIGGER messages_ad AFTER DELETE ON messages BEGIN
        INSERT INTO messages_fts (messages_fts, rowid, words, tools) VALUES ('delete', old.number, old.words, old.tools); END""",
    """CREATE TRIGGER messages_au AFTER UPDATE OF words, tools ON messages BEGIN
        INSERT INTO messages_fts (messages_fts, rowid, words, tools) VALUES ('delete', old.number, old.words, old.tools);
        INSERT INTO messages_fts (rowid, words, tools) VALUES (new.number, new.words, new.tools); END""",
)
SET = "stream_chat"     # the name under which sqlite-utils records migrations
BATCH = 500     # messages per step when words are made

# tsvector is limited to 1 MB, and a longer text would make the insert fail; the beginning of such a
# text is enough to find it by.
POSTGRES_TEXT = "to_tsvector('simple', left(text, 200000))"


def migrate_sqlite(connection: sqlite3.Connection, version: int, application: int) -> None:
    """Bring the schema up to date in one transaction, even when two programs start at once."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] < version:
            empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
            if empty and len(new_tables.MIGRATED) == version:
                _make_new(connection)
            else:
                import sqlite_utils
                _sqlite_migrations().apply(sqlite_utils.Database(connection))
            connection.execute(f"PRAGMA application_id = {application}")
            connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _make_new(connection: sqlite3.Connection) -> None:
    """Create all tables at once, which takes a tenth of the time of all migrations."""
    for statement in new_tables.STATEMENTS:
        connection.execute(statement)
    connection.executemany(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) "
        "VALUES (?, ?, strftime('%Y-%m-%d %H:%M:%f000+00:00', 'now'))",
        [(SET, name) for name in new_tables.MIGRATED])


def make_sqlite(connection: sqlite3.Connection, version: int) -> None:
    """Create the empty tables of an earlier version."""
    import sqlite_utils
    following = MIGRATIONS[version][0] if version < len(MIGRATIONS) else None
    _sqlite_migrations().apply(sqlite_utils.Database(connection), stop_before=following)
    connection.execute(f"PRAGMA user_version = {version}")


def _sqlite_migrations() -> Any:
    from sqlite_utils import Migrations
    migrations = Migrations(SET)

    def register(name: str, statements: tuple[str, ...]) -> None:
        @migrations(name=name)
        def apply(database: Any) -> None:
            for statement in statements:
                database.execute(statement.format_map(SQLITE))
            if name == "full_text_index":
                database["messages"].enable_fts(["text"], tokenize="unicode61 remove_diacritics 2",
                                                create_triggers=True)
            if name == "identity":
                for statement in (*IDENTITY_SQLITE, *SESSIONS_OF_BOTH):
                    database.execute(statement.format_map(SQLITE))
            if name == "words":
                for trigger in ("ai", "ad", "au"):
                    database.execute(f"DROP TRIGGER messages_{trigger}")
                database.execute("DROP TABLE messages_fts")
                for statement in WORDS_OF_BOTH:
                    database.execute(statement)
                _fill_words(lambda sql, values: database.execute(sql, values), "number")
                for statement in WORDS_SQLITE:
                    database.execute(statement)

    for name, statements in MIGRATIONS:
        register(name, statements)
    return migrations


def _fill_words(execute: Callable[..., Any], key: str) -> None:
    """Make the search words of all messages and titles, batch by batch."""
    for identity, title in execute("SELECT id, title FROM sessions", ()).fetchall():
        execute("UPDATE sessions SET words = ? WHERE id = ?",
                (" ".join(words_of(from_database(title))), identity))
    last: object = None
    while True:
        rows = execute(f"SELECT {key}, role, parts FROM messages "
                       f"{'' if last is None else f'WHERE {key} > ?'} ORDER BY {key} LIMIT {BATCH}",
                       () if last is None else (last,)).fetchall()
        for number, role, parts in rows:
            said, tools = message_words(
                read_message(role, None, None, None, from_database(parts))[0])
            execute(f"UPDATE messages SET words = ?, tools = ? WHERE {key} = ?",
                    (said, tools, number))
        if len(rows) < BATCH:
            return
        last = rows[-1][0]


def migrate_postgres(execute: Callable[..., Any], applied: int) -> None:
    """Apply the migrations after the first `applied` ones;
    the caller holds the transaction and the lock.
    """
    for name, statements in MIGRATIONS[applied:]:
        for statement in statements:
            execute(statement.format_map(POSTGRES))
        if name == "full_text_index":
            execute(f"CREATE INDEX messages_text ON messages USING gin ({POSTGRES_TEXT})")
        if name == "identity":
            for statement in (*IDENTITY_POSTGRES, *SESSIONS_OF_BOTH):
                execute(statement.format_map(POSTGRES))
        if name == "words":
            execute("DROP INDEX messages_text")
            for statement in WORDS_OF_BOTH:
                execute(statement)
            _fill_words(lambda sql, values: execute(sql.replace("?", "%s"), values), "id")
            execute(f"CREATE INDEX messages_words ON messages USING gin ({POSTGRES_WORDS})")
        if name == "owners":
            for statement in OWNERS_POSTGRES:
                execute(statement.format_map(POSTGRES))
        if name == "desks":
            for statement in DESKS_POSTGRES:
                execute(statement.format_map(POSTGRES))
        if name == "news_and_seals":
            for statement in NEWS_POSTGRES:
                execute(statement.format_map(POSTGRES))
        if name == "titles":
            for statement in TITLES_POSTGRES:
                execute(statement.format_map(POSTGRES))
        if name == "members":
            for statement in MEMBERS_POSTGRES:
                execute(statement.format_map(POSTGRES))
        if name == "acting":
            for statement in ACTING_POSTGRES:
                execute(statement.format_map(POSTGRES))
