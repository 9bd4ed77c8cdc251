"""The accounts of the page for many: names and hashed passwords, which servers and the database's
owner alone may read."""

from __future__ import annotations

import time

from core.errors import UsageError
from core.store.database import Database, Statement


class Accounts:
    """Names are members of the team. A hash is what argon2 made of a password."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, name: str, password_hash: str) -> None:
        """Add an account, or give it another password."""
        self._database.write(
            [
                Statement(
                    "INSERT INTO accounts (name, password, created) VALUES (?, ?, ?) "
                    "ON CONFLICT (name) DO UPDATE SET password = excluded.password",
                    (name, password_hash, time.time()),
                )
            ]
        )

    def remove(self, name: str) -> None:
        """Raises UsageError for a name that no account has. Its sessions stay."""

        def unchanged(run: object) -> None:
            raise UsageError(
                f"There is no account {name!r}.", "--list-users shows those there are."
            )

        self._database.write([Statement("DELETE FROM accounts WHERE name = ?", (name,), unchanged)])

    def names(self) -> list[str]:
        return [row[0] for row in self._database.read("SELECT name FROM accounts ORDER BY name")]

    def hash_of(self, name: str) -> str:
        """Empty for a name that no account has."""
        rows = self._database.read("SELECT password FROM accounts WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else ""
