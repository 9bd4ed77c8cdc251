"""Commands for saved sessions: list, search, show, export and delete them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from core.chat.conversation import Chat
from core.commands import Choice, Confirm, Done, History, Outcome, command
from core.sessions.tables import result_table, session_table
from core.errors import UsageError
from core.sessions.export import ENDINGS, EXPORTERS, export_session, find_exporter, format_of
from core.sessions.search import search as find
from core.sessions.shelves import delete_session
from core.store.identity import short_names
from db import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.store.rows import Shelf

GROUP = "Sessions"
_HEADINGS = {"archived": "Archived", "trash": "In the trash"}
_WAYS_BACK = {"archived": "/unarchive ID puts one back into the list.",
              "trash": "/undelete ID brings one back.",
              "open": "/session ID resumes one, /resume lets you choose."}
MOST_LISTED = 20
MOST_SHOWN = 10    # messages of /history without a number


def _store(chat: Chat) -> Store:
    if chat.session.store is None:
        raise UsageError("Saving is off, so there are no saved sessions.",
                         "Sessions are saved unless --no-save is given.")
    return chat.session.store


async def _recent(chat: Chat) -> Sequence[str]:
    rows = _store(chat).sessions(MOST_LISTED)
    return [Choice(name, row.title)
            for name, row in zip(short_names([row.name for row in rows]), rows)]


async def _shelves(chat: Chat) -> Sequence[str]:
    return ("archived", "trash")


@command(usage="[WORDS | archived | trash]", complete=_shelves)
async def sessions(chat: Chat, argument: str) -> Outcome:
    """List the saved sessions, newest first, or those that contain all WORDS; or the archive or the
    trash.
    """
    shelf: Shelf | None = ("archived" if argument == "archived" else "trash" if argument == "trash"
                           else None)
    if shelf is not None:
        argument = ""
    rows = _store(chat).sessions(MOST_LISTED + 1, argument, shelf=shelf or "open")
    if not rows and shelf:
        return "No session is archived." if shelf == "archived" else "The trash is empty."
    if not rows:
        return (f"No saved session holds {argument!r}." if argument
                else "There are no saved sessions yet.")
    more = (f"These are the newest {MOST_LISTED}; /sessions WORDS searches all. "
            if len(rows) > MOST_LISTED else "")
    note = more + _WAYS_BACK[shelf or "open"]
    return session_table(rows[:MOST_LISTED], note, _HEADINGS.get(shelf or "", ""), chat.session.id)


@command(usage="WORDS | N")
async def search(chat: Chat, argument: str) -> Outcome:
    """Find what was said: words, "a phrase", -without, begin*, model: tag: after: before: in:.

    Then /search N opens result N.

    in: is title, question, answer, tool or branches (also what was undone).
    """
    if argument.isdecimal() and 1 <= int(argument) <= len(chat.found):
        return _open_found(chat, *chat.found[int(argument) - 1])
    if not argument:
        raise UsageError("/search needs words.",
                         'Example: /search "quantum physics" after:2026-01-31')
    results = find(_store(chat), argument)
    chat.found = [(entry.session.id, entry.hits[0].message if entry.hits else 0)
                  for entry in results]
    if not results:
        return f"Nothing was found for {argument!r}."
    return result_table(results, argument)


def _open_found(chat: Chat, session: str, message: int) -> Outcome:
    """Continue that session and show the exchange that was found."""
    opened = chat.open_session(session)
    said = chat.enter(opened)
    said = [*said, *chat.use_model_of(opened)]
    place = opened.ids.index(message) if message in opened.ids else len(opened.messages)
    first = max((number for number in range(min(place + 1, len(opened.messages)))
                 if opened.messages[number].role == "user"),
                default=0)
    told = " ".join([f"Session {opened.short_name}: {opened.title} (message {first + 1} of "
                     f"{len(opened.messages)}).", *said])
    return History(tuple(opened.messages[first:first + 2]), told)


@command(usage="[N]")
async def history(chat: Chat, argument: str) -> Outcome:
    """Show the last N messages of this conversation again (without N: the last 10)."""
    if argument and not (argument.isascii() and argument.isdigit() and int(argument)):
        raise UsageError("/history takes a number of messages.", "/history 4 shows the last four.")
    messages = chat.session.newest(int(argument or MOST_SHOWN))
    return History(tuple(messages)) if messages else "Nothing was said yet."


@command(usage="[ID] [--forever]", complete=_recent)
async def delete(chat: Chat, argument: str) -> Outcome:
    """Move a saved session to the trash for 30 days (/undelete); without ID: this one. --forever
    deletes it at once.
    """
    store = _store(chat)
    forever = "--forever" in argument.split()
    argument = " ".join(word for word in argument.split() if word != "--forever")
    if not argument and not chat.session.count:
        raise UsageError("Nothing was said in this session yet, so nothing of it is saved.",
                         "/sessions lists the others.")
    row = store.find_session(argument or chat.session.id)

    def act() -> str:
        said = delete_session(store, row, forever=forever)
        if row.id != chat.session.id:
            return said
        chat.session = chat.open_session(None)
        return f"{said} This is a new one."
    how = " permanently" if forever else ""
    named = f"{row.short_name} ({row.title}; {row.message_count} messages)"
    return Confirm(f"Delete session {named}{how}?",
                   act)


@command()
async def keep(chat: Chat, argument: str) -> Outcome:
    """Save this conversation as a new session, after another program deleted its session."""
    chat.session.keep()
    return Done(f"The conversation is saved as session {chat.session.short_name}.")


async def _formats(chat: Chat) -> Sequence[str]:
    return [f"{name} " for name in EXPORTERS]


@command(usage="[FORMAT] FILE [--force]", complete=_formats)
async def export(chat: Chat, argument: str) -> Outcome:
    """Write this session to a file, in FORMAT or the one its ending names; --force replaces an
    existing file.
    """
    words = shell_words(argument)
    force = "--force" in words[1:]
    words = [word for word in words if word != "--force"] if force else words
    format = words.pop(0) if words and (words[0] in EXPORTERS or len(words) > 1) else ""
    path = os.path.expanduser(" ".join(words))
    if not format and f".{path.lower()}" in ENDINGS and not os.path.exists(path):
        meant = ENDINGS[f".{path.lower()}"]
        raise UsageError(f"/export {path} names no file.",
                         f"Did you mean /export {meant} FILE, or /export chat.{path}?")
    if format:
        find_exporter(format)
    if not path:
        raise UsageError(f"/export needs a format ({', '.join(EXPORTERS)}) and a file; its ending "
                         "may name the format.",
                         "Example: /export chat.md")
    if not chat.session.count:
        raise UsageError("Nothing was said in this session yet.")
    export_session(_store(chat), chat.session.id, format or format_of(path), path, force=force)
    return Done(f"Exported to {path}")


def shell_words(text: str) -> list[str]:
    """Split it at quotes as in a shell; an unmatched apostrophe is an ordinary character."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()
