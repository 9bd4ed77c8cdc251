"""Detects writes of other programs to sessions that are open on a page."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Protocol

from core.errors import StoreError
from db import Store

LOOK_SECONDS = 0.2


class Watch(Protocol):
    """Watches sessions. `asked`: another server process may have sent this one a request."""

    asked: bool

    async def changed(self, sessions: Collection[str]) -> Collection[str]:
        """Wait for a moment; return those of these sessions that may have changed since the last
        call.
        """

    def close(self) -> None: ...


class Polling:
    """Watches by polling the store."""

    def __init__(self, store: Store | None) -> None:
        self._store, self._beat, self.asked = store, -1, False
        self._before: frozenset[str] = frozenset()

    async def changed(self, sessions: Collection[str]) -> Collection[str]:
        await asyncio.sleep(LOOK_SECONDS)
        beat, new = self._beat, frozenset(sessions) - self._before
        self._before = frozenset(sessions)
        with suppress(StoreError):  # a failing store is reported when something is saved
            if self._store is not None and sessions:
                self._beat = self._store.pulse()
        return sessions if self._beat != beat else new

    def close(self) -> None:
        pass
