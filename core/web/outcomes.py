"""Runs a slash command that was typed on the page, and says what the page is to show or do."""

from __future__ import annotations

import secrets
from typing import Any

from core.commands import Again, Compact, Compare, Confirm, Edit, Fetch, History, Leave, Look, Outcome, Page, Say, run_command
from core.rendering.table import Table
from core.web.desk import Queued
from core.web.live import Live


async def act(live: Live, line: str, *, confirmed: bool = False) -> dict[str, Any]:
    """The outcome as JSON; a turn that it asks for is begun. `confirmed`: the user said yes to its question. Raises ChatError."""
    target, session = live.chat.target, live.chat.session.id
    outcome = await run_command(live.chat, line)
    if confirmed and isinstance(outcome, Confirm):
        outcome = outcome.act()
    shown = _shown(live, outcome)
    if live.chat.target != target:
        shown["model"] = str(live.chat.target)
        live.publish({"type": "session", "title": live.chat.session.title, "model": str(live.chat.target)})
    if live.chat.session.id != session:
        shown["session"] = live.chat.session.id
    return shown


def _shown(live: Live, outcome: Outcome) -> dict[str, Any]:
    match outcome:
        case str(text):
            return {"show": "text", "text": text}
        case Table(columns=columns, rows=rows, note=note):
            return {"show": "table", "columns": columns, "rows": rows, "note": note}
        case Page(text):
            return {"show": "text", "text": text}
        case Again(go_on, said):
            live.run(live.chat.go_on if go_on else live.chat.answer)
            return {"show": "text", "text": said}
        case Say(text):
            live.post(Queued(secrets.token_hex(8), text))
        case Compact():
            live.run(live.chat.compact)
        case History(said=said):
            return {"show": "text", "text": said, "reload": True}
        case Confirm(question):
            return {"show": "confirm", "text": question}
        case Edit(text):
            return {"show": "edit", "text": text}
        case Fetch(target):
            return {"show": "pull", "model": str(target)}
        case Compare():
            return {"show": "text", "text": "Use Compare at the top of the page."}
        case Look():
            return {"show": "text", "text": "This is for the terminal: the page follows the browser."}
        case Leave():
            return {"show": "text", "text": "Close the tab to leave; the server keeps running."}
    return {"show": "nothing"}
