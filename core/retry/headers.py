"""Reads the delay that a server requests."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Return seconds from retry-after-ms, or from Retry-After as seconds or an HTTP date.

    None if absent or invalid.
    """
    milliseconds = _finite(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    value = headers.get("retry-after")
    seconds = _finite(value)
    if value is None or seconds is not None:
        return None if seconds is None else max(0.0, seconds)
    from email.utils import parsedate_to_datetime
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(0.0,
                   parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now))
    return None


def _finite(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None
