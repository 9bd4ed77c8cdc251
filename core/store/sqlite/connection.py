"""Connections to SQLite files: damage is an error of SQLite, whatever the file holds."""

from __future__ import annotations

import sqlite3

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class UnreadableMessage(sqlite3.DatabaseError):
    """SQLite reported an error in bytes that are not UTF-8: it quoted a damaged schema."""

    def __init__(self, problem: UnicodeDecodeError) -> None:
        super().__init__(problem.object.decode("utf-8", "replace"))
        self.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        self.sqlite_errorname = "SQLITE_CORRUPT"


class Connection(sqlite3.Connection):
    """Raises UnreadableMessage where Python fails to decode what SQLite says.

    Python raises UnicodeDecodeError there, which no handler of database errors expects.
    """

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        try:
            return super().execute(sql, parameters)
        except UnicodeDecodeError as problem:
            raise UnreadableMessage(problem) from None

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        try:
            return super().executemany(sql, parameters)
        except UnicodeDecodeError as problem:
            raise UnreadableMessage(problem) from None

    def executescript(self, sql_script: str, /) -> sqlite3.Cursor:
        try:
            return super().executescript(sql_script)
        except UnicodeDecodeError as problem:
            raise UnreadableMessage(problem) from None


def connect(place: str, *, timeout: float = 5.0, any_thread: bool = False) -> sqlite3.Connection:
    """Open a SQLite file, named by its path or by a "file:" address.

    Transactions begin where the caller begins them. Raises sqlite3.Error.
    """
    return sqlite3.connect(place, uri=place.startswith("file:"), timeout=timeout,
                           isolation_level=None, check_same_thread=not any_thread,
                           factory=Connection)
