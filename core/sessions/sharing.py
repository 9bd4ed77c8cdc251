"""What others may do with a session, and what their sessions may do here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core.errors import UsageError
from core.store.rows import SessionRow
from db import Store

# Of what is kept with a session, what does no more than shape an answer. Attached files and tools
# are left out: they would be those of who opens it.
HARMLESS = ("system", "temperature", "top_p", "seed", "max_tokens", "stop", "think")
OFFERED = "offered"      # where the rest of an imported session's settings waits for a yes
MOST_OFFERED = 50        # things to attach: a question is read before it is answered
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
        return f"Session {row.short_name} is not shared."
    names = ", ".join(
        f"{each.reader} ({'reads and writes' if each.write else 'reads'})" for each in shares
    )
    return f"Session {row.short_name} is shared with {names}."


def kept_of_others(text: str) -> dict[str, Any]:
    """What counts of the settings that somebody else kept with a session."""
    found = _read(text)
    return {name: found[name] for name in HARMLESS if name in found}


def settings_of_others(text: str) -> str:
    """The same, as it is kept."""
    return _written(kept_of_others(text))


def with_own(text: str, of_others: str) -> str:
    """The settings of somebody else's session with what may be changed there put in its place."""
    found = {name: value for name, value in _read(text).items() if name not in HARMLESS}
    return _written(found | kept_of_others(of_others))


# ---- what comes from elsewhere

def held_back(text: str) -> str:
    """Settings of an imported session, as they are kept: all but the harmless waits for a yes."""
    found = _read(text)
    before = found.pop(OFFERED, None)
    given = {**(before if isinstance(before, dict) else {}), **found}
    offered = {name: value for name, value in given.items() if name not in HARMLESS and value}
    if isinstance(offered.get("attached"), list):
        offered["attached"] = offered["attached"][:MOST_OFFERED]
    kept = {name: found[name] for name in HARMLESS if name in found}
    return _written(kept | ({OFFERED: offered} if offered else {}))


def is_waiting(text: str) -> bool:
    """Whether something in these settings waits for a yes."""
    return f'"{OFFERED}"' in text


def offered_in(text: str) -> dict[str, Any]:
    """What waits for a yes in the settings of a session."""
    found = _read(text).get(OFFERED) if is_waiting(text) else None
    return found if isinstance(found, dict) else {}


def settled(text: str, agreed: Mapping[str, Any]) -> str:
    """The settings after the question: what was agreed to counts, nothing waits any more."""
    found = _read(text)
    found.pop(OFFERED, None)
    return _written({**agreed, **found})


def _read(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _written(found: Mapping[str, Any]) -> str:
    return json.dumps(found, ensure_ascii=False, sort_keys=True) if found else ""
