"""Tells the current time, which models do not know."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from core.errors import ToolError
from core.tools import tool


@tool(safe=True)
def current_time(
        zone: Annotated[
            str, "IANA time zone such as Europe/Berlin; empty for the user's own"] = "") -> str:
    """Tell the date, the weekday and the time, with the time zone."""
    if not zone:
        return f"{datetime.now().astimezone():%A, %Y-%m-%d %H:%M:%S %Z (UTC%z)}"
    try:
        where = timezone.utc if zone.upper() in ("UTC", "Z") else ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ToolError(f"There is no time zone named {zone[:60]!r}.",
                        "Names look like Europe/Berlin or UTC.") from None
    return f"{datetime.now(where):%A, %Y-%m-%d %H:%M:%S %Z (UTC%z)}"
