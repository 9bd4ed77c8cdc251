"""Stores which tool calls the user allowed permanently."""

from __future__ import annotations

import json
from collections.abc import Iterator, MutableMapping

from core.config.private_file import write_private


class SavedGrants(MutableMapping[str, str]):
    """A mapping kept in a file that only its owner can read.

    If the file cannot be read, nothing is allowed; if it cannot be written, permissions hold for
    this run.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._unsaved: dict[str, str] = {}

    def _load(self) -> dict[str, str]:
        try:
            with open(self._path, encoding="utf-8") as file:
                found = json.load(file)
        except (OSError, ValueError, RecursionError):
            return dict(self._unsaved)
        return ({key: str(value) for key, value in found.items()} | self._unsaved
                if isinstance(found, dict) else dict(self._unsaved))

    def _save(self, grants: dict[str, str]) -> None:
        try:
            write_private(self._path, json.dumps(grants, indent=1))
        except OSError:
            self._unsaved = grants   # valid until the program ends

    def __getitem__(self, key: str) -> str:
        return self._load()[key]

    def __setitem__(self, key: str, value: str) -> None:
        self._save(self._load() | {key: value})

    def __delitem__(self, key: str) -> None:
        left = self._load()
        del left[key]
        self._unsaved.pop(key, None)
        self._save(left)

    def __iter__(self) -> Iterator[str]:
        return iter(self._load())

    def __len__(self) -> int:
        return len(self._load())
