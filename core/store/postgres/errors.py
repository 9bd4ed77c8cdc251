"""Translates PostgreSQL's errors into errors that say what happened and what to do."""

from __future__ import annotations

from core.errors import StoreBusy, StoreDamaged, StoreError, StoreForbidden, StoreFull
from core.store.database import WAY_OUT

BUSY = ("55P03", "40P01", "53300", "57P01", "57P02", "57P03")
FULL = ("53100", "25006")
NO_RIGHT = "42501"


def store_error(problem: Exception, place: str, role: str = "") -> StoreError:
    """Return our error for one of psycopg's; `role` is the connected role, if known."""
    state = getattr(problem, "sqlstate", None) or ""
    reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
    if state == NO_RIGHT:
        return _forbidden(reason, place, role)
    if state in BUSY:
        return StoreBusy(
            f"The session database {place} is busy: {reason}", "Try again in a moment."
        )
    if state in FULL:
        return StoreFull(f"The session database {place} cannot be written: {reason}", WAY_OUT)
    if state.startswith("XX"):
        return StoreDamaged(f"The session database {place} is damaged: {reason}", WAY_OUT)
    return StoreError(f"The session database {place} failed: {reason}", WAY_OUT)


def _forbidden(reason: str, place: str, role: str) -> StoreError:
    if "row-level security" in reason:
        return StoreForbidden(
            "This session is shared with you for reading only, or not at all; nothing was changed.",
            "Use /fork or --fork to continue in a copy of your own.",
        )
    if "only the owner" in reason:
        return StoreForbidden(
            "Only the owner of a session can archive or delete it; nothing was changed."
        )
    who = f"The role {role!r}" if role else "Your role"
    return StoreForbidden(
        f"{who} is not allowed to do this in {place}: {reason}",
        f"The database's owner can grant access with --db-init --member {role or 'NAME'}.",
    )
