"""--add-user, --remove-user and --list-users: the accounts of the team page."""

from __future__ import annotations

import sys
from contextlib import closing
from getpass import getpass

from core.config import Settings
from core.errors import UsageError
from core.safe_text import safe_line
from core.setup.passwords import hashed, require_argon2
from core.setup.saved import open_place
from core.store.accounts import Accounts, is_name
from core.store.postgres.store import PostgresStore

LEAST = 10  # shortest password, in characters


def run(settings: Settings) -> int:
    """Change or list the accounts; return the exit code."""
    store = open_place(settings.replace(user=None))
    with closing(store):
        if not isinstance(store, PostgresStore):
            raise UsageError(
                "The accounts of a team are kept in PostgreSQL.",
                "Name its database with --database-url postgresql://...",
            )
        if not store.postgres.may_act():
            raise UsageError(
                "Only the database's owner or a page server's role can manage accounts.",
                "Connect as one of them with --database-url.",
            )
        accounts = Accounts(store.postgres)
        if settings.add_user:
            return _add(accounts, settings.add_user, openid=bool(settings.oidc_issuer))
        if settings.remove_user:
            accounts.remove(settings.remove_user)
            print(f"The account {safe_line(settings.remove_user)} was removed.", file=sys.stderr)
            return 0
        for name in accounts.names():
            print(safe_line(name))
    return 0


def _add(accounts: Accounts, name: str, *, openid: bool) -> int:
    require_argon2()
    if not is_name(name):
        raise UsageError(
            f"{name!r} is not a valid account name.", "Use letters, digits, dots and dashes."
        )
    password = _read_password(name)
    if openid and not password:
        accounts.put(name, "")
        print(f"{safe_line(name)} can sign in at the OpenID provider now.", file=sys.stderr)
        return 0
    if len(password) < LEAST:
        raise UsageError(f"A password needs at least {LEAST} characters; nothing was changed.")
    known = name in accounts.names()
    accounts.put(name, hashed(password))
    print(
        f"{safe_line(name)} {'has another password' if known else 'can sign in'} now.",
        file=sys.stderr,
    )
    return 0


def _read_password(name: str) -> str:
    """Read a password, typed hidden or piped in. Never from the command line, which others can see.
    """
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    try:
        return getpass(f"Password of {name} (it is not shown): ")
    except EOFError:
        return ""
