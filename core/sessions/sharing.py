"""Shares sessions, and limits the effect of settings in other people's sessions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core.errors import UsageError
from core.store.rows import SessionRow
from db import Store

# Settings that only shape an answer. Attached files and tools are left out: they would access the
# files of the user who opens the session.
HARMLESS = ("system", "temperature", "top_p", "seed", "max_tokens", "stop", "think")
OFFERED = "offered"      # the key under which other imported settings wait for approval
MOST_OFFERED = 50        # attachments to show in the approval question
RIGHTS = {"": False, "read": False, "write": True}


def share(store: Store, row: SessionRow, text: str) -> None:
    """Share a session. `text` is NAME, NAME:read or NAME:write. Raises UsageError and
    StoreForbidden.
    """
    name, _, right = text.strip().partition(":")
    if not name or right not in RIGHTS:
        raise UsageError(
            f"{text!r} does not name a member to share with.",
            "Write NAME to let NAME read, NAME:write to let NAME write too.",
        )
    store.share_session(row.id, name, write=RIGHTS[right])


def shared_with(store: Store, row: SessionRow) -> str:
    """Return a sentence naming the members that a session is shared with."""
    shares = store.shares(row.id)
    if not shares:
        return f"Session {row.short_name} is not shared."
    names = ", ".join(
        f"{each.reader} ({'reads and writes' if each.write else 'reads'})" for each in shares
    )
    return f"Session {row.short_name} is shared with {names}."


def kept_of_others(text: str) -> dict[str, Any]:
    """Return those of another member's session settings that apply here."""
    found = _read(text)
    return {name: found[name] for name in HARMLESS if name in found}


def settings_of_others(text: str) -> str:
    """Return the same as stored text."""
    return _written(kept_of_others(text))


def with_own(text: str, of_others: str) -> str:
    """Return the settings of another member's session, updated with the ones that may be changed.
    """
    found = {name: value for name, value in _read(text).items() if name not in HARMLESS}
    return _written(found | kept_of_others(of_others))


# ---- imported sessions

def held_back(text: str) -> str:
    """Return the stored settings of an imported session, in which all but harmless ones wait for
    approval.
    """
    found = _read(text)
    before = found.pop(OFFERED, None)
    given = {**(before if isinstance(before, dict) else {}), **found}
    offered = {name: value for name, value in given.items() if name not in HARMLESS and value}
    if isinstance(offered.get("attached"), list):
        offered["attached"] = offered["attached"][:MOST_OFFERED]
    kept = {name: found[name] for name in HARMLESS if name in found}
    return _written(kept | ({OFFERED: offered} if offered else {}))


def is_waiting(text: str) -> bool:
    """Return whether some of these settings wait for approval."""
    return f'"{OFFERED}"' in text


def offered_in(text: str) -> dict[str, Any]:
    """Return the settings that wait for approval."""
    found = _read(text).get(OFFERED) if is_waiting(text) else None
    return found if isinstance(found, dict) else {}


def settled(text: str, agreed: Mapping[str, Any]) -> str:
    """Return the settings after the question, with the approved ones; none wait any more."""
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
