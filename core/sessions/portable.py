"""Converts a complete session (branches, identities, states, times) to JSON values and back.

Version 2 of the format is described in docs/sessions.md.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from core.regex import regex
from core.store.identity import new_message_id, new_session_id
from core.store.message_json import ROLES, message_from_dict, message_to_dict
from core.store.rows import SessionRow, StoredMessage
from core.store.text import from_database

LATEST = 253_402_300_799    # the last second of the year 9999; larger values are not times
IDENTITY = regex(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
FORMAT, VERSION = "stream-chat-session", 2
STATES = ("streaming", "complete", "interrupted", "truncated", "failed")


def session_to_dict(session: SessionRow, settings: str = "") -> dict[str, Any]:
    """Return everything but the messages."""
    try:
        kept = json.loads(settings or "{}")
    except ValueError:
        kept = settings
    return {"format": FORMAT, "version": VERSION, "id": session.id, "name": session.name,
            "title": session.title,
            "model": session.model, "created": session.created, "updated": session.updated,
            "created_at": iso(session.created), "updated_at": iso(session.updated),
            "parent": session.parent,
            "pinned": bool(session.pinned), "shelf": session.shelf, "tags": session.tags.split(),
            "settings": kept}


def stored_to_dict(stored: StoredMessage) -> dict[str, Any]:
    """Return one message; `parent` is the previous message in its branch, `shown` whether it is in
    the shown branch.
    """
    row: dict[str, Any] = {"id": f"{stored.id:032x}",
                           "parent": None if stored.parent is None else f"{stored.parent:032x}",
                           "shown": stored.active, "state": stored.state, "created": stored.created,
                           "created_at": iso(stored.created)}
    if stored.unreadable:
        row["unreadable"] = stored.unreadable
    return row | message_to_dict(stored.message)


def session_from_dict(row: Mapping[str, Any]) -> tuple[SessionRow, str]:
    """Read a session and its stored settings. Raises ValueError, KeyError or TypeError for another
    format.
    """
    if row.get("format") != FORMAT:
        raise ValueError("not a session of this program")
    if not isinstance(row.get("version"), int) or row["version"] > VERSION:
        raise ValueError(f"version {row.get('version')} of the format is newer than this program")
    identity = str(row["id"]) or new_session_id()
    if _name(identity) is None:
        raise ValueError("its identity is not valid")
    kept = row.get("settings") or ""
    settings = (kept if isinstance(kept, str)
                else json.dumps(kept, ensure_ascii=False, sort_keys=True))
    shelf = row.get("shelf", "open")
    tags = row.get("tags")
    words = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    return SessionRow(identity, _name(row.get("name")) or identity, _text(row["title"]),
                      _text(row["model"]), _time(row["created"]), _time(row["updated"]), 0,
                      _name(row.get("parent")), int(bool(row.get("pinned"))),
                      shelf if shelf in ("open", "archived", "trash") else "open",
                      " ".join(words)), settings


def _name(value: object) -> str | None:
    """Return a valid name or identity of a session, or None."""
    return value if isinstance(value, str) and IDENTITY.fullmatch(value) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _time(value: object) -> float:
    """Return a time in seconds since 1970; now for an invalid one."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= LATEST:
        return float(value)
    return time.time()


def stored_from_dict(row: Mapping[str, Any]) -> StoredMessage:
    """Reverse stored_to_dict(). Raises ValueError, KeyError or TypeError for another format."""
    said = row if "exact" not in row else json.loads(from_database(row["exact"]))
    message, state = message_from_dict(said), row.get("state", "complete")
    if message.role not in ROLES or state not in STATES:
        raise ValueError("not a message")
    parent = row.get("parent")
    identity = int(row["id"], 16) if "id" in row else new_message_id()
    if not 0 < identity < 1 << 128:
        raise ValueError("not an identity")
    return StoredMessage(identity, message, "interrupted" if state == "streaming" else state,
                         bool(row.get("shown", True)),
                         _time(row["created"]), "", None if parent is None else int(parent, 16))


def linked(messages: Iterable[StoredMessage]) -> list[StoredMessage]:
    """Return the messages with a missing parent set to the previous message (version 1 and other
    programs' formats).
    """
    found: list[StoredMessage] = list(messages)
    last = 0
    for stored in found:
        if stored.parent is None and stored.active:
            stored.parent = last
        last = stored.id if stored.active else last
    return found


def shown_only(messages: Sequence[StoredMessage]) -> list[StoredMessage]:
    return [stored for stored in messages if stored.active]


def iso(seconds: float) -> str:
    """Format a time as ISO 8601 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(min(max(seconds, 0), LATEST)))


def local_time(seconds: float, between: str = " ") -> str:
    """The time here with its offset from universal time, as ISO 8601 has it: 2026-10-25 02:30:00
    comes twice where the clocks are set back, 2026-10-25 02:30:00+01:00 once.
    """
    when = time.localtime(min(max(seconds, 0), LATEST))
    offset = time.strftime("%z", when)
    return time.strftime(f"%Y-%m-%d{between}%H:%M:%S", when) + f"{offset[:3]}:{offset[3:]}"
