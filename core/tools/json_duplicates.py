"""Records duplicate keys of JSON objects, of which only the last value is kept."""

from __future__ import annotations

from typing import Any

from core.safe_text import safe_line

MOST_NAMED = 10


class Duplicates:
    """The duplicate keys of objects created by new_object() and from_pairs()."""

    def __init__(self) -> None:
        self._keys: dict[str, None] = {}

    def note_key(self, key: str) -> None:
        """Record a duplicate key."""
        if len(self._keys) <= MOST_NAMED:
            self._keys[key] = None

    def new_object(self) -> dict[str, Any]:
        """An object that ijson fills key by key."""
        return _Watched(self)

    def from_pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """An object of its pairs, for the json module's object_pairs_hook."""
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                self.note_key(key)
            found[key] = value
        return found

    def remark(self) -> str:
        """A line about the duplicate keys; "" if there are none."""
        names = [safe_line(key, 60) or '""' for key in self._keys]
        if not names:
            return ""
        more = ", ..." if len(names) > MOST_NAMED else ""
        listed = ", ".join(names[:MOST_NAMED]) + more
        return f"[Duplicate keys in one object: {listed}. Only the last value of each is read.]"


class _Watched(dict[str, Any]):
    """Records a key that is set again."""

    __slots__ = ("_noted",)

    def __init__(self, noted: Duplicates) -> None:
        super().__init__()
        self._noted = noted

    def __setitem__(self, key: str, value: Any) -> None:
        if key in self:
            self._noted.note_key(key)
        super().__setitem__(key, value)
