"""Translates SQLite's errors into errors that say what happened and what to do."""

from __future__ import annotations

import sqlite3

from core.errors import StoreBusy, StoreDamaged, StoreError, StoreFull
from core.safe_text import safe_line
from core.store.database import WAY_OUT

LONGEST = 200       # characters of SQLite's message, which may quote half a schema on several lines


def reason(problem: Exception) -> str:
    """Return SQLite's message on one line."""
    return safe_line(" ".join(str(problem).split()), LONGEST)


_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
NOT_WRITABLE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM,
                sqlite3.SQLITE_IOERR)
_READING = (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ)
# Nothing that the file holds causes these. Whatever else SQLite reports for a statement of
# ours, it reports because the file does not hold what the statement expects.
_OUTSIDE_THE_FILE = (*_BUSY, *NOT_WRITABLE, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM,
                     sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOLFS,
                     sqlite3.SQLITE_ABORT, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_MISUSE,
                     sqlite3.SQLITE_RANGE, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_CONSTRAINT)


def code_of(problem: sqlite3.Error) -> int:
    """The primary result code; 0 where the error is Python's own."""
    return (getattr(problem, "sqlite_errorcode", 0) or 0) & 0xFF


def is_busy(problem: sqlite3.Error) -> bool:
    return code_of(problem) in _BUSY


def is_damage(problem: sqlite3.Error) -> bool:
    """Whether the content of the file caused it."""
    code = code_of(problem)
    return code != sqlite3.SQLITE_OK and code not in _OUTSIDE_THE_FILE


def sqlite_error(problem: sqlite3.Error, place: str) -> StoreError:
    code = code_of(problem)
    if code in _BUSY:
        return StoreBusy(f"Another program is using the session database {place}.",
                         "Wait for it or close it, then try again.")
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"The disk is full: the session database {place} cannot grow.",
                         "Free some space on that disk.")
    if code in NOT_WRITABLE:
        verb = "read" if getattr(problem, "sqlite_errorcode", 0) in _READING else "written"
        return StoreFull(f"The session database {place} cannot be {verb}: {reason(problem)}.",
                         WAY_OUT)
    if is_damage(problem):
        return StoreDamaged(f"{place} is damaged or is not a session database: {reason(problem)}.",
                            "stream-chat --db-repair saves what can be read; the damaged file "
                            "is kept.")
    return StoreError(f"The session database {place} failed: {reason(problem)}.", WAY_OUT)
