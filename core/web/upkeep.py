"""Removes the queues and uploaded files of deleted sessions."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from core.errors import StoreError
from core.web.conversation.desk import Desk, Desks
from core.web.uploads import Uploads
from db import Store

DAY = 86_400.0
AT_ONCE = 500       # sessions per query


async def tend(desks: Desks, uploads: Uploads, store: Store | None) -> None:
    """Clean up now and every day, as long as the server runs."""
    while True:
        with suppress(StoreError):      # tried again tomorrow
            await clear_up(desks, uploads, store, time.time() - DAY)
        await asyncio.sleep(DAY)


async def clear_up(desks: Desks, uploads: Uploads, store: Store | None, before: float) -> int:
    """Delete the desks of deleted sessions, and files uploaded before `before` that no session
    needs.

    Returns the number of deleted files.
    """
    known = dict(desks.all())
    for session in _gone(known, store):
        desks.forget(session)
        del known[session]
    needed = {path for desk in known.values() for path in _files(desk)}
    return await asyncio.to_thread(uploads.clean, needed, before)


def _gone(known: dict[str, Desk], store: Store | None) -> list[str]:
    """Return the sessions that are not in the store.

    A session whose first message is still queued is not stored yet and does not count.
    """
    if store is None:
        return []
    settled = [session for session, desk in known.items() if not desk.running and not desk.queue]
    there: set[str] = set()
    for start in range(0, len(settled), AT_ONCE):
        there.update(row.id for row in store.some_sessions(settled[start:start + AT_ONCE]))
    return [session for session in settled if session not in there]


def _files(desk: Desk) -> list[str]:
    return [path for entry in desk.queue for path in entry.files] + [path for _, paths in desk.files
                                                                     for path in paths]
