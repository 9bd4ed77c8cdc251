"""The accounts of the page for many: names and hashed passwords, which servers and the database's
owner alone may read."""

from __future__ import annotations

import secrets
import time

from core.errors import UsageError
from core.store.database import Database, Statement


def is_name(name: str) -> bool:
    """Whether an account may have this name."""
    return bool(name) and name.isprintable() and name == name.strip() and len(name.encode()) <= 63


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

    def key_of(self, name: str) -> str:
        """What the tickets of an account are sealed with; empty for a name that no account has."""
        rows = self._database.read("SELECT password || seal FROM accounts WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else ""

    def sign_out(self, name: str) -> None:
        """Make all tickets of an account worthless."""
        self._seal(name)

    def _seal(self, name: str) -> None:
        sql = "UPDATE accounts SET seal = ? WHERE name = ?"
        self._database.write([Statement(sql, (secrets.token_hex(16), name))])

    def of_subject(self, subject: str, name: str, *, new: bool) -> str:
        """The account of a user of an OpenID provider, which stays the same when the provider
        gives another name. `new`: made when it is missing. Raises UsageError."""
        known = self._database.read("SELECT name FROM accounts WHERE subject = ?", (subject,))
        if known:
            return str(known[0][0])
        rows = self._database.read("SELECT subject FROM accounts WHERE name = ?", (name,))
        if rows and rows[0][0]:
            raise UsageError(f"The account {name!r} is of another user of the provider.")
        if not rows:
            self._add_new(name, new=new)
        sql = "UPDATE accounts SET subject = ?, seal = ? WHERE name = ? AND subject = ''"
        self._database.write([Statement(sql, (subject, secrets.token_hex(16), name))])
        return name

    def is_member(self, name: str) -> bool:
        """Whether an account or a role of the database has this name."""
        return bool(self._database.read("SELECT is_member(?)", (name,))[0][0])

    def _add_new(self, name: str, *, new: bool) -> None:
        """A role of the database is a member too, and nobody becomes one by calling himself so."""
        if not new or not is_name(name):
            raise UsageError(f"There is no account {name!r} here.", "Ask for one to be added.")
        if self.is_member(name):
            raise UsageError(f"The name {name!r} is taken by a role of the database.")
        self.put(name, "")

    def hash_of(self, name: str) -> str:
        """Empty for a name that no account has, and for an account without a password."""
        rows = self._database.read("SELECT password FROM accounts WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else ""
