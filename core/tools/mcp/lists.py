"""The lists of an MCP server, page by page and within limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

MOST_PAGES = 50     # of a list: an empty one may be followed by more
MOST_LISTED = {"tools": 200, "prompts": 1_000, "resources": 1_000}    # of one server


async def read_list(kind: str, ask: Callable[[str | None], Awaitable[Any]]) -> tuple[list[Any],
                                                                                     str]:
    """The entries of all pages, and what is left out of them in words, which are empty when
    nothing is. `ask` is given the cursor of a page and returns the page.
    """
    found: list[Any] = []
    cursor, most = None, MOST_LISTED[kind]
    for _ in range(MOST_PAGES):
        page = await ask(cursor)
        found += getattr(page, kind)
        cursor = page.next_cursor
        if not cursor or len(found) > most:
            break
    kept = found[:most]
    cut = (f"all {kind} after the first {len(kept):,}, since no more of one server are offered"
           if cursor or len(found) > most else "")
    return kept, cut
