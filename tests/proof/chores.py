"""kill -9 of commands that process all sessions: export, backup, restore, move, shrink, repair.

After each kill every word is unchanged, no incomplete file has its final name, and the same command
succeeds when it is repeated. Checked with sqlite3, and against the files that the same command
makes without a kill.
"""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from core.messages import Message, Text, user_message
from core.session_manager import Session
from db import open_store
from tests.proof.homes import new_home
from tests.surroundings import inherited

ROOT = Path(__file__).resolve().parent.parent.parent
SESSIONS, EXCHANGES = 150, 8
OLDER = b"older"        # a file that is to be replaced
CHORES: dict[str, tuple[str, ...]] = {
    "export": ("--export-all", "--output", "{made}/all.jsonl", "--force"),
    "export over an older one": ("--export-all", "--output", "{made}/older.jsonl", "--force"),
    "backup": ("--db-backup", "--output", "{made}/backup.db", "--force"),
    "backup over an older one": ("--db-backup", "--output", "{made}/older.db", "--force"),
    "restore": ("--db-restore", "{origin}/backup.db", "--yes"),
    "move": ("--db-move", "{made}/moved.db"),
    "shrink": ("--db-shrink",),
    "repair": ("--db-repair",),
    "check": ("--db-check",),
}
Rows = frozenset[tuple[str, ...]]


@dataclass(slots=True)
class Tally:
    kills: int = 0
    midway: int = 0         # the others had ended by then
    faults: list[str] = field(default_factory=list)


def kill_chores(seed: int, count: int) -> Tally:
    chance, tally = random.Random(seed), Tally()
    with new_home() as directory:
        origin = _Origin(Path(directory) / "origin")
        for number in range(count):
            chore = list(CHORES)[(seed + number) % len(CHORES)]
            with _copied(origin, Path(directory) / "home") as home:
                _trial(origin, home, chore, chance, tally, f"seed {seed}, kill {number}, {chore}")
    return tally


class _Origin:
    """A user with many sessions, and what each command makes of them without a kill."""

    def __init__(self, home: Path) -> None:
        self.home = home
        data = _data(home)
        data.parent.mkdir(parents=True)
        (home / "made").mkdir()
        with closing(open_store(str(data))) as store:
            for number in range(SESSIONS):
                session = Session(store, model="demo/m")
                for place in range(EXCHANGES):
                    session.add_user(user_message(f"question {number} {place}"))
                    reply = Text(f"answer {number} {place} " * 20)
                    session.add_reply(Message("assistant", (reply,), "demo/m", None, "stop"))
                session.close()
        self.rows = rows(data)
        self.words = lambda chore, at: [word.format(made=at / "made", origin=home)
                                        for word in CHORES[chore]]
        _program(home, ["--db-backup", "--output", str(home / "backup.db")]).wait()
        for older in ("older.jsonl", "older.db"):
            (home / "made" / older).write_bytes(OLDER)
        self.seconds: dict[str, float] = {}
        self.exported = b""

    def measure(self, chore: str, home: Path) -> None:
        """How long it takes, and what it makes."""
        began = time.monotonic()
        _program(home, self.words(chore, home)).wait()
        self.seconds[chore] = time.monotonic() - began
        if (home / "made/all.jsonl").exists():
            self.exported = (home / "made/all.jsonl").read_bytes()


@contextmanager
def _copied(origin: _Origin, home: Path) -> Iterator[Path]:
    shutil.copytree(origin.home, home)
    try:
        yield home
    finally:
        shutil.rmtree(home)


def _trial(origin: _Origin, home: Path, chore: str, chance: random.Random, tally: Tally,
           where: str) -> None:
    if chore not in origin.seconds:
        with _copied(origin, home.with_name("measured")) as other:
            origin.measure(chore, other)
    program = _program(home, origin.words(chore, home))
    time.sleep(chance.uniform(0.1, origin.seconds[chore] * 1.1))
    tally.midway += program.poll() is None
    program.send_signal(signal.SIGKILL)
    program.wait()
    tally.kills += 1
    tally.faults += [f"{where}: {fault}" for fault in faults(home, origin.rows, origin.exported)]
    ended = _program(home, origin.words(chore, home))
    said = ended.communicate()[1]
    moved = chore == "move" and "is not empty" in said     # it had been moved before the kill
    if ended.returncode and not moved:
        tally.faults.append(f"{where}: done again it ended with {ended.returncode}: {said}")
    tally.faults += [f"{where}, done again: {fault}"
                     for fault in faults(home, origin.rows, origin.exported, complete=chore)]


def faults(home: Path, told: Rows, exported: bytes, *, complete: str = "") -> Iterator[str]:
    """What is lost or incomplete. `complete`: this command has ended, so its result must exist."""
    if rows(_data(home)) != told:
        yield "the database is not what it was"
    wanted = _made_by(complete) if complete else ""
    for file in sorted((home / "made").iterdir()):
        content = file.read_bytes()
        if content == OLDER:
            if file.name == wanted:
                yield f"{file.name} was not replaced"
        elif file.suffix == ".jsonl" and exported and content != exported:
            yield f"{file.name} has {len(content)} bytes of {len(exported)}"
        elif file.suffix == ".db" and (file.name != "moved.db" or complete):
            if rows(file) != told:
                yield f"{file.name} is not complete"
    if wanted and not (home / "made" / wanted).exists():
        yield f"{wanted} is missing"


def _made_by(chore: str) -> str:
    """The name of the file that it makes, or ""."""
    return next((word.rpartition("/")[2] for word in CHORES[chore] if "{made}" in word), "")


def rows(path: Path) -> Rows:
    """All messages in a database, and whether it is valid."""
    with closing(sqlite3.connect(path)) as base:
        if base.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            return frozenset([("the database is damaged",)])
        try:
            return frozenset(base.execute("SELECT session_id, role, parts, state FROM messages"))
        except sqlite3.OperationalError as problem:
            return frozenset([(str(problem),)])


def _data(home: Path) -> Path:
    return home / ".local/share/stream-chat/sessions.db"


def _program(home: Path, words: Sequence[str]) -> subprocess.Popen[str]:
    environment = {**inherited(), "HOME": str(home), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, str(ROOT / "stream_chat.py"), *words],
                            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)
