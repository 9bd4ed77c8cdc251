"""Maintenance of a database (check, repair, backup): what SQLite and PostgreSQL share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from core.dataclass import dataclass
from core.errors import StoreError
from core.store.database import Database
from core.store.message_json import read_message
from core.store.text import from_database

Kind = Literal["structure", "index", "counts", "unreadable", "backup"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem found by a check; repair() fixes the first three kinds."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a check: a one-line summary of the database, and its problems."""

    about: str
    problems: tuple[Problem, ...] = ()


class Care(Protocol):
    """Maintenance of one database. A method that raises StoreError has changed nothing."""

    def check(self) -> Report: ...

    def repair(self) -> list[str]:
        """Repair what check() finds without deleting anything; return what was done and lost, one
        line each.
        """
        ...

    def backup(self, path: str) -> None:
        """Write everything to a new SQLite file and check it."""

    def restore(self, path: str) -> str:
        """Replace this database with a backup; return the new name of the old one."""
        ...

    def shrink(self) -> tuple[int, int]:
        """Free unused space; return the size in bytes before and after."""
        ...


def summary(counts: dict[str, int]) -> str:
    sessions, messages = counts["sessions"], counts["messages"]
    return (
        f"{sessions:,} {'session' if sessions == 1 else 'sessions'} with {messages:,} "
        f"{'message' if messages == 1 else 'messages'}"
    )


def unreadable_messages(database: Database) -> int:
    """Count the messages that this version cannot read completely."""

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
    """Find the problems that can occur in either database."""
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
                f"{unreadable:,} messages cannot be read completely by this "
                "version. They are kept unchanged.",
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
