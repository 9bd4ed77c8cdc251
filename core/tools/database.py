"""Read-only SQL on SQLite files below the roots, and on databases whose URLs the user gave."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Annotated, Any
from urllib.parse import quote

from core.errors import ToolError
from core.safe_text import safe_line
from core.tools import ToolContext, tool
from core.tools.guards_files import find_file, open_file

MOST_SECONDS = 20.0
MOST_CELL = 1_000           # characters of a cell
MOST_VALUE = 16 << 20       # bytes of one value inside SQLite: zeroblob() and group_concat() would take all memory
ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})
PRAGMAS = frozenset("table_info table_xinfo table_list index_list index_info foreign_key_list".split())
REFUSED = frozenset("load_extension readfile writefile edit fts3_tokenizer".split())
# PostgreSQL: a read-only transaction does not stop what acts outside of the database.
READING = re.compile(r"\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*(select|with|values|table|show|explain)\b", re.I | re.S)
ACTING = re.compile(r"\b(pg_(?:read|ls|write|stat_file|terminate|cancel|reload|rotate|switch|logical|create|drop|export|sleep)\w*"
                    r"|lo_\w+|dblink\w*|copy|set_config|query_to_xml\w*|nextval|setval)\b", re.I)


@tool(private=True, safe=True, timeout=30)
def query_database(
    context: ToolContext,
    database: Annotated[str, "path of an SQLite file, or the name of a database that the user set up"],
    sql: Annotated[str, "one SELECT; empty shows the tables and their columns", {"maxLength": 20_000}] = "",
    max_rows: Annotated[int, "", {"minimum": 1, "maximum": 2_000}] = 100,
) -> str:
    """Run one read-only SQL query. Rows come as CSV with a header."""
    url = context.databases.get(database, "")
    if url.startswith(("postgresql:", "postgres:")):
        return _query_postgres(url, sql, max_rows)
    if url:   # a file of the user's, wherever it lies
        database = os.path.realpath(os.path.expanduser(url.removeprefix("sqlite:///")))
        context = replace(context, roots=(*context.roots, database))
    with open_sqlite(context, database) as connection:
        try:
            return _schema(connection) if not sql.strip() else _query_sqlite(connection, sql, max_rows)
        except sqlite3.Error as problem:
            raise ToolError(_reason(problem)) from None


# ---- SQLite

@contextlib.contextmanager
def open_sqlite(context: ToolContext, path: str) -> Iterator[sqlite3.Connection]:
    """A connection that can only read this one file. The file is held open meanwhile: it must stay the one that was checked."""
    with open_file(context, path) as held:
        if held.read(16) != b"SQLite format 3\0":
            raise ToolError(f"{safe_line(path, 200)!r} is not an SQLite database.")
        target = find_file(context, path)
        connection = sqlite3.connect(f"file:{quote(target)}?mode=ro", uri=True, timeout=2.0, isolation_level=None,
                                     check_same_thread=False)
        try:
            _limit(connection, context)
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()   # SQLite opens the file only now
            _check_opened(held.fileno(), target, path)
            yield connection
        except sqlite3.Error as problem:
            raise ToolError(_reason(problem)) from None
        finally:
            connection.close()


def _limit(connection: sqlite3.Connection, context: ToolContext) -> None:
    end = time.monotonic() + MOST_SECONDS
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.set_progress_handler(lambda: context.stop.is_set() or time.monotonic() > end, 20_000)
    connection.set_authorizer(_authorize)


def _authorize(action: int, first: str | None, second: str | None, database: str | None, trigger: str | None) -> int:
    allowed = (action in ALLOWED
               or action == sqlite3.SQLITE_FUNCTION and (second or "").lower() not in REFUSED
               or action == sqlite3.SQLITE_PRAGMA and (first or "").lower() in PRAGMAS)
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _check_opened(descriptor: int, target: str, path: str) -> None:
    """SQLite opens by name. Make sure that it has the file which was checked, not one that was put in its place."""
    wanted = os.fstat(descriptor)
    identity = (wanted.st_dev, wanted.st_ino)
    count = 0
    try:
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                status = os.fstat(int(name))
                count += (status.st_dev, status.st_ino) == identity
        same = count >= 2
    except OSError:
        found = os.stat(target)
        same = (found.st_dev, found.st_ino) == identity
    if not same:
        raise ToolError(f"{safe_line(path, 200)!r} changed while it was opened.")


def _query_sqlite(connection: sqlite3.Connection, sql: str, most: int) -> str:
    connection.text_factory = lambda value: value.decode("utf-8", "replace")
    cursor = connection.execute(sql)
    if cursor.description is None:
        return "(no rows)"
    return as_csv([column[0] for column in cursor.description], cursor, most)


def _schema(connection: sqlite3.Connection) -> str:
    rows = connection.execute("SELECT sql FROM sqlite_master WHERE type IN ('table', 'view') AND sql IS NOT NULL ORDER BY name")
    return "\n".join(row[0] for row in islice(rows, 300)) or "(no tables)"


# ---- PostgreSQL

def _query_postgres(url: str, sql: str, most: int) -> str:
    try:
        import psycopg
    except ImportError:
        raise ToolError("PostgreSQL needs the package psycopg.", "pip install 'psycopg[binary]'") from None
    sql = sql.strip() or ("SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns "
                          "WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2, ordinal_position")
    if not READING.match(sql) or ACTING.search(sql):
        raise ToolError("Only reading is allowed: SELECT, WITH, VALUES, TABLE, SHOW or EXPLAIN, without functions that act.")
    options = f"-c default_transaction_read_only=on -c statement_timeout={int(MOST_SECONDS * 1_000)}"
    try:
        with psycopg.connect(url, connect_timeout=10, options=options) as connection:
            connection.read_only = True
            with connection.cursor() as cursor:
                rows = cursor.stream(sql.encode())   # one statement only, and a row at a time
                first = next(rows, None)
                names = [column.name for column in cursor.description or ()]
                return as_csv(names, _chain(first, rows), most)
    except psycopg.Error as problem:
        raise ToolError(_reason(problem)) from None


def _chain(first: Sequence[Any] | None, rows: Iterator[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    if first is not None:
        yield first
        yield from rows


# ---- rows as text

def as_csv(names: Sequence[str], rows: Iterator[Sequence[Any]], most: int) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    count = 0
    for row in islice(rows, most):
        writer.writerow([_cell(value) for value in row])
        count += 1
    more = next(iter(rows), None) is not None
    out.write(f"[{count} rows{', there are more' if more else ''}]")
    return out.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return "NULL"
    if isinstance(value, (bytes, memoryview)):
        return f"<{len(value)} bytes>"
    text = str(value)
    return text if len(text) <= MOST_CELL else f"{text[:MOST_CELL]} [\u2026 {len(text) - MOST_CELL:,} more characters]"


def _reason(problem: Exception) -> str:
    text = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
    if text == "not authorized" or "prohibited" in text:
        return "Only reading this one database is allowed."
    if text == "interrupted":
        return f"The query was stopped: it took longer than {MOST_SECONDS:g} s."
    return f"The database says: {safe_line(text, 300)}."
