"""Waits for events in tests, with one generous limit.

Tests check that something happens, not how fast.
"""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 60.0    # seconds: a slow machine is not a failure


def wait_until(true: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    limit = time.monotonic() + seconds
    while not true():
        if time.monotonic() > limit:
            return False
        time.sleep(0.01)
    return True
