"""Commands that share a session with other members of a team."""

from __future__ import annotations

from core.chat.conversation import Chat
from core.commands import Outcome, command
from core.commands.shelves import saved_row
from core.safe_text import safe_line
from core.sessions import sharing

GROUP = "Sessions"


@command(usage="[NAME | NAME:write ...]")
async def share(chat: Chat, argument: str) -> Outcome:
    """Show who shares this session, or let members of your team read it (NAME) or also write to it
    (NAME:write).
    """
    store, row = saved_row(chat)
    for name in argument.split():
        sharing.share(store, row, name)
    return safe_line(sharing.shared_with(store, row))


@command(usage="NAME ...")
async def unshare(chat: Chat, argument: str) -> Outcome:
    """Stop sharing this session with NAME."""
    store, row = saved_row(chat)
    for name in argument.split():
        store.unshare_session(row.id, name)
    return safe_line(sharing.shared_with(store, row))
