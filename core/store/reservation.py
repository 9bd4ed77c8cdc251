"""Waits for permission to write without blocking the screen, Ctrl-C or other chats."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Reservable(Protocol):
        """A database whose next transaction can begin before its statements are known."""

        def reserve(self, durable: bool) -> bool:
            """Begin the next transaction if no other program is writing; return whether it began.
            """
            ...

        async def come(self, limit: float) -> None:
            """Wait until reserve() may succeed, at most until `limit` (time.monotonic())."""

        def release(self) -> None:
            """Roll back a reserved transaction that was not used."""

        def refuse_to_wait(self, on: bool) -> None:
            """Set whether a write that would have to wait fails at once."""

MOST_SECONDS = 10.0     # longest wait; then the write fails, and its data goes to the spool


class Reservation:
    """Waits for permission to write without blocking the event loop, and holds it for one write."""

    __slots__ = ("_database", "_durable")

    def __init__(self, database: Reservable, durable: bool) -> None:
        self._database, self._durable = database, durable

    async def __aenter__(self) -> None:
        limit = 0.0
        while not self._database.reserve(self._durable):
            limit = limit or time.monotonic() + MOST_SECONDS
            if time.monotonic() > limit:
                self._database.refuse_to_wait(True)
                return
            await self._database.come(limit)

    async def __aexit__(self, *exception: object) -> None:
        self._database.refuse_to_wait(False)
        self._database.release()
