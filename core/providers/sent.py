"""Records the requests sent to providers in this run, byte for byte."""

from __future__ import annotations

import time

from core.dataclass import dataclass, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

KEPT = 8 << 20        # bytes of request bodies kept; older bodies are dropped
MOST = 1_000          # requests kept in the list


@dataclass(frozen=True, slots=True)
class Sent:
    """One request. `body` is None if it is not kept any more."""

    number: int
    when: float
    provider: str
    method: str
    url: str
    size: int
    body: bytes | None
    with_key: bool


class Ledger:
    """The requests of this run, oldest first."""

    def __init__(self) -> None:
        self.requests: list[Sent] = []
        self.before: Callable[[], Awaitable[None]] | None = None  # awaited before a request
        self._count = self._held = 0

    async def ready(self) -> None:
        """Wait until a request may be sent: once everything saved before it is on the disk."""
        if self.before is not None:
            await self.before()

    def note(self, provider: str, method: str, url: str, body: bytes | None, *,
             with_key: bool) -> None:
        """Record a request that is being sent."""
        self._count += 1
        content = body or b""
        self.requests.append(Sent(self._count, time.time(), provider, method, url, len(content),
                                  content, with_key))
        del self.requests[:-MOST]
        self._held += len(content)
        self._let_go()

    def find(self, number: int) -> Sent | None:
        return next((sent for sent in self.requests if sent.number == number), None)

    def _let_go(self) -> None:
        """Drop the oldest bodies; the newest is always kept."""
        for place, sent in enumerate(self.requests[:-1]):
            if self._held <= KEPT:
                return
            if sent.body:
                self._held -= sent.size
                self.requests[place] = replace(sent, body=None)
