"""Accounts of the team page: names and hashed passwords, readable only by page servers and the
database owner.
"""

from __future__ import annotations

import secrets
import time

from core.errors import UsageError
from core.store.database import Database, Statement


def is_name(name: str) -> bool:
    """Return whether `name` is a valid account name."""
    return bool(name) and name.isprintable() and name == name.strip() and len(name.encode()) <= 63


class Accounts:
    """The accounts table. A name is a team member's; password hashes are made by argon2."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, name: str, password_hash: str) -> None:
        """Add an account, or replace its password."""
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
        """Delete an account but keep its sessions. Raises UsageError for an unknown name."""

        def unchanged(run: object) -> None:
            raise UsageError(
                f"There is no account {name!r}.", "--list-users lists the accounts."
            )

        self._database.write([Statement("DELETE FROM accounts WHERE name = ?", (name,), unchanged)])

    def names(self) -> list[str]:
        return [row[0] for row in self._database.read("SELECT name FROM accounts ORDER BY name")]

    def key_of(self, name: str) -> str:
        """Return the secret that signs an account's sign-in cookies; empty for an unknown name."""
        rows = self._database.read("SELECT password || seal FROM accounts WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else ""

    def sign_out(self, name: str) -> None:
        """Invalidate all sign-in cookies of an account."""
        self._seal(name)

    def _seal(self, name: str) -> None:
        sql = "UPDATE accounts SET seal = ? WHERE name = ?"
        self._database.write([Statement(sql, (secrets.token_hex(16), name))])

    def of_subject(self, subject: str, name: str, *, new: bool) -> str:
        """Return the name of the account of an OpenID subject. It stays the same when the provider
        reports another name later. With `new`, create a missing account. Raises UsageError.
        """
        known = self._database.read("SELECT name FROM accounts WHERE subject = ?", (subject,))
        if known:
            return str(known[0][0])
        rows = self._database.read("SELECT subject FROM accounts WHERE name = ?", (name,))
        if rows and rows[0][0]:
            raise UsageError(f"The account {name!r} belongs to another user of the provider.")
        if not rows:
            self._add_new(name, new=new)
        sql = "UPDATE accounts SET subject = ?, seal = ? WHERE name = ? AND subject = ''"
        self._database.write([Statement(sql, (subject, secrets.token_hex(16), name))])
        return name

    def is_member(self, name: str) -> bool:
        """Return whether an account or a database role has this name."""
        return bool(self._database.read("SELECT is_member(?)", (name,))[0][0])

    def _add_new(self, name: str, *, new: bool) -> None:
        """Database roles are members too, so their names cannot be claimed by signing in."""
        if not new or not is_name(name):
            raise UsageError(f"There is no account {name!r}.", "Ask an administrator to add one.")
        if self.is_member(name):
            raise UsageError(f"The name {name!r} is taken by a database role.")
        self.put(name, "")

    def hash_of(self, name: str) -> str:
        """Return the password hash; empty for an unknown name or an account without a password."""
        rows = self._database.read("SELECT password FROM accounts WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else ""
