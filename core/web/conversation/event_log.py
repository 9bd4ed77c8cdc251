"""Numbers the events of a conversation, so that a reconnecting page can request those it missed."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress

from core.web.conversation.events import PageEvent

Numbered = tuple[int, PageEvent]
ALIVE_SECONDS = 15.0     # seconds after which an idle listener gets an empty batch
KEPT = 1000              # events that trim() keeps for slow pages


class EventLog:
    """The newest events, numbered.

    `epoch` distinguishes the numbers of this log from another's. A place is "epoch:number".
    """

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(4)
        self._number = 0
        self._log: list[Numbered] = []
        self._listeners: set[asyncio.Event] = set()

    @property
    def place(self) -> str:
        """The place of the newest event."""
        return f"{self.epoch}:{self._number}"

    @property
    def next_number(self) -> int:
        return self._number + 1

    @property
    def listened(self) -> bool:
        return bool(self._listeners)

    def publish(self, event: PageEvent) -> None:
        self._number += 1
        self._log.append((self._number, event))
        for listener in self._listeners:
            listener.set()

    def since(self, first: int) -> list[PageEvent]:
        """Return the events from this number on."""
        return [event for number, event in self._log if number >= first]

    def trim(self) -> None:
        """Drop all but the newest events, which are enough for a page that is slightly behind."""
        self._log = self._log[-KEPT:]

    async def events(self, after: str) -> AsyncIterator[list[Numbered]]:
        """Yield the events after that place in batches, and empty batches while nothing happens.

        Ends if the place is of another log, or its events were dropped; the page then draws a new
        snapshot.
        """
        epoch, _, written = after.partition(":")
        seen = int(written) if written.isascii() and written.isdigit() else -1
        woken = asyncio.Event()
        self._listeners.add(woken)
        try:
            while epoch == self.epoch and self._first_kept() <= seen + 1 <= self._number + 1:
                woken.clear()
                batch = self._log[seen + 1 - self._first_kept():] if seen < self._number else []
                if batch:
                    seen = batch[-1][0]
                    yield batch
                else:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(woken.wait(), ALIVE_SECONDS)
                    if not woken.is_set():
                        yield []
        finally:
            self._listeners.discard(woken)

    def _first_kept(self) -> int:
        return self._log[0][0] if self._log else self._number + 1
