"""Reads the newest messages of a stored session; earlier ones are read when needed."""

from __future__ import annotations

from core.dataclass import dataclass
from core.messages import Text, ToolResult
from core.store.rows import StoredMessage
from db import Store

PAGE = 100  # messages on the first page; each further page is twice as long
ENOUGH = 64 * 1024  # characters after which earlier messages are not read yet
# If an earlier message contains one of these, all are read, since it affects what is sent now.
NEEDED = ('"pinned":true', '"type":"attached"', '"type":"image"')


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest messages, starting with one of the user's, and how many earlier ones are not read.
    """

    entries: list[StoredMessage]
    waiting: int = 0


def read_newest(store: Store, session: str, *, since: int = 0) -> Newest:
    """Read the messages to continue a conversation from, at least back to the message `since`.

    Raises StoreError.
    """
    newest = read_page(store, session, since=since)
    if not newest.waiting:
        return newest
    waiting, needed = store.count_earlier(session, newest.entries[0].id, NEEDED)
    return (
        Newest(newest.entries, waiting)
        if waiting and not needed
        else Newest(store.load_messages(session))
    )


def read_page(
    store: Store, session: str, before: int = 0, *, since: int = 0, loaded: int = 0
) -> Newest:
    """Read the newest messages before `before`. `waiting` is 1 if there may be earlier ones.

    `loaded` is how many messages follow them; the page is as long. Raises StoreError.
    """
    entries: list[StoredMessage] = []
    limit, size = max(PAGE, loaded), 0
    while True:
        page = store.newest_messages(session, limit, entries[0].id if entries else before)
        entries[:0] = page
        if len(page) < limit:
            return Newest(entries)
        size += sum(map(_characters, page))
        start = next(
            (place for place, entry in enumerate(entries) if entry.message.role == "user"), None
        )
        reached = not since or any(entry.id == since for entry in page) or entries[0].id == since
        since = 0 if reached else since
        if start is not None and size >= ENOUGH and reached:
            return Newest(entries[start:], 1)
        limit *= 2


def _characters(entry: StoredMessage) -> int:
    return sum(
        len(part.content) if isinstance(part, ToolResult) else len(part.text)
        for part in entry.message.parts
        if isinstance(part, (Text, ToolResult))
    )
