"""Creates and migrates our schema in a PostgreSQL database, and grants access to team members."""

from __future__ import annotations

from core.errors import StoreForeign, StoreTooNew
from core.store.database import MIGRATION_SECONDS
from core.store.schema import migrate_postgres
from core.store.version import SCHEMA_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from psycopg import Connection

SCHEMA = "stream_chat"
OUR_TABLES = ("meta", "sessions", "messages", "chunks", "model_calls", "embeddings")
MEMBERS_ROLE = "members_role"  # the key in `meta` that names the members' group role
_MIGRATION_LOCK = 7236591
_TABLES_IN = (
    "SELECT relname::text FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid"
    " = relnamespace WHERE relkind IN ('r', 'p') AND nspname = %s"
)
_OTHER_TABLES = (
    "SELECT 1 FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid ="
    " relnamespace WHERE relkind IN ('r', 'p', 'v', 'm') AND nspname NOT LIKE 'pg\\_%%' AND nspname"
    " <> 'information_schema' LIMIT 1"
)
# The members' rights on tables; policies restrict the rows (core/store/owners.py). The owner and
# the session of a row cannot be changed.
_GRANTS = (
    "USAGE ON SCHEMA {schema}",
    "SELECT ON {schema}.meta, {schema}.accounts",
    (
        "SELECT, INSERT, DELETE ON {schema}.sessions, {schema}.messages, {schema}.chunks,"
        " {schema}.deleted_sessions"
    ),
    (
        "UPDATE (title, words, model, updated, used, message_count, settings, turn, pinned, shelf,"
        " trashed, tags) ON {schema}.sessions"
    ),
    "UPDATE (state, active, model, finish, usage, parts, words, tools) ON {schema}.messages",
    "SELECT, INSERT, DELETE ON {schema}.model_calls",
    "SELECT, INSERT, UPDATE, DELETE ON {schema}.embeddings, {schema}.shares, {schema}.desks",
    "SELECT, UPDATE, USAGE ON SEQUENCE {schema}.sessions_use",
)
_SERVER_GRANTS = ("INSERT, UPDATE, DELETE ON {schema}.accounts",)


def quoted(name: str) -> str:
    """Quote an identifier for a statement."""
    return '"' + name.replace('"', '""') + '"'


def version_of(connection: Connection[Any], earlier: str = "") -> int:
    """Return the number of applied migrations; 0 without our tables. `earlier` is the schema of a
    version before 5.
    """
    schema = earlier or SCHEMA
    if "meta" not in _tables(connection, schema):
        return 0
    row = connection.execute(
        f"SELECT value FROM {quoted(schema)}.meta WHERE key = 'schema_version'".encode()
    ).fetchone()
    return int(row[0]) if row else 0


def bring_up_to_date(connection: Connection[Any], place: str, *, share: bool) -> None:
    """Create or migrate the schema; if several programs start at once, one does it. Raises
    StoreTooNew and StoreForeign.
    """
    run = connection.execute
    with connection.transaction():
        run(f"SET LOCAL lock_timeout = '{MIGRATION_SECONDS}s'")
        run("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
        earlier = _schema_of_an_earlier_version(connection)
        applied = version_of(connection, earlier)
        if applied > SCHEMA_VERSION:
            raise StoreTooNew(
                f"The session database {place} was made by a newer version of this program.",
                "Update the program, or name another database with --database-url.",
            )
        if not applied and not share and run(_OTHER_TABLES).fetchone():
            raise StoreForeign(
                f"{place} is a database of another program; nothing in it was changed.",
                f"To keep sessions in it too, in a schema {SCHEMA}, name it with --database-url.",
            )
        if applied < SCHEMA_VERSION:
            make_schema(connection, earlier, applied)


def make_schema(connection: Connection[Any], earlier: str = "", applied: int = 0) -> None:
    """Apply the migrations after the first `applied` ones. The caller holds the transaction."""
    run = connection.execute
    if not run("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s", (SCHEMA,)).fetchone():
        run(f"CREATE SCHEMA {SCHEMA}")
    for table in OUR_TABLES if earlier else ():
        if table in _tables(connection, earlier):
            run(f"ALTER TABLE {quoted(earlier)}.{table} SET SCHEMA {SCHEMA}".encode())
    run(f"SET LOCAL search_path = {SCHEMA}")
    migrate_postgres(lambda sql, values=(): run(sql.encode(), values), applied)
    set_meta(connection, "schema_version", str(SCHEMA_VERSION))
    members = get_meta(connection, MEMBERS_ROLE)
    if members:
        grant(connection, members)


def grant(connection: Connection[Any], members: str) -> None:
    """Grant the rights of the members' group role and of the page servers."""
    for right in _GRANTS:
        connection.execute(f"GRANT {right.format(schema=SCHEMA)} TO {quoted(members)}".encode())
    for (server,) in connection.execute(f"SELECT role FROM {SCHEMA}.servers").fetchall():
        for right in _SERVER_GRANTS:
            connection.execute(f"GRANT {right.format(schema=SCHEMA)} TO {quoted(server)}".encode())


def make_anew(connection: Connection[Any], aside: str) -> None:
    """Rename our schema to `aside` and create an empty one with the same rights. The caller holds
    the transaction.
    """
    members = get_meta(connection, MEMBERS_ROLE)
    servers = connection.execute(f"SELECT role FROM {SCHEMA}.servers").fetchall()
    connection.execute(f"ALTER SCHEMA {SCHEMA} RENAME TO {quoted(aside)}".encode())
    make_schema(connection)
    if members:
        set_meta(connection, MEMBERS_ROLE, members)
        for row in servers:
            connection.execute(f"INSERT INTO {SCHEMA}.servers (role) VALUES (%s)", row)
        grant(connection, members)


def get_meta(connection: Connection[Any], key: str) -> str:
    row = connection.execute(f"SELECT value FROM {SCHEMA}.meta WHERE key = %s", (key,)).fetchone()
    return str(row[0]) if row else ""


def set_meta(connection: Connection[Any], key: str, value: str) -> None:
    connection.execute(
        f"INSERT INTO {SCHEMA}.meta (key, value) VALUES (%s, %s) "
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, value),
    )


def _tables(connection: Connection[Any], schema: str) -> set[str]:
    return {row[0] for row in connection.execute(_TABLES_IN, (schema,)).fetchall()}


def _schema_of_an_earlier_version(connection: Connection[Any]) -> str:
    """Return the schema with the tables of a version before 5; empty if there is none."""
    row = connection.execute("SELECT current_schema()").fetchone()
    schema = str(row[0]) if row and row[0] else ""
    if schema in ("", SCHEMA) or "meta" in _tables(connection, SCHEMA):
        return ""
    return (
        schema if {"meta", "sessions", "messages", "chunks"} <= _tables(connection, schema) else ""
    )
