"""Lets other members of a team read a session or write to it."""

from __future__ import annotations

from core.errors import UsageError
from core.store.rows import SessionRow
from db import Store

RIGHTS = {"": False, "read": False, "write": True}


def share(store: Store, row: SessionRow, text: str) -> None:
    """`text` is NAME, NAME:read or NAME:write. Raises UsageError and StoreForbidden."""
    name, _, right = text.strip().partition(":")
    if not name or right not in RIGHTS:
        raise UsageError(
            f"{text!r} does not say with whom to share.",
            "Write NAME to let NAME read, NAME:write to let NAME write too.",
        )
    store.share_session(row.id, name, write=RIGHTS[right])


def shared_with(store: Store, row: SessionRow) -> str:
    """With whom a session is shared, in a sentence."""
    shares = store.shares(row.id)
    if not shares:
        return f"Session {row.name} is not shared."
    names = ", ".join(
        f"{each.reader} ({'reads and writes' if each.write else 'reads'})" for each in shares
    )
    return f"Session {row.name} is shared with {names}."
