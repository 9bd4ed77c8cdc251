"""The wait of a chat for its turn to write, while the screen, Ctrl-C and other chats go on."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Reservable(Protocol):
        """A database that can begin to write before it is known what."""

        def reserve(self, durable: bool) -> bool:
            """Begin the transaction of the next write if nobody is in the way."""
            ...

        async def come(self, limit: float) -> None:
            """Wait for the turn, at most until then (time.monotonic())."""

        def release(self) -> None:
            """Give back what was reserved and not used."""

        def refuse_to_wait(self, on: bool) -> None:
            """Whether a write that would have to wait is refused."""

MOST_SECONDS = 10.0     # of waiting; then the write is refused, and what it held is spooled


class Reservation:
    """Waits for the turn to write while the event loop runs on, and holds it for one write."""

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
