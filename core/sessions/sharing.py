"""Lets other members of a team read a session or write to it."""

from __future__ import annotations

import json
from typing import Any

from core.errors import UsageError
from core.store.rows import SessionRow
from db import Store

# Of what is kept with a session, what does no more than shape an answer. Attached files and tools
# are left out: they would be those of who opens it.
HARMLESS = ("system", "temperature", "top_p", "seed", "max_tokens", "stop", "think")
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


def kept_of_others(text: str) -> dict[str, Any]:
    """What counts of the settings that somebody else kept with a session."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return (
        {name: found[name] for name in HARMLESS if name in found} if isinstance(found, dict) else {}
    )


def settings_of_others(text: str) -> str:
    """The same, as it is kept."""
    kept = kept_of_others(text)
    return json.dumps(kept, ensure_ascii=False, sort_keys=True) if kept else ""
