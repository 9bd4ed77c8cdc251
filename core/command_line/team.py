"""--db-init: prepares a PostgreSQL database for a team."""

from __future__ import annotations

import sys

from core.config import Settings
from core.errors import UsageError
from core.safe_text import safe_line
from core.setup.saved import store_place
from core.store.address import parse_address
from core.store.postgres.roles import prepare


def run(settings: Settings) -> int:
    """Prepare the database and print the passwords of new roles, one per line; return the exit
    code.
    """
    address = parse_address(store_place(settings))
    if address.kind != "postgresql":
        raise UsageError(
            "A team's sessions are kept in PostgreSQL.",
            "Name the database with --database-url postgresql://USER@HOST/NAME.",
        )
    made = prepare(address, settings.member, settings.server)
    for name, password in made.items():
        print(f"{name} {password}")
    named = [*settings.member, *settings.server]
    rights = f" Members: {', '.join(map(safe_line, named))}." if named else ""
    print(f"{safe_line(address.place)} is ready for a team.{rights}", file=sys.stderr)
    if made:
        print("The passwords above are shown only once.", file=sys.stderr)
    return 0
