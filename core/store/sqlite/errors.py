"""What an error of SQLite means to the user, and what to do about it."""

from __future__ import annotations

import sqlite3

from core.errors import StoreBusy, StoreDamaged, StoreError, StoreFull
from core.safe_text import safe_line
from core.store.database import WAY_OUT

LONGEST = 200       # characters of what SQLite says: it may quote half a schema, with its lines


def reason(problem: Exception) -> str:
    """What SQLite says, on one line."""
    return safe_line(" ".join(str(problem).split()), LONGEST)


def is_busy(problem: sqlite3.Error) -> bool:
    code = (getattr(problem, "sqlite_errorcode", 0) or 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def sqlite_error(problem: sqlite3.Error, place: str) -> StoreError:
    code = (getattr(problem, "sqlite_errorcode", 0) or 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(f"Another program holds the session database {place}.",
                         "Wait for it or end it, then try again.")
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"There is no room left for the session database {place}.",
                         "Free some space on that disk.")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM,
                sqlite3.SQLITE_IOERR):
        return StoreFull(f"The session database {place} cannot be written: {reason(problem)}.",
                         WAY_OUT)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreDamaged(f"{place} is damaged or is not a session database: {reason(problem)}.",
                            "stream-chat --db-repair saves what can be read; the damaged file "
                            "is kept.")
    return StoreError(f"The session database {place} failed: {reason(problem)}.", WAY_OUT)
