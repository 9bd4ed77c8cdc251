"""--db-check, --db-backup and the other --db options: maintenance of the database."""

from __future__ import annotations

import os
import sys

from core.config import Settings
from core.config.directories import data_directory
from core.console.questions import says_yes, somebody_types
from core.errors import UsageError
from core.safe_text import safe_line
from core.setup.database_care import move, open_care
from core.setup.saved import store_place
from core.store.address import parse_address
from core.store.care import repairable, summary
from core.store.sqlite.backups import backup_stem, backups_of, keep_newest, new_backup


def run(settings: Settings) -> int:
    """Do what the --db option asks for; return the exit code."""
    for name, act in ACTS.items():
        if getattr(settings, name):
            return act(settings)
    raise AssertionError("called only with one of these options")


def backup_directory(settings: Settings) -> str:
    """Return the backup directory: beside a SQLite file, or in the user's data directory for
    PostgreSQL.
    """
    address = parse_address(store_place(settings))
    where = (
        os.path.dirname(address.place)
        if address.kind == "sqlite"
        else data_directory(settings.environment)
    )
    return os.path.join(where, "backups")


def _stem(settings: Settings) -> str:
    return backup_stem(parse_address(store_place(settings)).place)


def _check(settings: Settings) -> int:
    report = open_care(store_place(settings)).check()
    print(safe_line(report.about))
    for problem in report.problems:
        print(f"{problem.kind}: {safe_line(problem.text)}")
    kept = backups_of(backup_directory(settings), _stem(settings))
    print(
        f"Newest backup: {safe_line(kept[-1])}"
        if kept
        else "There is no backup yet. Make one with --db-backup."
    )
    if not report.problems:
        print("No problems were found.")
        return 0
    if repairable(report.problems):
        print("Repair it with --db-repair, which deletes nothing.", file=sys.stderr)
    return 1


def _repair(settings: Settings) -> int:
    done = open_care(store_place(settings)).repair()
    for line in done or ["There is nothing to repair."]:
        print(safe_line(line))
    return 0


def _backup(settings: Settings) -> int:
    """Back up to --output, or to the backup directory, which keeps the seven newest backups."""
    directory, stem = backup_directory(settings), _stem(settings)
    path = settings.output or new_backup(directory, stem)
    if settings.output and os.path.exists(path) and not settings.force:
        raise UsageError(f"{path} exists already.", "Use --force to replace it.")
    open_care(store_place(settings)).backup(path)
    if not settings.output:
        keep_newest(directory, stem)
    print(safe_line(path))
    return 0


def _restore(settings: Settings) -> int:
    path = os.path.abspath(os.path.expanduser(settings.db_restore or ""))
    if not os.path.isfile(path):
        raise UsageError(
            f"File not found: {path}.", f"Backups are in {backup_directory(settings)}."
        )
    place = parse_address(store_place(settings)).place
    if not settings.yes and not somebody_types():
        raise UsageError(
            "Cannot ask for confirmation: standard input is not a terminal.",
            "Add --yes to restore without asking.",
        )
    question = (
        f"Replace {safe_line(place)} with {safe_line(path)}? The old one is kept. [y/N] "
    )
    if not settings.yes and not says_yes(question):
        print("Nothing was changed.", file=sys.stderr)
        return 1
    aside = open_care(store_place(settings)).restore(path)
    print(f"Restored {safe_line(path)}. The previous database is kept as {safe_line(aside)}")
    return 0


def _move(settings: Settings) -> int:
    source, target = store_place(settings), settings.db_move or ""
    moved = move(source, target)
    old, new = (safe_line(parse_address(url).place) for url in (source, target))
    print(
        f"Copied and compared: {summary(moved)}. {old} is unchanged.\n"
        f"To use {new} from now on, name it with --database-url or, in the configuration, "
        "database_url."
    )
    return 0


def _shrink(settings: Settings) -> int:
    before, after = open_care(store_place(settings)).shrink()
    print(f"{before / 1e6:,.1f} MB before, {after / 1e6:,.1f} MB now.")
    return 0


ACTS = {
    "db_check": _check,
    "db_repair": _repair,
    "db_backup": _backup,
    "db_restore": _restore,
    "db_move": _move,
    "db_shrink": _shrink,
}
