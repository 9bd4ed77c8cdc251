"""Makes core/store/new_tables.py: the tables of a new SQLite database, as the migrations leave
them, so that a first start need not apply one migration after the other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

from core.store.schema import MIGRATIONS, make_sqlite

WIDTH = 88      # of a piece of a statement in quotes


def new_tables_module() -> str:
    lines = ['"""The tables of a new SQLite database. Made from `core/store/schema.py` by `make '
             'docs`."""', "", "MIGRATED = ("]
    lines += [f'    "{name}",' for name, _ in MIGRATIONS]
    lines += [")", "STATEMENTS = ("]
    for statement in statements():
        pieces = list(quoted(statement))
        lines += [f"    {piece}" for piece in pieces[:-1]] + [f"    {pieces[-1]},"]
    return "\n".join([*lines, ")", ""])


def statements() -> list[str]:
    """What makes each table, index and trigger. FTS5 makes the tables of its index itself."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        make_sqlite(connection, len(MIGRATIONS))
        return [sql for sql, in connection.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL "
            "AND name NOT LIKE 'messages\\_fts\\_%' ESCAPE '\\' ORDER BY rowid")]


def quoted(text: str) -> Iterator[str]:
    """The text as string literals that fit into lines."""
    piece = ""
    for word in text.split(" "):
        longer = f"{piece} {word}" if piece else word
        if piece and len(repr(longer)) > WIDTH:
            yield repr(f"{piece} ")
            longer = word
        piece = longer
    yield repr(piece)
