"""Loads earlier chats as context: the newest ones, one by its ID, or those that contain words."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from core.context.items import Fault, Found, Item
from core.context.sources import Source
from core.errors import SessionAmbiguous, SessionNotFound, StoreError
from core.store.query import parse_query
from core.store.rows import SessionRow, StoredMessage
from db import Store

MOST_SESSIONS = 100       # newest sessions that `db` alone loads
MOST_FOUND = 60           # newest messages that a search loads
AROUND = 1                # messages before and after a match that are included
MOST_RESULT = 2_000       # characters of a tool's result, since it can be read again


def load_sessions(source: Source, store: Store | None, current: str = "") -> Iterator[Found]:
    """The sessions that a source names, except the current one."""
    if store is None:
        yield Fault(source.name, "sessions are not saved in this run (--no-save)")
        return
    try:
        if source.kind == "sessions":
            yield from _newest(source, store, current)
        elif source.words:
            yield from _with_words(source, store, current)
        else:
            yield from _one(source, store, current)
    except (StoreError, SessionNotFound) as problem:
        yield Fault(source.name, problem.message, problem.hint)


def _newest(source: Source, store: Store, current: str) -> Iterator[Found]:
    rows = [row for row in store.sessions(MOST_SESSIONS + 2) if row.id != current]
    if not rows:
        yield Fault(source.name, "there are no earlier sessions")
    for row in rows[:MOST_SESSIONS]:
        yield from _session_item(source, row, store.load_messages(row.id), named=False)
    if len(rows) > MOST_SESSIONS:
        yield Fault(source.name, f'only the newest {MOST_SESSIONS} sessions are in; db:"words" '
                    'searches them all')


def _one(source: Source, store: Store, current: str) -> Iterator[Found]:
    """A session by its ID; other text is searched for, since a shell removes the quotes of
    db:"words".
    """
    try:
        row = store.find_session(source.target)
    except SessionAmbiguous:
        raise
    except SessionNotFound as problem:
        found = list(_with_words(source, store, current))
        yield from (found if any(isinstance(entry, Item) for entry in found)
                    else [Fault(source.name, problem.message, problem.hint)])
        return
    yield from _session_item(source, row, store.load_messages(row.id), named=True)


def _session_item(source: Source, row: SessionRow, stored: Sequence[StoredMessage], *,
                  named: bool) -> Iterator[Found]:
    text = "\n\n".join(filter(None, map(_written, stored)))
    if text:
        yield _item(source, row.name, row.title, row.updated, text, named=named)
    elif named:
        yield Fault(source.name, "has no messages")


def _item(source: Source, identity: str, title: str, when: float, text: str, *,
          named: bool) -> Item:
    head = (f"Session {identity}, {time.strftime('%Y-%m-%d %H:%M', time.localtime(when))}: "
            f"{title}\n\n")
    return Item(f"session {identity}", "session", source.name, len(text), text=head + text,
                named=named)


def _written(stored: StoredMessage) -> str:
    """A message as text with its role and tool calls; "" if it has no text."""
    message = stored.message
    words = [message.text] if message.text.strip() else []
    words += [f"[{call.name} was called]" for call in message.tool_calls]
    words += [f"[{result.name}] {result.content[:MOST_RESULT]}" for result in message.tool_results]
    return f"{message.role}: " + "\n".join(words) if words else ""


def _with_words(source: Source, store: Store, current: str) -> Iterator[Found]:
    """The messages that contain all words, with those around them, by session, newest first."""
    found: dict[str, list[int]] = {}
    query = parse_query(source.target)
    messages = store.find_messages(query, MOST_FOUND) or store.find_messages(query.beginnings(),
                                                                             MOST_FOUND)
    for session, message in messages:
        if session != current:
            found.setdefault(session, []).append(message)
    if not found:
        yield Fault(source.name, "no earlier message has these words")
    for session, places in found.items():
        row = store.find_session(session)
        parts = _around(store.load_messages(session), set(places))
        yield _item(source, row.name, row.title, row.updated, "\n\n".join(parts), named=True)


def _around(stored: Sequence[StoredMessage], wanted: set[int]) -> Iterator[str]:
    """The found messages with those before and after; "..." marks what is left out."""
    places = [place for place, entry in enumerate(stored) if entry.id in wanted]
    shown = sorted({near for place in places for near in range(place - AROUND, place + AROUND + 1)
                    if 0 <= near < len(stored)})
    last = -1
    for place in shown:
        if place != last + 1:
            yield "..."
        yield _written(stored[place])
        last = place
    if last + 1 < len(stored):
        yield "..."
