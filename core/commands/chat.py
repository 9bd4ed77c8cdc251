"""Commands of the conversation itself: help, model, sessions, going on and taking back."""

from __future__ import annotations

from core.chat.conversation import Chat
from core.commands import Again, History, Leave, Outcome, all_commands, command, find_command
from core.errors import UsageError
from core.messages import Message
from core.model_manager import parse_target
from core.rendering.table import Table
from core.safe_text import safe_line

GROUP = "The conversation"


@command("?", "h", usage="[COMMAND]")
async def help(chat: Chat, argument: str) -> Outcome:
    """List the commands, or explain one."""
    if argument:
        found = find_command(argument.removeprefix("/"))
        if found is None:
            raise UsageError(f"There is no command {argument}.", "/help lists them.")
        names = ", ".join(f"/{name}" for name in (found.name, *found.aliases))
        return f"{names} {found.usage}".strip() + f"\n{found.help}"
    entries = list(all_commands().values())
    groups = list(dict.fromkeys(entry.group for entry in entries))
    entries.sort(key=lambda entry: groups.index(entry.group))
    headings = {[entry.group for entry in entries].index(group): group for group in groups}
    rows = tuple((f"/{entry.name} {entry.usage}".strip(), entry.help.splitlines()[0]) for entry in entries)
    return Table(("command", "what it does"), rows,
                 "Alt-Enter or Ctrl-J starts a new line, Ctrl-C stops a reply, Ctrl-D leaves.", headings=headings)


@command()
async def new(chat: Chat, argument: str) -> Outcome:
    """Start a new session; the old one stays saved."""
    old = chat.session
    chat.session = chat.open_session(None)
    return f"A new session. The old one is {old.id}." if old.saved and old.messages else "A new session."


@command()
async def retry(chat: Chat, argument: str) -> Outcome:
    """Ask the last question again; the reply it had stays saved."""
    question = chat.session.retry()
    if question is None:
        raise UsageError("There is nothing to ask again yet.")
    return Again(said=f"Asked again: {_beginning(question)}")


def _beginning(message: Message) -> str:
    return safe_line(" ".join(message.text.split()), 60) or "(no text)"


@command("resume", usage="[ID]")
async def session(chat: Chat, argument: str) -> Outcome:
    """Show this session's ID, or go on with another one (the start of its ID will do)."""
    if not argument:
        return f"This is session {chat.session.name}" + (f": {chat.session.title}" if chat.session.title else ".")
    opened = chat.open_session(argument)
    said = chat.enter(opened)
    if opened.model:
        chat.target = parse_target(opened.model, known=chat.settings.providers)
    told = " ".join([f"Session {opened.name}: {opened.title} ({len(opened.messages)} messages, {chat.target}).", *said])
    return History(tuple(opened.messages), told, last=True)


@command()
async def drop(chat: Chat, argument: str) -> Outcome:
    """Take the last reply out of the conversation; it stays saved but is not sent any more."""
    if not chat.session.messages or chat.session.messages[-1].role == "user" or chat.session.retry() is None:
        raise UsageError("There is no reply to drop.")
    return f"The last reply is out of the conversation, which now ends with your message: {_beginning(chat.session.messages[-1])}"


@command("go")
async def continue_(chat: Chat, argument: str) -> Outcome:
    """Let the model go on with a reply that broke off, was stopped, or met its length limit."""
    return Again(go_on=True)


@command(usage="[TEXT | off]")
async def system(chat: Chat, argument: str) -> Outcome:
    """Show, set or (off) remove the system prompt."""
    if not argument:
        return f"System prompt: {chat.system}" if chat.system else "There is no system prompt."
    chat.set_system(None if argument == "off" else argument)
    return "The system prompt is off." if argument == "off" else "The system prompt is set; it holds from the next answer on."


@command("quit", "bye", "q", "ex")
async def exit(chat: Chat, argument: str) -> Outcome:
    """Leave; the session stays saved."""
    return Leave()
