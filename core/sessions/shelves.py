"""Archives, trashes, restores and tags saved sessions."""

from __future__ import annotations

import time

from core.errors import UsageError
from core.sessions.listing import find_session
from core.store.rows import SessionRow
from db import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

TRASH_DAYS = 30
DAY = 86_400
LONGEST_TAG = 50


def changed_tags(tags: str, changes: Sequence[str]) -> str:
    """Return tags with `word` or `+word` added and `-word` removed. Raises UsageError for an
    invalid tag.
    """
    found = dict.fromkeys(tags.split())
    for change in changes:
        word = change.removeprefix("+").removeprefix("#").lower()
        if change.startswith("-"):
            found.pop(change[1:].removeprefix("#").lower(), None)
        elif not word or len(word) > LONGEST_TAG or not word.isprintable() or word.startswith("-"):
            raise UsageError(f"{change!r} is not a valid tag.",
                             f"A tag is one word of at most {LONGEST_TAG} characters.")
        else:
            found[word] = None
    return " ".join(sorted(found))


def delete_session(store: Store, row: SessionRow, *, forever: bool = False) -> str:
    """Move a session to the trash, or with `forever` delete it permanently; return a sentence for
    the user.
    """
    if forever:
        store.delete_session(row.id)
        return f"Session {row.short_name} was deleted permanently."
    if row.shelf == "trash":
        raise UsageError(f"Session {row.short_name} is already in the trash.",
                         "Use --forever to delete it permanently.")
    store.shelve_session(row.id, "trash")
    return (f"Session {row.short_name} is in the trash for {TRASH_DAYS} days; "
            f"/undelete {row.short_name} brings it back.")


def find_in_trash(store: Store, name: str) -> SessionRow:
    """Find a session in the trash. Raises SessionNotFound, and UsageError if it is not in the
    trash.
    """
    row = find_session(store, name)
    if row.shelf != "trash":
        raise UsageError(f"Session {row.short_name} is not in the trash.")
    return row


def empty_trash(store: Store) -> int:
    """Permanently delete sessions that have been in the trash for 30 days; return how many."""
    return store.empty_trash(time.time() - TRASH_DAYS * DAY)


def purge_note() -> str:
    return (f"Sessions in the trash are deleted permanently after {TRASH_DAYS} days; /undelete ID "
            "restores a session.")
