"""Loads tables and queries of any SQL database as context: read-only, with limits."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from core.config.installed import install_command
from core.context.items import Fault, Found, Item
from core.context.opening import Guard, open_item
from core.context.sources import Source, hide_password
from core.errors import ContextError, ToolError
from core.tools import ToolContext
from core.tools.csv_rows import as_csv
from core.tools.database import open_sqlite, query_sqlite
from core.tools.limited_process import Job, run_limited
from core.tools.postgres_reading import check_reading

MOST_SECONDS = 20.0
MOST_ROWS = 5_000
NAMED_TABLES = 20      # that a fault lists
Reader = Callable[[Source, str, threading.Event], str]


def load_sql(source: Source, root: str, stop: threading.Event,
             guard: Guard | None = None) -> Iterator[Found]:
    """The rows of a table or query as CSV with a header."""
    scheme = source.target.partition("://")[0].lower().partition("+")[0]
    readers: dict[str, Reader] = {
        "sqlite": partial(_sqlite, guard=guard or Guard()), "postgresql": _postgres,
        "postgres": _postgres}
    try:
        text = readers.get(scheme, _any_database)(source, root, stop)
    except ToolError as problem:
        yield Fault(source.name, problem.message, problem.hint)
        return
    yield Item(source.name, "table", source.name, len(text.encode("utf-8", "replace")), text=text,
               named=True,
               note=(f"only the first {MOST_ROWS:,} rows were read; there are more rows than these"
                     if text.endswith("there are more]") else ""))


def _limited(reader: str, stop: threading.Event, **arguments: Any) -> str:
    return str(run_limited(reader, arguments, seconds=MOST_SECONDS, stop=stop))


def _quoted(table: str, mark: str = '"') -> str:
    """A name, or schema.name, in quotes."""
    return ".".join(mark + part.replace(mark, mark * 2) + mark for part in table.split("."))


# ---- SQLite

def _sqlite(source: Source, root: str, stop: threading.Event, guard: Guard) -> str:
    path = os.path.join(root,
                        os.path.expanduser(source.target.partition("?")[0].partition("://")[2]
                                           .removeprefix("/")))
    if source.target.startswith("sqlite:////"):
        path = source.target.partition("?")[0].removeprefix("sqlite:///")
    path = os.path.realpath(path)
    if not os.path.exists(path):
        raise ToolError("there is no such file")
    _check_owner(source, path, guard)
    return _limited("core.context.sql:read_sqlite", stop, path=path, protected=guard.protected,
                    table=source.table, query=source.query)


def read_sqlite(job: Job, path: str, protected: Sequence[str], table: str, query: str) -> str:
    """The rows of a table or query as CSV. Runs in the child process."""
    context = ToolContext(roots=(path,), protected=tuple(protected), seconds=MOST_SECONDS,
                          stop=job.stop)
    with open_sqlite(context, path) as connection:
        if table:
            connection.text_factory = lambda value: value.decode("utf-8", "replace")
            _check_table(table, [row[0] for row in connection.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name")])
        return query_sqlite(connection, query or f"SELECT * FROM {_quoted(table)}", MOST_ROWS)


def _check_owner(source: Source, path: str, guard: Guard) -> None:
    try:
        open_item(Item(source.name, "table", source.name, -1, path), guard).close()
    except ContextError as problem:
        raise ToolError(problem.message.removeprefix(f"{source.name}: ")) from None
    except OSError as problem:
        raise ToolError(f"cannot be opened: {problem.strerror}") from None


def _check_table(table: str, tables: Sequence[str]) -> None:
    if table.lower() not in (name.lower() for name in tables):
        there = ", ".join(tables[:NAMED_TABLES]) + (", ..." if len(tables) > NAMED_TABLES else "")
        raise ToolError(f"there is no table {table}; "
                        f"{'tables: ' + there if there else 'the database has no tables'}")


# ---- PostgreSQL

def _postgres(source: Source, root: str, stop: threading.Event) -> str:
    query = source.query or f"SELECT * FROM {_quoted(source.table)}"
    return _limited("core.tools.postgres_reading:read_postgres", stop, sql=query, most=MOST_ROWS,
                    seconds=MOST_SECONDS,
                    url="postgresql://" + source.target.partition("://")[2])


# ---- any other, through SQLAlchemy

def _until(stop: threading.Event, rows: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    for row in rows:
        if stop.is_set():
            raise ToolError("The query was stopped.")
        yield row


def _reason(problem: Exception) -> str:
    text = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
    return f"The database says: {hide_password(text)}"


def _any_database(source: Source, root: str, stop: threading.Event) -> str:
    return _limited("core.context.sql:read_any", stop, target=source.target, table=source.table,
                    query=source.query)


def read_any(job: Job, target: str, table: str, query: str) -> str:
    """The rows of a table or query of any database as CSV. Runs in the child process."""
    scheme = target.partition("://")[0]
    try:
        import sqlalchemy  # type: ignore[import-not-found,unused-ignore]  # an optional extra
    except ImportError:
        raise ToolError(f"{scheme}:// needs the package sqlalchemy and the database's driver, "
                        "which are not installed.",
                        f"Install them: {install_command('sqlalchemy')}") from None
    if query:
        check_reading(query)
    try:
        engine = sqlalchemy.create_engine(target)
        with engine.connect() as connection:
            _make_read_only(connection, engine.dialect.name)
            mark = "`" if engine.dialect.name in ("mysql", "mariadb") else '"'
            result = connection.execution_options(stream_results=True).execute(
                sqlalchemy.text(query or f"SELECT * FROM {_quoted(table, mark)}"))
            if not result.returns_rows:
                raise ToolError("Only reading is allowed.")
            # before the end of the transaction, which waits for its rows
            with contextlib.closing(result):
                return as_csv(list(result.keys()), _until(job.stop, result), MOST_ROWS)
    except (sqlalchemy.exc.SQLAlchemyError, ImportError) as problem:
        raise ToolError(_reason(getattr(problem, "orig", None) or problem)) from None


def _make_read_only(connection: Any, dialect: str) -> None:
    """Let the database refuse writes and long queries if it can; nothing is committed in any case.
    """
    import sqlalchemy  # type: ignore[import-not-found,unused-ignore]  # an optional extra
    orders = {"mysql": ("SET SESSION TRANSACTION READ ONLY",
                        f"SET SESSION max_execution_time = {int(MOST_SECONDS * 1_000)}"),
              "mariadb": ("SET SESSION TRANSACTION READ ONLY",
                          f"SET SESSION max_statement_time = {MOST_SECONDS}"),
              "oracle": ("SET TRANSACTION READ ONLY",)}
    for order in orders.get(dialect, ()):
        connection.execute(sqlalchemy.text(order))
    if dialect in ("mysql", "mariadb"):
        connection.commit()   # the session's rule holds from the next transaction on
