"""Reads a stored session in batches, so that memory does not grow with it."""

from __future__ import annotations

from collections.abc import Iterator

from core.messages import Image, Text, Thinking, ToolResult
from core.store.rows import StoredMessage
from db import Store

FIRST, MOST = 16, 512  # messages per batch
ENOUGH = 1 << 20  # characters after which batches get smaller


def read_messages(store: Store, session: str, *, hidden: bool = False) -> Iterator[StoredMessage]:
    """Yield the session's messages in order, with `hidden` also hidden ones.

    Raises StoreError.
    """
    waiting, size, start = store.message_ids(session, hidden=hidden), FIRST, 0
    while start < len(waiting):
        wanted = waiting[start:start + size]
        found = {entry.id: entry for entry in store.some_messages(wanted)}
        start += len(wanted)
        characters = sum(map(_characters, found.values()))
        size = max(1, size // 2) if characters > ENOUGH else min(MOST, size * 2)
        for identity in wanted:
            entry = found.pop(identity, None)
            if entry is not None:  # otherwise it was deleted meanwhile
                yield entry


def _characters(entry: StoredMessage) -> int:
    total = 0
    for part in entry.message.parts:
        match part:
            case Text(text) | Thinking(text):
                total += len(text)
            case ToolResult(content=text) | Image(data=text):
                total += len(text)
    return total
