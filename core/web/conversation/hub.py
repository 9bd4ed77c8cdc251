"""Manages the open conversations of the server, and finishes turns that another process left."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from core.chat.conversation import Chat
from core.chat.front import Front
from core.dataclass import replace
from core.errors import ChatError, SessionNotFound, UsageError
from core.web.conversation.desk import Desks
from core.web.conversation.live import Live
from core.web.conversation.pace import Pace
from core.web.conversation.questions import Questions
from core.web.conversation.watching import Watch

IDLE_SECONDS = 600.0        # seconds after which an unused conversation is closed
FRESH_SECONDS = 10.0        # seconds in which it is never closed: its page is about to listen
TEND_SECONDS = 10.0         # seconds between two looks at what may be closed
LOOK_SECONDS = 0.2          # seconds between checks for other programs' writes
TAKE_OVER_LOOKS = 50        # seconds between checks of a dead process's turn
MOST_OPEN = 500
log = logging.getLogger(__name__)
OpenChat = Callable[[str | None, Front], Awaitable[Chat]]


def unused(idle: Mapping[str, float], count: int, now: float) -> list[str]:
    """Return the conversations to close, of `count` open ones: those idle for long, and the least
    recently used ones beyond MOST_OPEN. `idle` maps them to the time when they were used last.
    """
    surplus = count - MOST_OPEN
    return [session for place, (session, used) in enumerate(sorted(idle.items(),
                                                                   key=lambda pair: pair[1]))
            if used < now - (IDLE_SECONDS if place >= surplus else FRESH_SECONDS)]


class Hub:
    """One Live per session, shared by all its pages.

    `open_chat` returns the chat of a stored session, or a new one for None; it may raise ChatError.
    """

    def __init__(self, open_chat: OpenChat, desks: Desks, pace: Pace, watch: Watch) -> None:
        self._open_chat, self._pace, self._watch = open_chat, pace, watch
        self.desks = desks
        self._lives: dict[str, Live] = {}
        self._opening = asyncio.Lock()

    async def new(self) -> Live:
        """Return a new conversation, which is saved with its first message."""
        live = await self._open(None)
        self.desks.begin(live.chat.session.id)
        return live

    async def get(self, session: str) -> Live:
        """Return the conversation with this ID. Raises SessionNotFound, also for one that is no
        longer shared with this member, and StoreError.
        """
        live = self._lives.get(session)
        if live is not None and live.chat.session.is_withdrawn():
            await self._close_for_good(session, live)
            live = None
        if live is not None and live.is_begun_elsewhere():
            await self._lives.pop(session).close()
            live = None
        if live is None:
            async with self._opening:       # concurrent requests get the same conversation
                live = self._lives.get(session) or await self._open(session)
        live.used = time.monotonic()
        return live

    @property
    def count(self) -> int:
        """The number of open conversations."""
        return len(self._lives)

    @property
    def running(self) -> int:
        """The number of conversations with a running turn."""
        return sum(live.running for live in self._lives.values())

    @property
    def is_busy(self) -> bool:
        """Whether a turn is running or a page is listening."""
        return any(live.running or live.listened for live in self._lives.values())

    def is_running(self, session: str) -> bool:
        live = self._lives.get(session)
        return live is not None and live.running

    async def _open(self, session: str | None) -> Live:
        questions = Questions()
        try:
            chat = await self._open_chat(session, questions.front())
        except SessionNotFound:
            if session is None or not self.desks.is_begun(session):
                raise
            chat = await self._open_chat(None, questions.front())
            chat.session.id = session  # created by another process, still without messages
        live = self._lives[chat.session.id] = Live(chat, questions, self.desks, self._pace)
        live.used = time.monotonic()
        return live

    async def resume(self) -> list[str]:
        """Continue every turn that was running when the last server ended; return the sessions."""
        resumed: list[str] = []
        for session in list(self.desks.interrupted()):
            try:
                live = await self.get(session)
                if not live.running:
                    live.resume()
                resumed.append(session)
            except SessionNotFound:
                self.desks.forget(session)
            except ChatError as error:
                log.info("session %s was not resumed: %s", session, error.message)
                self.desks.write(session, replace(self.desks.read(session), running=False))
        return resumed

    async def take_over(self, session: str) -> None:
        """Continue a turn left by another server process; its desk is adopted already.

        Raises ChatError.
        """
        live = await self.get(session)
        for _ in range(TAKE_OVER_LOOKS):        # wait until its turn counts as ended here too
            live.look()
            if not live.running:
                break
            await asyncio.sleep(LOOK_SECONDS)
        try:
            live.resume()
        except UsageError:      # it ended normally, or another process continues it
            self.desks.write(session, replace(self.desks.read(session), running=False))

    async def renew(self) -> None:
        """Close the idle conversations, so that they are opened again with the current settings."""
        for session, live in list(self._lives.items()):
            if (not live.running and live.chat.session.count
                and live.chat.session.store is not None):
                await self._close_for_redraw(session, live)

    async def stop(self, session: str) -> None:
        """Stop the running turn of a session, if any."""
        live = self._lives.get(session)
        if live is not None:
            await live.stop()

    async def drop(self, session: str) -> None:
        """Close a deleted conversation and drop its queue."""
        live = self._lives.get(session)
        if live is not None:
            await self._close_for_good(session, live)
        self.desks.forget(session)

    async def _close_for_good(self, session: str, live: Live) -> None:
        """Close a conversation that does not exist any more, and say so to its pages."""
        self._lives.pop(session, None)
        await live.stop()
        live.publish({"type": "deleted"})
        await live.close()

    async def tend(self) -> None:
        """Close unused conversations, as long as the server runs."""
        while True:
            await asyncio.sleep(TEND_SECONDS)
            idle = {session: live.used for session, live in self._lives.items()
                    if not live.running and not live.listened}
            closed = unused(idle, len(self._lives), time.monotonic())
            for session in closed:
                await self._lives.pop(session).close()
                self.desks.release(session)
            if closed:      # their parts refer to each other, and Python seldom looks for that
                gc.collect()

    async def watch(self) -> None:
        """Show what other programs write to sessions open on a page, as long as the server runs."""
        while True:
            followed = {session: live for session, live in self._lives.items() if live.is_followed}
            changed = await self._watch.changed(followed)
            if self._watch.asked and self.running:
                with suppress(ChatError):       # tried again later
                    for session in self.desks.to_stop():
                        await self.stop(session)
            for session, live in followed.items():
                # a failing store is reported when something is saved
                if session in changed or live.may_have_ended:
                    with suppress(ChatError):
                        await self._look(session, live)

    async def _look(self, session: str, live: Live) -> None:
        # what waits there is shown by that process, which gets the next requests
        elsewhere = not live.running or live.may_have_ended
        if live.is_begun_elsewhere() or elsewhere and self.desks.holder(session):
            await self._close_for_redraw(session, live)
        else:
            live.look()

    async def _close_for_redraw(self, session: str, live: Live) -> None:
        """Close a conversation that pages must redraw; it is opened again at their next request."""
        self._lives.pop(session, None)
        live.publish({"type": "redraw"})
        await live.close()

    async def close(self) -> None:
        """Close all conversations; running turns stay marked, so that the next server finishes
        them.
        """
        lives, self._lives = list(self._lives.values()), {}
        self._watch.close()
        await asyncio.gather(*(live.close() for live in lives), return_exceptions=True)
