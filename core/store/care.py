"""The care of a whole database: what SQLite and PostgreSQL have in common."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from typing import Literal, Protocol

from core.dataclass import dataclass
from core.errors import StoreError
from core.store.copying import copy_all
from core.store.database import Database
from core.store.message_json import read_message
from core.store.sql.store import SqlStore
from core.store.sqlite.backups import remove_database
from core.store.sqlite.store import SqliteStore
from core.store.text import from_database

Kind = Literal["structure", "index", "counts", "unreadable", "backup"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong; a repair removes what is of the first three kinds."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found: a line about what there is, and the problems."""

    about: str
    problems: tuple[Problem, ...] = ()


class Care(Protocol):
    """Each method raises StoreError when it could not do its part; then nothing was changed."""

    def check(self) -> Report: ...

    def repair(self) -> list[str]:
        """Repair what check() finds, and delete nothing;
        returns what was done and lost, a line each.
        """
        ...

    def backup(self, path: str) -> None:
        """Write everything into a new SQLite file, and check it."""

    def restore(self, path: str) -> str:
        """Put a backup in the place of this database; returns what the old one is called now."""
        ...

    def shrink(self) -> tuple[int, int]:
        """Give unused space back; returns the bytes before and after."""
        ...


def copy_into_file(source: SqlStore, path: str) -> None:
    """Everything as a new SQLite file. The file is there when it is complete, or not at all."""
    partial = f"{path}.partial"
    remove_database(partial)
    try:
        with closing(SqliteStore(partial)) as target:
            copy_all(source.database, target.database)
        os.replace(partial, path)
    finally:
        remove_database(partial)


def summary(counts: dict[str, int]) -> str:
    sessions, messages = counts["sessions"], counts["messages"]
    return (
        f"{sessions:,} {'session' if sessions == 1 else 'sessions'} with {messages:,} "
        f"{'message' if messages == 1 else 'messages'}"
    )


def unreadable_messages(database: Database) -> int:
    """How many messages this version cannot read in full."""

    count, last = 0, "0" * 32
    while True:
        rows = database.read(
            "SELECT id, role, finish, usage, parts FROM messages WHERE id > ? "
            "ORDER BY id LIMIT 500",
            (last,),
        )
        for _, role, finish, usage, parts in rows:
            usage = None if usage is None else from_database(usage)
            count += bool(read_message(role, None, finish, usage, from_database(parts))[1])
        if len(rows) < 500:
            return count
        last = rows[-1][0] if isinstance(rows[-1][0], str) else f"{rows[-1][0].int:032x}"


def common_problems(database: Database) -> list[Problem]:
    """What can be wrong in either database."""
    found = []
    wrong = database.read(
        "SELECT count(*) FROM sessions WHERE message_count <> "
        "(SELECT count(*) FROM messages WHERE session_id = sessions.id AND active = 1)"
    )[0][0]
    if wrong:
        found.append(Problem("counts", f"{wrong:,} sessions show a wrong number of messages."))
    unreadable = unreadable_messages(database)
    if unreadable:
        found.append(
            Problem(
                "unreadable",
                f"{unreadable:,} messages cannot be read in full by this "
                "version. They are kept as they are.",
            )
        )
    return found


def repairable(problems: Sequence[Problem]) -> bool:
    return any(problem.kind in ("structure", "index", "counts") for problem in problems)


def no_room(path: str, problem: OSError) -> StoreError:
    return StoreError(
        f"{path} cannot be written: {problem.strerror}.",
        "Free some space or name another file with --output; nothing was changed.",
    )
