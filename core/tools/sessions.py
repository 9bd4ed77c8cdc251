"""Searches earlier chats."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from core.errors import StoreError, ToolError
from core.tools import ToolContext, tool
from core.store.rows import SessionRow
from db import Store, open_store

AROUND = 160   # characters shown on each side of a match


@tool(private=True, safe=True)
def search_sessions(context: ToolContext,
                    words: Annotated[str, "words that all occur",
                                     {"minLength": 2, "maxLength": 200}],
                    max_sessions: Annotated[int, "", {"minimum": 1, "maximum": 20}] = 5) -> str:
    """Search the user's earlier chat sessions, newest first:
    ID, date, title and the places found.
    """
    if context.store is None:
        raise ToolError("Sessions are not saved in this run, so there is nothing to search.")
    try:
        # a separate connection, since the tool runs in another thread than the chat
        store = open_store(context.store.url)
        try:
            rows = [row for row in store.sessions(max_sessions + 1, words)
                    if row.id != context.session][:max_sessions]
            found = [_described(store, row, words.split()) for row in rows]
        finally:
            store.close()
    except StoreError as problem:
        raise ToolError(problem.message, problem.hint) from problem
    return "\n\n".join(found) if found else "No earlier session has these words."


def _described(store: Store, row: SessionRow, words: list[str]) -> str:
    lines = [f"{row.name}  {datetime.fromtimestamp(row.updated):%Y-%m-%d %H:%M}  {row.title}"]
    for stored in store.load_messages(row.id):
        text = " ".join(stored.message.text.split())
        places = [place for word in words if (place := text.lower().find(word.lower())) >= 0]
        if places:
            lines.append(f"  {stored.message.role}: {_excerpt(text, min(places))}")
        if len(lines) > 4:
            break
    return "\n".join(lines)


def _excerpt(text: str, place: int) -> str:
    start, end = max(0, place - AROUND), place + AROUND
    return ("\u2026" if start else "") + text[start:end] + ("\u2026" if end < len(text) else "")
