"""Runs one query on a PostgreSQL database with a role that can only read."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any
from urllib.parse import parse_qsl, urlencode

from core.config.installed import install_command
from core.errors import ToolError
from core.regex import regex
from core.safe_text import safe_line
from core.tools.csv_rows import as_csv
from core.tools.limited_process import Job

INSIST = "allow_superuser"      # a parameter of the address: the user knows what the role can do
TABLES = ("SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns "
          "WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2, "
          "ordinal_position")
READING = regex(r"\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*(select|with|values|table|show|explain)\b",
                re.I | re.S)
# A second check, for roles that the user insists on and functions of extensions; the first one is
# the role.
ACTING = regex(
    r"\b(pg_(?:read|ls|write|stat_file|stat_reset|terminate|cancel|reload|rotate|switch|logical"
    r"|create|drop|export|sleep|notify|advisory|promote|backup|replication)\w*|lo_\w+|dblink\w*"
    r"|copy|set_config|query_to_xml\w*|nextval|setval)\b|\bU&\"", re.I)
# System roles that only read tables and statistics. Any other may do more than that, now or in a
# later version.
HARMLESS = ("pg_read_all_data", "pg_read_all_settings", "pg_read_all_stats", "pg_stat_scan_tables",
            "pg_monitor", "pg_database_owner")
ROLE = """
SELECT current_setting('is_superuser') = 'on'
       OR EXISTS (SELECT FROM pg_catalog.pg_roles r
                  WHERE (r.rolsuper OR r.rolreplication OR r.rolcreaterole)
                  AND pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')),
       ARRAY(SELECT r.rolname::text FROM pg_catalog.pg_roles r
             WHERE r.rolname LIKE 'pg\\_%%' AND r.rolname <> ALL(%s)
             AND pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER') ORDER BY 1)"""
# Functions of the server or an extension that not everybody may call: somebody gave the role the
# right to call them, or gave it to a role that it belongs to.
GRANTED = """
SELECT p.proname::text FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_language l ON l.oid = p.prolang AND l.lanname IN ('internal', 'c')
CROSS JOIN pg_catalog.aclexplode(p.proacl) a
LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
WHERE a.privilege_type = 'EXECUTE' AND a.grantee <> 0 AND r.rolname <> ALL(%s)
      AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(p.proacl) b WHERE b.grantee = 0)
      AND pg_catalog.pg_has_role(session_user, a.grantee, 'MEMBER') ORDER BY 1 LIMIT 3"""


def read_postgres(job: Job, url: str, sql: str, most: int, seconds: float) -> str:
    """At most `most` rows as CSV. Raises ToolError, also for a role that can do more than read.

    Runs in a child process (core/tools/limited_process.py): a row can be larger than memory.
    """
    try:
        import psycopg
    except ImportError:
        raise ToolError("PostgreSQL needs the package psycopg, which is not installed.",
                        f"Install it: {install_command('psycopg[binary]')}") from None
    sql = sql.strip() or TABLES
    check_reading(sql)
    url, insists = _insists(url)
    options = f"-c default_transaction_read_only=on -c statement_timeout={int(seconds * 1_000)}"
    try:
        connection = psycopg.connect(url, connect_timeout=10, options=options)
    except psycopg.Error as problem:
        raise ToolError(reason(problem)) from None
    done = threading.Event()
    try:
        connection.read_only = True
        threading.Thread(target=_cancel_at, args=(job.stop, done, connection, seconds * 2),
                         daemon=True).start()
        if not insists:
            _check_role(connection)
        cursor: Any = connection.cursor()
        # one statement only, and a row at a time
        with contextlib.closing(cursor.stream(sql.encode())) as rows:
            first = next(rows, None)
            names = [column.name for column in cursor.description or ()]
            return as_csv(names, _until(job.stop, rows if first is None else chain([first], rows)),
                          most)
    except psycopg.Error as problem:
        raise ToolError(reason(problem)) from None
    finally:
        done.set()
        connection.close()      # without a commit: whatever the query did is undone


def check_reading(sql: str) -> None:
    """Raise ToolError for statements that the database would refuse anyway, and for functions with
    effects outside it.
    """
    if not READING.match(sql) or ACTING.search(sql):
        raise ToolError("Only reading is allowed: SELECT, WITH, VALUES, TABLE, SHOW or EXPLAIN, "
                        "without functions that have effects.")


def _insists(url: str) -> tuple[str, bool]:
    """(address without our own parameter, whether it was given)."""
    base, _, parameters = url.partition("?")
    given = parse_qsl(parameters, keep_blank_values=True)
    left = urlencode([(name, value) for name, value in given if name != INSIST])
    insists = any(name == INSIST and value.lower() in ("yes", "true", "1") for name, value in given)
    return base + (f"?{left}" if left else ""), insists


def _check_role(connection: Any) -> None:
    strong, roles = connection.execute(ROLE, (list(HARMLESS),)).fetchone()
    granted = [row[0] for row in connection.execute(GRANTED, (list(HARMLESS),))]
    if strong or roles or granted:
        what = ("is a superuser, or may become one" if strong
                else f"is a member of {', '.join(roles)}" if roles
                else f"may call {', '.join(granted)}")
        raise ToolError(f"Not queried: the role {safe_line(connection.info.user, 80)} {what}, "
                        "so it can do more than read.",
                        f"Use a role that only reads, or add {INSIST}=yes to the database's "
                        "address.")


def _cancel_at(stop: threading.Event, done: threading.Event, connection: Any,
               seconds: float) -> None:
    """Cancel a query that was abandoned, or that exceeds the server's own time limit."""
    end = time.monotonic() + seconds
    while not stop.is_set() and time.monotonic() < end:
        if done.wait(0.05):
            return
    with contextlib.suppress(Exception):   # the connection is closed by then
        connection.cancel()


def _until(stop: threading.Event, rows: Iterator[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    for row in rows:
        if stop.is_set():
            raise ToolError("The query was stopped.")
        yield row


def reason(problem: Exception) -> str:
    text = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
    return f"The database says: {safe_line(re.sub(r'(://[^/@:]*):[^/]*@', r'***@', text), 300)}."
