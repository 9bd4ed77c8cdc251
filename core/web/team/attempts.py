"""Checks passwords of the team page, and slows down guessing."""

from __future__ import annotations

import asyncio
import time

from core.setup.passwords import fits, hashed

FREE_TRIES = 5  # wrong passwords before attempts are delayed
LONGEST_WAIT = 300.0
MOST_NAMES = 10_000  # most entries remembered
AT_ONCE = 2  # passwords checked at the same time: each takes 64 MB


class Attempts:
    """Counts wrong passwords by name and address: after a few, the delay doubles with each attempt.
    """

    def __init__(self) -> None:
        self._wrong: dict[str, tuple[int, float]] = {}  # (number, time of the last)

    def wait(self, *keys: str) -> float:
        """Return the seconds until the next attempt is allowed."""
        now = time.monotonic()
        return max((self._until(key) - now for key in keys), default=0.0)

    def _until(self, key: str) -> float:
        count, last = self._wrong.get(key, (0, 0.0))
        return last + min(LONGEST_WAIT, 2.0 ** (count - FREE_TRIES)) if count >= FREE_TRIES else 0.0

    def failed(self, *keys: str) -> None:
        for key in keys:
            if len(self._wrong) >= MOST_NAMES and key not in self._wrong:
                del self._wrong[min(self._wrong, key=lambda each: self._wrong[each][1])]
            self._wrong[key] = (self._wrong.get(key, (0, 0.0))[0] + 1, time.monotonic())

    def succeeded(self, *keys: str) -> None:
        for key in keys:
            self._wrong.pop(key, None)


class Checker:
    """Checks passwords in threads, a few at once. Unknown names take as long as known ones."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._nobody = hashed("nobody has this password")

    async def check(self, password_hash: str, password: str) -> bool:
        async with self._slots:
            right = await asyncio.to_thread(fits, password_hash or self._nobody, password)
        return right and bool(password_hash)
