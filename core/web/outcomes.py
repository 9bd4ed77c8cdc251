"""Runs a slash command typed on the page, and returns what the page should show or do."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from typing import Any

from core.chat.aside import Aside
from core.chat.conversation import Chat
from core.commands import (Again, Beside, ChooseSession, Compact, Compare, Confirm, Edit, Fetch,
                           Filling, History, Leave, Look, Outcome, Page, Paste, Say, ToClipboard,
                           run_command)
from core.commands.help import KEYS, OFTEN, SHORT_KEYS
from core.model_manager import Target
from core.rendering.bars import bar_text
from core.rendering.table import Table
from core.session_manager import Session
from core.web.conversation.desk import Queued
from core.web.conversation.live import Live
from core.web.team.member_limits import may_use, require_allowed

# commands that mean nothing on a page
OF_TERMINAL = frozenset({"theme", "status", "exit", "paste"})
PAGE_KEYS = "? outside of the message box shows the keys of the page."
HELP_COLUMNS = (("", ""), ("command", "what it does"))
# rows of /help that are different on the page
ON_PAGE: dict[tuple[str, ...], tuple[str, ...]] = {
    ("Keys", SHORT_KEYS): ("Keys", PAGE_KEYS),
    OFTEN[0]: ("Files", "drop a file or picture on the page, or paste it, to attach it")}


def offered(chat: Chat, name: str) -> bool:
    """Return whether the page lists this command for the user."""
    return name not in OF_TERMINAL and (not chat.settings.team or may_use(name))


async def act(live: Live, line: str, *, confirmed: bool = False) -> dict[str, Any]:
    """Run a command and return its outcome as JSON; a requested turn is begun.

    `confirmed`: the user has confirmed its question. Raises ChatError.
    """
    chat, target, session = live.chat, live.chat.target, live.chat.session
    if chat.settings.team:
        require_allowed(line)
    outcome = await run_command(chat, line)
    if confirmed and isinstance(outcome, Confirm):
        outcome = outcome.act()
    if chat.session is not session:
        return _elsewhere(live, session, target, outcome)
    shown = await _asked(outcome.aside) if isinstance(outcome, Beside) else _shown(live, outcome)
    if live.catch_up():
        shown["redraw"] = True
    if chat.target != target:
        shown["model"] = str(chat.target)
        live.publish({"type": "session", **live.about()})
    return shown


def _elsewhere(live: Live, session: Session, target: Target, outcome: Outcome) -> dict[str, Any]:
    """Return the outcome of a command that switched sessions: the page opens the other session, and
    this conversation keeps its own.
    """
    chat, other = live.chat, live.chat.session
    chat.enter(session)
    chat.target = target
    other.close()
    said = outcome if isinstance(outcome, str) else getattr(outcome, "said", "")
    return {"show": "text", "text": said, "session": other.id if other.count else ""}


async def _asked(aside: Aside) -> dict[str, Any]:
    """Return the answer to an aside, shown like a command's output since it is not part of the
    conversation.
    """
    async with aclosing(aside.answer()) as events:
        async for _ in events:
            pass
    said = "\n\n".join(reply.text for reply in aside.replies)
    return {"show": "text", "text": f"{said}\n\n(An aside, not part of the conversation. "
                                    "Add it with /aside keep.)"}


def _shown(live: Live, outcome: Outcome) -> dict[str, Any]:
    match outcome:
        case str(text):
            return {"show": "text", "text": text}
        case Table(rows=rows) if rows == KEYS:
            return {"show": "text", "text": PAGE_KEYS}
        case Table(columns=columns, rows=rows, note=note):
            if columns in HELP_COLUMNS:
                rows = tuple(_help_rows(live.chat, rows))
            return {"show": "table", "columns": columns, "rows": rows, "note": note}
        case ChooseSession():
            return {"show": "text", "text": "Choose a session in the list beside the conversation, "
                    "or name it: /resume ID."}
        case Filling(bars=bars, attached=attached, notes=notes):
            added = [f"+ {name}  {said}" for name, said in attached]
            return {"show": "text", "text": "\n".join([bar_text(bars), "", *added, *notes])}
        case Page(text):
            return {"show": "text", "text": text}
        case ToClipboard(text):
            return {"show": "copy", "text": text}
        case Paste():
            return {"show": "text", "text": "Paste with the browser's own shortcut."}
        case Again(go_on, said):
            live.run(live.chat.continue_reply if go_on else live.chat.answer)
            return {"show": "text", "text": said}
        case Say(text, images):
            sent = tuple((image.media_type, image.data, image.name) for image in images)
            live.post(Queued(secrets.token_hex(8), text, sent))
        case Compact():
            live.run(live.chat.compact)
        case History(said=said):
            return {"show": "text", "text": said}
        case Confirm(question):
            return {"show": "confirm", "text": question}
        case Edit(text):
            return {"show": "edit", "text": text}
        case Fetch(target):
            return {"show": "pull", "model": str(target)}
        case Compare(comparison):
            live.compare(comparison)
        case Look():
            return {"show": "text", "text": "This setting is for the terminal; the page follows "
                    "the browser."}
        case Leave():
            return {"show": "text", "text": "Close the tab to leave; the server keeps running."}
    return {"show": "nothing"}


def _help_rows(chat: Chat, rows: Iterable[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Rows of /help as they apply to the page: a command with its description, or a group with
    its commands.
    """
    for row in rows:
        names = row[1].split()
        if row in ON_PAGE:
            yield ON_PAGE[row]
        elif names and all(name.startswith("/") for name in names):
            listed = [name for name in names if offered(chat, name[1:])]
            if listed:
                yield row[0], "  ".join(listed)
        elif not row[0].startswith("/") or offered(chat, row[0][1:].split(" ")[0]):
            yield row
