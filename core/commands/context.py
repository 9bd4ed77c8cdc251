"""Commands for attachments and long conversations: /context, /pin, /compact, /uncompact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from core.chat.conversation import Chat
from core.commands import Compact, Done, Filling, Outcome, command
from core.errors import ContextError, UsageError
from core.messages import Message
from core.models.facts import short_count
from core.rendering.table import Table
from core.safe_text import safe_line
from core.window.budget import budget_bars

MOST_LISTED = 200
MOST_SOURCES = 8      # sources shown under the bars
HINT = "/context, /context list, /context add SOURCE, /context drop NAME, /context refresh"


async def _words(chat: Chat) -> Sequence[str]:
    return ["list", "refresh", "add ", *(f"drop {source.name}" for source in chat.context.sources)]


@command(usage="[list | add SOURCE | drop NAME | refresh]", complete=_words)
async def context(chat: Chat, argument: str) -> Outcome:
    """Show what fills the model's window; attach files, folders, pages, databases or earlier chats,
    list them, take them out.
    """
    word, _, rest = argument.partition(" ")
    await chat.bring_back()
    match word, rest.strip():
        case "", "":
            return await _shown(chat)
        case "list", "":
            return _listed(chat)
        case "refresh", "":
            return await _refreshed(chat)
        case "add", source if source:
            return await _added(chat, source)
        case "drop", name if name:
            count = chat.context.drop(name)
            chat.keep_attached()
            items = "item" if count == 1 else "items"
            return Done(f"{name} is out of the context ({count:,} {items}).")
    raise ContextError(f"/context does not know {argument!r}.", HINT)


async def _shown(chat: Chat) -> Filling:
    fitted = await chat.fitter.fit(chat.request(), chat.target)
    budget, notes = fitted.budget, [note for note in fitted.notices if note]
    doubt = chat.fitter.estimator.doubt(fitted.request, str(chat.target))
    if doubt:
        notes.append("Token counts are estimates; their sum may be off by "
                     f"{doubt:,}.")
    if chat.context.sources:
        notes.append(f"What is attached may take {budget.for_context:,} of the window's "
                     f"{budget.window:,} tokens; {budget.reserve:,} are kept for the answer. "
                     "/context list shows what was chosen and why.")
    else:
        notes.append("Nothing attached. /context add SOURCE attaches files, folders, pages, "
                     "databases, or db (earlier chats).")
    return Filling(budget_bars(budget, chat.target.model), tuple(_attached(chat)), tuple(notes))


def _attached(chat: Chat) -> Iterator[tuple[str, str]]:
    """Each source, and how much of it the last request contained."""
    for source in chat.context.sources[:MOST_SOURCES]:
        items = [item for item in chat.context.items if item.origin == source.name]
        sent = [item for item in items if item.included]
        tokens = short_count(sum(item.tokens for item in sent))
        count = "" if len(items) == 1 else f"{len(sent):,} of {len(items):,} items, "
        yield source.name, f"{count}{tokens} tokens" if sent else "not in the last request"
    if len(chat.context.sources) > MOST_SOURCES:
        yield f"{len(chat.context.sources) - MOST_SOURCES:,} more", "/context list shows them"


def _listed(chat: Chat) -> Outcome:
    items, sources = chat.context.items, chat.context.sources
    if not sources:
        return "Nothing attached. /context add takes a file, folder or address."
    rows = tuple((item.name, item.kind, f"\u2248{item.tokens:,}" if item.tokens else "",
                  {"whole": "whole", "pieces": "in part", "": "no"}[item.included]
                  + (f"; {item.note}" if item.note else ""),
                  item.why)
                 for item in sorted(items, key=lambda item: not item.included)[:MOST_LISTED])
    more = (f" The first {MOST_LISTED} of {len(items):,} are listed." if len(items) > MOST_LISTED
            else "")
    faults = "".join(f" Not attached: {fault}." for fault in chat.context.faults)
    return Table(("name", "kind", "tokens", "in the last request", "why"), rows,
                 f"Attached: {', '.join(source.name for source in sources)}.{more}"
                 f"{_set_aside(chat)}{faults}")


def _set_aside(chat: Chat) -> str:
    """How many files of folders the rules exclude, by reason."""
    aside = sum((loaded.aside for loaded in chat.context.loaded.values()), start=Counter[str]())
    listed = ", ".join(f"{count:,} {reason}" for reason, count in sorted(aside.items()))
    return f" Not taken from folders: {listed}." if listed else ""


async def _added(chat: Chat, source: str) -> str:
    known = len(chat.context.items)
    faults = await chat.attach(source)
    count = len(chat.context.items) - known
    said = f"Attached {source}: {count:,} {'item' if count == 1 else 'items'}."
    return "\n".join([said, *faults]) if faults else Done(said)


async def _refreshed(chat: Chat) -> str:
    if not chat.context.sources:
        return "Nothing attached. /context add takes a file, folder or address."
    faults = await chat.context.refresh()
    count = len(chat.context.items)
    said = f"Reloaded {count:,} {'item' if count == 1 else 'items'}."
    return "\n".join([said, *map(str, faults)]) if faults else Done(said)


@command(usage="[NUMBER | list]")
async def pin(chat: Chat, argument: str) -> Outcome:
    """Keep the last exchange, or message NUMBER, in the conversation when others are summarised or
    left out.
    """
    if argument == "list":
        return _pinned(chat)
    for place in _places(chat, argument):
        chat.session.pin(place)
    return Done("Pinned: never summarised or left out. /unpin undoes it.")


@command(usage="[NUMBER]")
async def unpin(chat: Chat, argument: str) -> Outcome:
    """Allow the last exchange, or message NUMBER, to be summarised and left out again."""
    for place in _places(chat, argument):
        chat.session.pin(place, on=False)
    return Done("Unpinned.")


def _places(chat: Chat, argument: str) -> list[int]:
    """The index of a message by its number (from 1), or of the user's last one. Raises UsageError.
    """
    messages = chat.session.messages
    if argument:
        if not (argument.isascii() and argument.isdigit() and 1 <= int(argument) <= len(messages)):
            raise UsageError(f"There is no message {argument}.",
                             f"The conversation has {len(messages)}; the first is number 1.")
        return [int(argument) - 1]
    last = max((place for place, message in enumerate(messages) if message.role == "user"),
               default=None)
    if last is None:
        raise UsageError("There is nothing to pin yet.")
    return [last]


def _pinned(chat: Chat) -> Outcome:
    messages = chat.session.messages
    rows = tuple((str(place + 1), messages[place].role, _beginning(messages[place]))
                 for place in chat.session.pinned)
    return Table(("number", "who", "what"), rows) if rows else "Nothing is pinned."


def _beginning(message: Message) -> str:
    return safe_line(" ".join(message.text.split()), 100)


@command()
async def compact(chat: Chat, argument: str) -> Outcome:
    """Let the model summarise the older part of the conversation; nothing is deleted, /uncompact
    restores it.
    """
    return Compact()


@command()
async def uncompact(chat: Chat, argument: str) -> Outcome:
    """Restore the messages that the newest summary replaced."""
    return Done(f"Restored {chat.session.uncompact()} messages in place of their summary.")
