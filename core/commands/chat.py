"""Commands of the conversation itself: new and saved sessions, continuing a reply, the system
prompt.
"""

from __future__ import annotations

from core.chat.conversation import Chat
from core.commands import Again, Choice, ChooseSession, Done, History, Leave, Outcome, command
from core.errors import SessionNotFound, UsageError
from core.sessions.search import search

GROUP = "Chat"
COMPLETED = 20      # sessions offered for completion


@command()
async def new(chat: Chat, argument: str) -> Outcome:
    """Start a new session; the old one stays saved."""
    old = chat.session
    chat.session = chat.open_session(None)
    kept = f" The old one is saved as {old.name}." if old.saved and old.count else ""
    return Done(f"New session {chat.session.name}.{kept}" if chat.session.saved
                else "New session, not saved.")


async def _sessions(chat: Chat) -> list[str]:
    """The newest sessions, by their names."""
    if chat.session.store is None:
        return []
    return [Choice(row.name, row.title) for row in chat.session.store.sessions(COMPLETED)]


@command(usage="[ID]", complete=_sessions)
async def session(chat: Chat, argument: str) -> Outcome:
    """Show this session's ID, or resume another one (a part of its ID is enough)."""
    if not argument:
        return (f"This is session {chat.session.name}"
                + (f": {chat.session.title}" if chat.session.title else "."))
    return _resumed(chat, argument)


@command(usage="[ID | WORDS]", complete=_sessions)
async def resume(chat: Chat, argument: str) -> Outcome:
    """Resume another session: choose it from a list, or name it by a part of its ID, or by words
    that it contains.

    If several contain the words, you choose among them.
    """
    store = chat.session.store
    if argument:
        try:
            return _resumed(chat, argument)
        except SessionNotFound:
            found = search(store, argument, limit=2, hits=1, complete_last=True) if store else []
            if not found:
                raise
            if len(found) == 1:
                return _resumed(chat, found[0].session.id)
    if store is None:
        raise UsageError("Saving is off, so there is no session to choose.",
                         "Sessions are saved unless --no-save is given.")
    return ChooseSession(store, lambda identity: _resumed(chat, identity), argument)


def _resumed(chat: Chat, name: str) -> History:
    opened = chat.open_session(name)
    said = chat.enter(opened)
    said = [*said, *chat.use_model_of(opened)]
    told = " ".join([f"Session {opened.name}: {opened.title} ({opened.count} messages, "
                     f"{chat.target}).", *said])
    return History(opened.recent, told, last=True)


@command("go")
async def continue_(chat: Chat, argument: str) -> Outcome:
    """Continue a reply that broke off, was stopped, or reached its length limit."""
    return Again(go_on=True)


@command(usage="[TEXT | off]")
async def system(chat: Chat, argument: str) -> Outcome:
    """Show or set the system prompt; off removes it."""
    if not argument:
        return f"System prompt: {chat.system}" if chat.system else "There is no system prompt."
    chat.set_system(None if argument == "off" else argument)
    return Done("System prompt removed." if argument == "off"
                else "System prompt set, from the next answer on.")


@command("quit", "bye", "q", "ex")
async def exit(chat: Chat, argument: str) -> Outcome:
    """Leave; the session stays saved."""
    return Leave()
