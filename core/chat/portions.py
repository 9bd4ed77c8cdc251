"""Cuts large deltas, so that Ctrl-C is noticed while they are saved and shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from core.dataclass import replace
from core.events import TextDelta, ThinkingDelta

MOST = 1 << 13      # characters of a portion; formatting them takes at most 0.1 s
T = TypeVar("T")


def portions(item: T) -> Sequence[T]:
    """Return a delta in portions of at most MOST characters; anything else unchanged.

    A server may send an answer of megabytes as one delta.
    """
    if not isinstance(item, (TextDelta, ThinkingDelta)) or len(item.text) <= MOST:
        return (item,)
    text = item.text
    return [replace(item, text=text[start:start + MOST], extra=None if start else item.extra)
            for start in range(0, len(text), MOST)]
