"""A session as JSON values, complete: all branches, identities, states and times.

Version 2 of the form is in docs/sessions.md.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from core.store.identity import new_message_id, new_session_id
from core.store.message_json import ROLES, message_from_dict, message_to_dict
from core.store.rows import SessionRow, StoredMessage
from core.store.text import from_database

FORMAT, VERSION = "stream-chat-session", 2
STATES = ("streaming", "complete", "interrupted", "truncated", "failed")


def session_to_dict(session: SessionRow, settings: str = "") -> dict[str, Any]:
    """Everything but the messages."""
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
    """One message; `parent` is the one before it in its branch,
    `shown` whether it is in the shown branch.
    """
    row: dict[str, Any] = {"id": f"{stored.id:032x}",
                           "parent": None if stored.parent is None else f"{stored.parent:032x}",
                           "shown": stored.active, "state": stored.state, "created": stored.created,
                           "created_at": iso(stored.created)}
    if stored.unreadable:
        row["unreadable"] = stored.unreadable
    return row | message_to_dict(stored.message)


def session_from_dict(row: Mapping[str, Any]) -> tuple[SessionRow, str]:
    """The reverse, and the settings as they are stored.

    Raises ValueError, KeyError or TypeError for another form.
    """
    if row.get("format") != FORMAT:
        raise ValueError("not a session of this program")
    if not isinstance(row.get("version"), int) or row["version"] > VERSION:
        raise ValueError(f"version {row.get('version')} of the form is newer than this program")
    identity = str(row["id"]) or new_session_id()
    kept = row.get("settings") or ""
    settings = (kept if isinstance(kept, str)
                else json.dumps(kept, ensure_ascii=False, sort_keys=True))
    shelf = row.get("shelf", "open")
    return SessionRow(identity, str(row.get("name") or identity), str(row["title"]),
                      str(row["model"]), float(row["created"]),
                      float(row["updated"]), 0, row.get("parent")
                      if isinstance(row.get("parent"), str) else None,
                      int(bool(row.get("pinned"))),
                      shelf if shelf in ("open", "archived", "trash") else "open",
                      " ".join(map(str, row.get("tags") or ()))), settings


def stored_from_dict(row: Mapping[str, Any]) -> StoredMessage:
    """The reverse of stored_to_dict().

    Raises ValueError, KeyError or TypeError for another form.
    """
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
                         float(row["created"]), "", None if parent is None else int(parent, 16))


def linked(messages: Iterable[StoredMessage]) -> list[StoredMessage]:
    """The same, each after the one before it where nothing else is said (forms of version
    1 and of other programs).
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
    """For people and programs, in universal time."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
