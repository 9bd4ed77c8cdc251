"""Notices that other programs write to the sessions that somebody looks at on the page."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Protocol

from core.errors import StoreError
from db import Store

LOOK_SECONDS = 0.2


class Watch(Protocol):
    """`asked`: other server processes may have asked this one for something."""

    asked: bool

    async def changed(self, sessions: Collection[str]) -> Collection[str]:
        """Wait for a moment; those of these sessions to which something may have been written
        since the last call."""

    def close(self) -> None: ...


class Polling:
    """Asks the store again and again."""

    def __init__(self, store: Store | None) -> None:
        self._store, self._beat, self.asked = store, -1, False
        self._before: frozenset[str] = frozenset()

    async def changed(self, sessions: Collection[str]) -> Collection[str]:
        await asyncio.sleep(LOOK_SECONDS)
        beat, new = self._beat, frozenset(sessions) - self._before
        self._before = frozenset(sessions)
        with suppress(StoreError):  # a store that fails is reported when something is to be saved
            if self._store is not None and sessions:
                self._beat = self._store.pulse()
        return sessions if self._beat != beat else new

    def close(self) -> None:
        pass
