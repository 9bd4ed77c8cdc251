"""A placeholder for a store that could not be opened: each use tries to open it again."""

from __future__ import annotations

from typing import Any, cast

from core.store.address import parse_address
from db import Store, open_store


class _LateStore:
    def __init__(self, place: str) -> None:
        self.url, self.place = place, parse_address(place).place
        self._opened: Store | None = None

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    def __getattr__(self, name: str) -> Any:
        """Any method of Store. Raises the StoreError of opening it."""
        if self._opened is None:
            self._opened = open_store(self.url)
        return getattr(self._opened, name)


def late_store(place: str) -> Store:
    return cast(Store, _LateStore(place))
