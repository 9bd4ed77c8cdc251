"""Asks the user on the page whether a tool or command may run.

A question waits until it is answered.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence

from core.chat.front import Front
from core.tool_executor import ApprovalRequest, Decision
from core.web.conversation.events import PageEvent

DECISIONS: dict[str, Decision] = {"once": "once", "session": "session", "always": "always"}


class Questions:
    """The open questions of one conversation. `publish` sends an event to all listening pages."""

    def __init__(self) -> None:
        self.publish: Callable[[PageEvent], None] = lambda event: None
        self._open: dict[str, asyncio.Future[str]] = {}

    def front(self) -> Front:
        """The Front of a chat on the page."""
        return Front(approve=self.approve, agree=self.agree)

    async def approve(self, request: ApprovalRequest) -> Decision:
        facts = [request.kind, *filter(None, (request.host, request.reason))]
        choice = await self._ask("tool", f"Allow {request.tool.name}?", request.text, facts,
                                 ("once", "session", "always", "no"))
        return DECISIONS.get(choice, "no")

    async def agree(self, command: str) -> bool:
        title = "Allow this?"
        return await self._ask("command", title, command, (), ("once", "no")) == "once"

    @property
    def waiting(self) -> bool:
        """Whether a question is open."""
        return bool(self._open)

    def decide(self, ask: str, choice: str) -> bool:
        """Answer a question; return False if it is no longer open."""
        future = self._open.get(ask)
        if future is None or future.done():
            return False
        future.set_result(choice)
        return True

    async def _ask(self, kind: str, title: str, text: str, facts: Sequence[str],
                   choices: Sequence[str]) -> str:
        ask = secrets.token_hex(8)
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._open[ask] = future
        self.publish({"type": "ask", "ask": ask, "kind": kind, "title": title, "text": text,
                      "facts": list(facts), "choices": list(choices)})
        choice = ""         # the turn was stopped
        try:
            choice = await future
        finally:
            del self._open[ask]
            self.publish({"type": "answered", "ask": ask, "choice": choice})
        return choice
