"""Notices keys that stand twice in one JSON object: only the last value of each is kept."""

from __future__ import annotations

from typing import Any

from core.safe_text import safe_line

MOST_NAMED = 10


class Duplicates:
    """The keys of the objects that were made with it."""

    def __init__(self) -> None:
        self._keys: dict[str, None] = {}

    def note_key(self, key: str) -> None:
        """Remember a key that stands twice."""
        if len(self._keys) <= MOST_NAMED:
            self._keys[key] = None

    def new_object(self) -> dict[str, Any]:
        """An object to be filled key by key, as ijson does."""
        return _Watched(self)

    def from_pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """An object of all its pairs, as the json module gives them."""
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                self.note_key(key)
            found[key] = value
        return found

    def remark(self) -> str:
        """What to say of them, on a line of its own; empty where no key stands twice."""
        names = [safe_line(key, 60) or '""' for key in self._keys]
        if not names:
            return ""
        more = ", ..." if len(names) > MOST_NAMED else ""
        listed = ", ".join(names[:MOST_NAMED]) + more
        return f"[Duplicate keys in one object: {listed}. Only the last value of each is read.]"


class _Watched(dict[str, Any]):
    """Notes a key that is set again."""

    __slots__ = ("_noted",)

    def __init__(self, noted: Duplicates) -> None:
        super().__init__()
        self._noted = noted

    def __setitem__(self, key: str, value: Any) -> None:
        if key in self:
            self._noted.note_key(key)
        super().__setitem__(key, value)
