"""Commands for a saved session as a whole: its title, tags and place in the list."""

from __future__ import annotations

from core.chat.conversation import Chat
from core.commands import Done, Outcome, command
from core.sessions.tables import session_table
from core.errors import UsageError
from core.safe_text import safe_line
from core.sessions.shelves import changed_tags, find_in_trash, purge_note
from core.store.rows import SessionRow
from db import Store

GROUP = "Sessions"


def saved_row(chat: Chat, argument: str = "") -> tuple[Store, SessionRow]:
    """The open session, or the one of this name. Raises UsageError if nothing is saved."""
    store = chat.session.store
    if store is None:
        raise UsageError("Nothing is saved now.", "Sessions are saved unless --no-save is given.")
    if not argument and not chat.session.count:
        raise UsageError("Nothing was said in this session yet, so nothing of it is saved.",
                         "/sessions lists the others.")
    return store, store.find_session(argument or chat.session.id)


@command(usage="TITLE")
async def rename(chat: Chat, argument: str) -> Outcome:
    """Give this session another title."""
    saved_row(chat)
    chat.session.set_title(argument)
    return Done(f"This session is now called: {safe_line(chat.session.title)}")


@command(usage="[TAG | -TAG ...]")
async def tag(chat: Chat, argument: str) -> Outcome:
    """Show the tags of this session, or add some; -TAG removes one."""
    store, row = saved_row(chat)
    tags = changed_tags(row.tags, argument.split())
    if tags != row.tags:
        store.update_session(row.id, tags=tags)
    return f"Tags: {tags}" if tags else "This session has no tags."


@command(usage="[off]")
async def pin_session(chat: Chat, argument: str) -> Outcome:
    """Keep this session at the top of lists; off ends it."""
    if argument not in ("", "off"):
        raise UsageError("/pin-session takes nothing or off after it.")
    store, row = saved_row(chat)
    store.update_session(row.id, pinned=not argument)
    return Done("This session is no longer pinned." if argument
                else "This session is pinned: lists begin with it.")


@command(usage="[ID]")
async def archive(chat: Chat, argument: str) -> Outcome:
    """Take this session, or session ID, out of the lists; /sessions archived shows it, /unarchive
    lists it again.
    """
    store, row = saved_row(chat, argument)
    store.shelve_session(row.id, "archived")
    return Done(f"Session {row.name} is archived. /unarchive {row.name} brings it back.")


@command(usage="[ID]")
async def unarchive(chat: Chat, argument: str) -> Outcome:
    """List an archived session again."""
    store, row = saved_row(chat, argument)
    if row.shelf == "trash":
        raise UsageError(f"Session {row.name} is in the trash.",
                         f"/undelete {row.name} brings it back.")
    store.shelve_session(row.id, "open")
    return Done(f"Session {row.name} is in the lists again.")


@command(usage="[ID]")
async def undelete(chat: Chat, argument: str) -> Outcome:
    """List the trash, or restore a session from it."""
    store = chat.session.store
    if store is None:
        raise UsageError("Nothing is saved now.", "Sessions are saved unless --no-save is given.")
    if not argument:
        rows = store.sessions(shelf="trash")
        if not rows:
            return "The trash is empty."
        return session_table(rows, purge_note(), "In the trash")
    row = find_in_trash(store, argument)
    store.shelve_session(row.id, "open")
    return Done(f"Session {row.name} is back.")
