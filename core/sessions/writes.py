"""Writes to a store as JSON values (method and arguments), so that they can be kept in a file."""

from __future__ import annotations

import json
from typing import Any

from core.messages import Message
from core.store.message_json import dump, message_from_dict, message_to_dict
from core.store.rows import Chunk
from db import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.store.rows import State

STATES: tuple[State, ...] = ("streaming", "complete", "interrupted", "truncated", "failed")
ROLES = ("system", "user", "assistant", "tool")

Write = dict[str, Any]     # these can be repeated without effect


def apply_write(store: Store, write: Write) -> None:
    """Apply one write. Raises StoreError, and ValueError, KeyError or TypeError for an invalid one.
    """
    match write:
        case {"do": "create", "session": str(session), "title": str(title), "model": str(model),
              "created": created}:
            first = write.get("first")
            store.create_session(session, title, model, float(created),
                                 (int(first[0]), _message(first[1])) if first else None,
                                 name=str(write.get("name") or ""))
        case {"do": "update", "session": str(session), "title": str() | None as title,
              "model": str() | None as model}:
            settings, tags, pinned = write.get("settings"), write.get("tags"), write.get("pinned")
            store.update_session(session, title=title, model=model,
                                 settings=None if settings is None else str(settings),
                                 tags=None if tags is None else str(tags),
                                 pinned=None if pinned is None else bool(pinned))
        case {"do": "add", "session": str(session), "id": int(identity), "message": message,
              "state": str(state)}:
            parent = write.get("parent")
            first = write.get("first")
            store.add_message(session, identity, _message(message), _state(state),
                              parent=None if parent is None else int(parent),
                              first=None if first is None else _chunk(*first))
        case {"do": "chunk", "id": int(identity), "seq": int(seq),
              "chunk": [str(kind), int(part), str(text), extra]}:
            store.append_chunk(identity, seq, _chunk(kind, part, text, extra))
        case {"do": "finish", "id": int(identity), "message": message, "state": str(state)}:
            store.finish_message(identity, _message(message), _state(state))
        case {"do": "hide", "session": str(session), "ids": ids}:
            store.hide_messages(session, [int(identity) for identity in ids])
        case {"do": "replace", "session": str(session), "hidden": hidden, "added": added}:
            messages = [(int(identity), _message(message)) for identity, message in added]
            store.replace_messages(session, [int(identity) for identity in hidden], messages)
        case {"do": "restore", "session": str(session), "shown": shown, "hidden": hidden}:
            store.restore_messages(session, [int(identity) for identity in shown],
                                   [int(identity) for identity in hidden])
        case {"do": "for", "place": str()}:
            pass     # names the store of the other entries
        case _:
            raise ValueError("not a known write")


def _chunk(kind: str, part: int, text: str, extra: str | None) -> Chunk:
    return Chunk(kind, part, text, None if extra is None else dump(json.loads(extra)))


def chunk_write(identity: int, seq: int, chunk: Chunk) -> Write:
    return {"do": "chunk", "id": identity, "seq": seq,
            "chunk": [chunk.kind, chunk.part, chunk.text, chunk.extra]}


def message_write(do: str, message: Message, **fields: Any) -> Write:
    """Return a write with a message."""
    return {"do": do, "message": message_to_dict(message), **fields}


def _state(state: str) -> State:
    return STATES[STATES.index(state)]


def _message(row: Any) -> Message:
    message = message_from_dict(row)
    if message.role not in ROLES or not all(text is None or isinstance(text, str)
                                            for text in (message.model, message.finish)):
        raise ValueError("not a message")
    return message
