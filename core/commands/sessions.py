"""Commands about what is saved: list, search, show, export and delete sessions."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from core.chat.conversation import Chat
from core.commands import Confirm, History, Outcome, command
from core.errors import UsageError
from core.rendering.table import Table
from core.sessions.export import ENDINGS, EXPORTERS, export_session, find_exporter, format_of
from core.sessions.listing import COLUMNS
from db import Store

GROUP = "Sessions"
MOST_LISTED = 20
MOST_SHOWN = 10    # messages of /history without a number


def _store(chat: Chat) -> Store:
    if chat.session.store is None:
        raise UsageError("Nothing is saved now, so there is nothing to look at.", "Sessions are saved unless --no-save is given.")
    return chat.session.store


async def _recent(chat: Chat) -> Sequence[str]:
    return [row.name for row in _store(chat).sessions(MOST_LISTED)]


@command(usage="[WORDS]")
async def sessions(chat: Chat, argument: str) -> Outcome:
    """List the saved sessions, newest first, or those that hold all WORDS."""
    rows = _store(chat).sessions(MOST_LISTED + 1, argument)
    if not rows:
        return f"No saved session holds {argument!r}." if argument else "There are no saved sessions yet."
    more = f"These are the newest {MOST_LISTED}; /sessions WORDS looks in all. " if len(rows) > MOST_LISTED else ""
    cells = tuple(zip(*(column.cells(rows[:MOST_LISTED]) for column in COLUMNS)))
    return Table(tuple(column.heading for column in COLUMNS), cells, f"{more}/session ID goes on with one.",
                 optional=tuple(column.heading for column in COLUMNS if column.optional))


@command(usage="[N]")
async def history(chat: Chat, argument: str) -> Outcome:
    """Show the last N messages of this conversation again (without N: the last 10)."""
    if argument and not (argument.isascii() and argument.isdigit() and int(argument)):
        raise UsageError("/history takes a number of messages.", "/history 4 shows the last four.")
    messages = chat.session.messages[-int(argument or MOST_SHOWN):]
    return History(tuple(messages)) if messages else "Nothing was said yet."


@command(usage="[ID]", complete=_recent)
async def delete(chat: Chat, argument: str) -> Outcome:
    """Delete a saved session for ever, after a question; without ID: this one."""
    store = _store(chat)
    if not argument and not chat.session.messages:
        raise UsageError("Nothing was said in this session yet, so nothing of it is saved.", "/sessions lists the others.")
    row = store.find_session(argument or chat.session.id)

    def act() -> str:
        store.delete_session(row.id)
        if row.id != chat.session.id:
            return f"Session {row.name} is deleted."
        chat.session = chat.open_session(None)
        return f"Session {row.name} is deleted. This is a new one."
    return Confirm(f"Delete session {row.name} ({row.title}; {row.message_count} messages) for ever?", act)


@command()
async def keep(chat: Chat, argument: str) -> Outcome:
    """Save this conversation as a new session, after another program deleted its session."""
    chat.session.keep()
    return f"The conversation is saved as session {chat.session.name}."


async def _formats(chat: Chat) -> Sequence[str]:
    return [f"{name} " for name in EXPORTERS]


@command(usage="[FORMAT] FILE [--force]", complete=_formats)
async def export(chat: Chat, argument: str) -> Outcome:
    """Write this session into a file, in FORMAT or the one that its ending stands for; --force replaces a file that exists."""
    words = shell_words(argument)
    force = "--force" in words[1:]
    words = [word for word in words if word != "--force"] if force else words
    format = words.pop(0) if words and (words[0] in EXPORTERS or len(words) > 1) else ""
    path = os.path.expanduser(" ".join(words))
    if not format and f".{path.lower()}" in ENDINGS and not os.path.exists(path):
        meant = ENDINGS[f".{path.lower()}"]
        raise UsageError(f"/export {path} names no file.", f"Did you mean /export {meant} FILE, or /export chat.{path}?")
    if format:
        find_exporter(format)
    if not path:
        raise UsageError(f"/export needs a format ({', '.join(EXPORTERS)}) and a file; its ending may name the format.",
                         "Example: /export chat.md")
    if not chat.session.messages:
        raise UsageError("Nothing was said in this session yet.")
    export_session(_store(chat), chat.session.id, format or format_of(path), path, force=force)
    return f"Exported to {path}"


def shell_words(text: str) -> list[str]:
    """Quotes as in a shell; an apostrophe without its second is itself."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()
