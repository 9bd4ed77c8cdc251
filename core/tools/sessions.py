"""Search in earlier chats."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from core.errors import StoreError, ToolError
from core.tool_executor import ToolContext, tool

AROUND = 160   # characters shown on each side of a find


@tool(private=True, safe=True)
async def search_sessions(context: ToolContext, words: Annotated[str, "words that all occur", {"minLength": 2, "maxLength": 200}],
                          max_sessions: Annotated[int, "", {"minimum": 1, "maximum": 20}] = 5) -> str:
    """Search the user's earlier chat sessions, newest first: ID, date, title and the places found."""
    # Asynchronous although nothing is awaited: the store belongs to the thread that opened it, and a look-up takes milliseconds.
    if context.store is None:
        raise ToolError("Sessions are not saved in this run, so there is nothing to search.")
    try:
        rows = [row for row in context.store.sessions(max_sessions + 1, words) if row.id != context.session][:max_sessions]
        found = [_described(context, row, words.split()) for row in rows]
    except StoreError as problem:
        raise ToolError(problem.message, problem.hint) from problem
    return "\n\n".join(found) if found else "No earlier session has these words."


def _described(context: ToolContext, row: Any, words: list[str]) -> str:
    lines = [f"{row.id}  {datetime.fromtimestamp(row.updated):%Y-%m-%d %H:%M}  {row.title}"]
    for stored in context.store.load_messages(row.id):
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
