"""Recovers all readable rows of a damaged SQLite file into a new database."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import zip_longest

from core.dataclass import dataclass, field
from core.errors import StoreDamaged
from core.regex import regex
from core.store.care import summary
from core.store.copying import BATCH, RECOUNT, Rows, counts, insertion
from core.store.database import Database
from core.store.sqlite.backups import remove_database
from core.store.sqlite.files import APPLICATION_ID
from core.store.sqlite.recovering_old import RECOVERED, SAME, recover_earlier
from core.store.sqlite.salvage import DamagedFile, Value
from core.store.sqlite.store import SqliteStore

Row = dict[str, Value]
_IDENTITY = regex(r"[0-9a-f]{32}")
_NAME = regex(r"[0-9a-z-]{1,64}")
STATES = ("streaming", "complete", "interrupted", "truncated", "failed")
ROLES = ("system", "user", "assistant", "tool")


def _is(pattern: re.Pattern[str], value: Value) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _numbers(row: Row, *names: str) -> bool:
    return all(isinstance(row[name], (int, float)) for name in names)


def _texts(row: Row, *names: str) -> bool:
    return all(isinstance(row[name], str) for name in names)


# Each table with a test whether a row can belong to it: only its shape identifies a row.
SHAPES: Mapping[str, Callable[[Row], bool]] = {
    "deleted_sessions": lambda row: _is(_NAME, row["id"]),
    "sessions": lambda row: (
        _is(_NAME, row["id"])
        and _numbers(row, "created", "updated", "used", "pinned")
        and _texts(row, "title", "model", "settings", "name", "shelf", "tags", "words")
    ),
    "messages": lambda row: (
        _is(_IDENTITY, row["id"])
        and _texts(row, "session_id", "parts", "words", "tools")
        and row["role"] in ROLES
        and row["state"] in STATES
        and _numbers(row, "position", "active", "created")
    ),
    "chunks": lambda row: (
        _is(_IDENTITY, row["message_id"])
        and _texts(row, "kind", "text")
        and _numbers(row, "seq", "part")
    ),
    "model_calls": lambda row: (
        _is(_IDENTITY, row["id"])
        and _texts(row, "session_id", "provider", "model")
        and _numbers(row, "created")
    ),
    "embeddings": lambda row: (
        _is(_IDENTITY, row["id"])
        and _texts(row, "model", "hash")
        and isinstance(row["vector"], bytes)
    ),
}


@dataclass(slots=True)
class _Found:
    """What the first pass over the file found."""

    # session -> number of messages it should show
    sessions: dict[str, int] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    messages: set[str] = field(default_factory=set)
    # sessions known only from their messages -> time of the first
    homeless: dict[str, float] = field(default_factory=dict)


def recover_file(place: str, path: str) -> list[str]:
    """Write a new database to `path`; return what was recovered and what was lost, one line each.

    Raises StoreDamaged when there is nothing to recover, and OSError.
    """
    with closing(DamagedFile(place)) as damaged:
        lines = [] if 0 < damaged.version < SAME else _recover(damaged, path)
        if not lines and recover_earlier(damaged, path, APPLICATION_ID):
            with closing(SqliteStore(path)) as store:
                lines = _finish(store.database, _found_in(store.database))
        if lines:
            return lines
    raise StoreDamaged(
        f"No session data can be read from {place}; the file is unchanged.",
        "Use --db-restore FILE to restore a backup.",
    )


def _recover(damaged: DamagedFile, path: str) -> list[str]:
    """Recover rows of the current schema; return an empty list if there are none."""
    remove_database(path)
    with closing(SqliteStore(path)) as store:
        database = store.database
        columns = {
            table: [row[1] for row in database.read(f"PRAGMA table_info({table})")]
            for table in SHAPES
        }
        found = _look(damaged, columns)
        if not found.sessions and not found.messages:
            return []
        database.load(_batches(damaged, columns, found))
        return _finish(database, found)


def _finish(database: Database, found: _Found) -> list[str]:
    """Recount the messages; return what was recovered and what was lost."""
    lost = _missing(database, found)
    database.load([(RECOUNT, [()])])
    return [f"Recovered: {summary(counts(database))}.", *lost]


def _found_in(database: Database) -> _Found:
    """Summarize what recover_earlier() has written."""
    rows = database.read("SELECT id, title, created, message_count FROM sessions")
    homeless = {row[0]: row[2] for row in rows if row[1] == RECOVERED}
    return _Found({row[0]: row[3] for row in rows if row[0] not in homeless}, homeless=homeless)


# Columns added at the end of a table: older rows are shorter and get the default.
ADDED = {"sessions": "", "model_calls": ""}


def _rows(damaged: DamagedFile, columns: Mapping[str, list[str]]) -> Iterator[tuple[str, Row]]:
    for number, values in damaged.rows():
        for table, names in columns.items():
            if len(names) - len(values) in (0, 1 if table in ADDED else 0):
                row: Row = dict(zip_longest(names, values, fillvalue=ADDED.get(table, "")))
                if SHAPES[table](row):
                    yield table, row | {"number": number} if "number" in row else row
                    break


def _look(damaged: DamagedFile, columns: Mapping[str, list[str]]) -> _Found:
    found = _Found()
    named: dict[str, float] = {}
    for table, row in _rows(damaged, columns):
        if table == "deleted_sessions":
            found.deleted.add(str(row["id"]))
        elif table == "sessions":
            count = row["message_count"]
            found.sessions[str(row["id"])] = count if isinstance(count, int) else 0
        elif table == "messages":
            found.messages.add(str(row["id"]))
            session, created = str(row["session_id"]), float(row["created"] or 0)
            named[session] = min(named.get(session, created), created)
    found.homeless = {
        session: created
        for session, created in named.items()
        if session not in found.sessions and session not in found.deleted
    }
    return found


def _batches(
    damaged: DamagedFile, columns: Mapping[str, list[str]], found: _Found
) -> Iterator[Rows]:
    """Yield sessions first, then messages, then rows that belong to them."""
    yield insertion("sessions", ("id", "name", "title", "model", "created", "updated")), [
        (session, session, RECOVERED, "", created, created)
        for session, created in found.homeless.items()
    ]
    for wanted in SHAPES:
        batch: list[tuple[Value, ...]] = []
        for table, row in _rows(damaged, columns):
            if table == wanted and _belongs(table, row, found):
                batch.append(tuple(row.values()))
            if len(batch) == BATCH:
                yield insertion(wanted, columns[wanted]), batch
                batch = []
        yield insertion(wanted, columns[wanted]), batch


def _belongs(table: str, row: Row, found: _Found) -> bool:
    """Return whether a row's session or message was recovered, so that deleted data stays deleted.
    """
    if table == "sessions":
        return row["id"] not in found.deleted
    if table == "messages":
        return row["session_id"] not in found.deleted
    return table != "chunks" or row["message_id"] in found.messages


def _missing(database: Database, found: _Found) -> list[str]:
    """Report messages that sessions count but that were not found."""
    has = dict(
        database.read(
            "SELECT session_id, count(*) FROM messages WHERE active = 1 GROUP BY session_id"
        )
    )
    short = {
        session: count - has.get(session, 0)
        for session, count in found.sessions.items()
        if session not in found.deleted and count > has.get(session, 0)
    }
    lines = []
    if short:
        lines.append(f"Lost: {sum(short.values()):,} messages in {len(short):,} sessions.")
    if found.homeless:
        lines.append(
            f"{len(found.homeless):,} sessions lost their titles and are now called (recovered)."
        )
    return lines
