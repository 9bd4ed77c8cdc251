"""kill -9 at random moments: every character that was shown is in the database, and the next start
recovers it.

`killed()` and `stored_words()` work with any program that prints to a pipe and saves to a database.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.messages import Text, Thinking
from core.session_manager import recover
from db import open_store
from tests.surroundings import inherited

ROOT = Path(__file__).resolve().parent.parent.parent
THREADS, TRIALS = 3, 12      # 36 kills; make prove ONLY=kills does more, of the whole program


def killed(command: Sequence[str], chance: random.Random, *, environment: dict[str, str],
           seconds: float = 0.05,
           letters: int = 30_000) -> str:
    """Run `command`, kill it after a random time or amount of output, and return its output."""
    child = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE)
    assert child.stdout is not None
    descriptor, painted = child.stdout.fileno(), b""
    try:
        if chance.random() < 0.15:
            time.sleep(chance.uniform(0, 0.25))
        else:
            painted = os.read(descriptor, 1)
            target = chance.choice((0, chance.randrange(200), chance.randrange(letters)))
            while (len(painted) < target
                   and (more := os.read(descriptor, min(65536, target - len(painted))))):
                painted += more
            time.sleep(chance.choice((0.0, chance.uniform(0, seconds))))
    finally:
        child.send_signal(signal.SIGKILL)
    while more := os.read(descriptor, 65536):
        painted += more
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL, "it ended by itself"
    return painted.decode("utf-8", "ignore")


def stored_words(database: str, session: str) -> str:
    """All text and thinking of a session's replies in order, merged or not."""
    store = open_store(database)
    words = ""
    try:
        for entry in store.load_messages(session):
            if entry.message.role == "assistant":
                rows = sqlite3.connect(database).execute("SELECT text FROM chunks WHERE message_id "
                                                         "= ? ORDER BY seq",
                                                         (f"{entry.id:032x}",))
                words += "".join(part.text for part in entry.message.parts
                                 if isinstance(part, (Text, Thinking)))
                words += "".join(row[0] for row in rows)
    finally:
        store.close()
    return words


def one_database(directory: Path, seed: int) -> int:
    """Kill program after program on one database; return how many of them had shown something."""
    chance = random.Random(seed)
    database, spool = str(directory / f"{seed}.db"), str(directory / f"spool{seed}")
    open_store(database).close()
    seen: dict[str, str] = {}
    for trial in range(TRIALS):
        command = [sys.executable, "-m", "tests.killed_child", database, spool, str(seed + trial)]
        painted = killed(command, chance,
                         environment={**inherited(), "HOME": str(directory)})
        session, _, words = painted.partition("\n")
        check_database(database)
        if _:
            stored = stored_words(database, session)
            assert stored.startswith(words), (f"trial {trial}: painted {words[-80:]!r}, stored "
                                              f"{stored[-80:]!r}")
            assert len(stored) - len(words) < 2000, "more than one frame was saved and not painted"
            seen[session] = stored
    check_recovery(database, spool, seen)
    return len(seen)


def check_database(database: str) -> None:
    connection = sqlite3.connect(database)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    finally:
        connection.close()


def check_recovery(database: str, spool: str, seen: dict[str, str]) -> None:
    """The next start completes every reply and loses nothing."""
    store = open_store(database)
    try:
        recover(store, spool)
        assert recover(store, spool) == [] == store.unfinished()
        for session, before in seen.items():
            entries = store.load_messages(session)
            parts = [part for entry in entries if entry.message.role == "assistant"
                     for part in entry.message.parts]
            assert ("".join(part.text for part in parts if isinstance(part, (Text, Thinking)))
                    == before)
            assert entries[0].message.text == "question 0"
            assert all(entry.state in ("complete", "interrupted") for entry in entries)
    finally:
        store.close()
    assert sqlite3.connect(database).execute("SELECT count(*) FROM chunks").fetchone() == (0,)
    assert not [name for name in os.listdir(os.path.dirname(database))
                if f"{os.path.basename(database)}-live-" in name]


@pytest.mark.processes
def test_nothing_painted_is_lost(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    with ThreadPoolExecutor(THREADS) as threads:
        seen = list(threads.map(lambda number: one_database(tmp_path, seed + 1000 * number),
                                range(THREADS)))
    assert sum(seen) >= 20, "most of them have to die while they paint"
