"""Read-only SQL on SQLite files below the roots, and on databases whose URLs the user gave."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated
from urllib.parse import quote

from core.errors import ToolError
from core.safe_text import safe_line
from core.store.sqlite.connection import connect
from core.tools import ToolContext, tool
from core.tools.csv_rows import as_csv
from core.tools.guards.files import find_file, open_file
from core.tools.limited_process import Job, run_limited

# bytes of one value in SQLite; without a limit, zeroblob() and group_concat() can use all memory
MOST_VALUE = 16 << 20
ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})
PRAGMAS = frozenset("table_info table_xinfo table_list index_list index_info "
                    "foreign_key_list".split())
REFUSED = frozenset("load_extension readfile writefile edit fts3_tokenizer".split())


@tool(private=True, safe=True, timeout=30)
def query_database(
    context: ToolContext,
    database: Annotated[str,
                        "path of an SQLite file, or the name of a database that the user set up"],
    sql: Annotated[str, "one SELECT; empty shows the tables and their columns",
                   {"maxLength": 20_000}] = "",
    max_rows: Annotated[int, "", {"minimum": 1, "maximum": 2_000}] = 100,
) -> str:
    """Run one read-only SQL query. Rows come as CSV with a header."""
    url = context.databases.get(database, "")
    arguments = {"sql": sql, "most": max_rows, "seconds": context.seconds}
    if url.startswith(("postgresql:", "postgres:")):
        reader = "core.tools.postgres_reading:read_postgres"
        arguments["url"] = url
    else:
        reader = "core.tools.database:read_sqlite"
        roots = context.roots
        if url:   # the user named this file, so it may be anywhere
            database = os.path.realpath(os.path.expanduser(url.removeprefix("sqlite:///")))
            roots = (*roots, database)
        arguments |= {"path": database, "roots": roots, "protected": context.protected}
    return str(run_limited(reader, arguments, seconds=context.seconds, stop=context.stop))


# ---- SQLite, in the child process

def read_sqlite(job: Job, path: str, roots: Sequence[str], protected: Sequence[str], sql: str,
                most: int, seconds: float) -> str:
    """The rows of one query as CSV; with an empty query, the tables. Runs in the child process."""
    context = ToolContext(roots=tuple(roots), protected=tuple(protected), seconds=seconds,
                          stop=job.stop)
    with open_sqlite(context, path) as connection:
        return _schema(connection) if not sql.strip() else query_sqlite(connection, sql, most)


@contextlib.contextmanager
def open_sqlite(context: ToolContext, path: str) -> Iterator[sqlite3.Connection]:
    """A connection that can only read this one file; the checked file is kept open, so that it
    cannot be replaced.
    """
    with open_file(context, path) as held:
        if held.read(16) != b"SQLite format 3\0":
            raise ToolError(f"{safe_line(path, 200)!r} is not an SQLite database.")
        target = find_file(context, path)
        connection = connect(f"file:{quote(target)}?mode=ro", timeout=2.0, any_thread=True)
        try:
            _limit(connection, context)
            # SQLite opens the file at the first statement
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            _check_opened(held.fileno(), target, path)
            yield connection
        except sqlite3.Error as problem:
            raise ToolError(_reason(problem, context.seconds)) from None
        except sqlite3.Warning as problem:   # two statements
            raise ToolError(f"The database says: {problem}") from None
        finally:
            connection.close()


def _limit(connection: sqlite3.Connection, context: ToolContext) -> None:
    end = time.monotonic() + context.seconds
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.set_progress_handler(lambda: context.stop.is_set() or time.monotonic() > end, 20_000)
    connection.set_authorizer(_authorize)


def _authorize(action: int, first: str | None, second: str | None, database: str | None,
               trigger: str | None) -> int:
    allowed = (action in ALLOWED
               or action == sqlite3.SQLITE_FUNCTION and (second or "").lower() not in REFUSED
               or action == sqlite3.SQLITE_PRAGMA and (first or "").lower() in PRAGMAS)
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _check_opened(descriptor: int, target: str, path: str) -> None:
    """Raise ToolError unless SQLite, which opens by name, has opened the file that was checked."""
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


def query_sqlite(connection: sqlite3.Connection, sql: str, most: int) -> str:
    """At most `most` rows of a query as CSV. Raises sqlite3.Error."""
    connection.text_factory = lambda value: value.decode("utf-8", "replace")
    cursor = connection.execute(sql)
    if cursor.description is None:
        return "(no rows)"
    return as_csv([column[0] for column in cursor.description], cursor, most)


def _schema(connection: sqlite3.Connection) -> str:
    rows = connection.execute("SELECT sql FROM sqlite_master WHERE type IN ('table', 'view') AND "
                              "sql IS NOT NULL ORDER BY name")
    return "\n".join(row[0] for row in islice(rows, 300)) or "(no tables)"


def _reason(problem: Exception, seconds: float) -> str:
    text = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
    if text == "not authorized" or "prohibited" in text:
        return "Only reading this one database is allowed."
    if text == "interrupted":
        return f"The query was stopped: it took longer than {seconds:g} s."
    return f"The database says: {safe_line(text, 300)}."
