"""kill -9 of the whole program while a real server on loopback answers:
what was shown is saved, and the next start recovers it.
"""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fake_server import FakeOllama
from tests.program.test_kill import ROOT, check_database, check_recovery, killed, stored_words
from tests.pseudo_terminal import Terminal
from tests.surroundings import inherited

LANES, TRIALS, IN_TERMINAL = 3, 36, 4      # 108 kills, 12 of them in a terminal
# on a slow machine, before the first word
WAITING = re.compile(r"(loading|queued|reading|waiting)\b.* s$")
PROGRAM = [sys.executable, str(ROOT / "stream_chat.py"), "--no-markdown", "question 0"]


def lane(home: Path, url: str, seed: int) -> int:
    """Kill program after program on one database; return how many of them had shown something."""
    chance = random.Random(seed)
    home.mkdir()
    environment = {**inherited(), "HOME": str(home), "OLLAMA_HOST": url,
                   "PYTHONPATH": str(ROOT),
                   "TERM": "xterm", "OLLAMA_MODEL": "words-20000"}
    data = home / ".local/share/stream-chat"
    database = str(data / "sessions.db")
    seen: dict[str, str] = {}
    for trial in range(TRIALS):
        in_terminal = trial % (TRIALS // IN_TERMINAL) == 1
        before = sessions(database)
        shown = (killed_in_terminal(environment, chance) if in_terminal
                 else killed(PROGRAM, chance, environment=environment, letters=20_000))
        assert shown == "" or sessions(database) > before
        if new := sessions(database) - before:
            (session,) = new
            seen[session] = stored_words(database, session)
            check_shown(shown, seen[session], f"seed {seed}, trial {trial}")
        if before | set(seen):
            check_database(database)
    done = subprocess.run([*PROGRAM, "--provider", "demo", "--model", "demo", "--demo-delay", "0"],
                          env=environment,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert done.returncode == 0 and b"Traceback" not in done.stderr
    states = sqlite3.connect(database).execute("SELECT DISTINCT state FROM messages").fetchall()
    assert {state for state, in states} <= {"complete",
                                            "interrupted"}, "the start has recovered everything"
    check_recovery(database, str(data / "spool"), seen)
    return sum(1 for words in seen.values() if words)


def sessions(database: str) -> set[str]:
    if not os.path.exists(database):
        return set()
    connection = sqlite3.connect(database)
    try:
        return {name for name, in connection.execute("SELECT id FROM sessions")}
    except sqlite3.OperationalError:      # killed before its tables were made
        return set()
    finally:
        connection.close()


def killed_in_terminal(environment: dict[str, str], chance: random.Random) -> str:
    with Terminal(PROGRAM, environment) as terminal:
        limit, target = time.monotonic() + 20, chance.randrange(1, 10_000)
        while len(terminal.raw) < target and time.monotonic() < limit:
            terminal.read(0.05)
        terminal.child.send_signal(signal.SIGKILL)
        terminal.child.wait()
        while terminal.read(0):
            pass
        lines = terminal.text().split("\n")
        return "\n".join(line for line in lines if not WAITING.match(line))


def check_shown(shown: str, stored: str, where: str) -> None:
    """Compare words, since a terminal breaks full lines."""
    shown, stored = "".join(shown.split()), "".join(stored.split())
    assert stored.startswith(shown), f"{where}: shown {shown[-80:]!r}, stored {stored[-80:]!r}"


@pytest.mark.processes
def test_nothing_shown_is_lost(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    with FakeOllama() as server, ThreadPoolExecutor(LANES) as threads:
        seen = list(threads.map(lambda number: lane(tmp_path / f"lane{number}", server.url,
                                                    seed + number), range(LANES)))
    assert LANES * TRIALS >= 100
    assert sum(seen) >= 60, "most of them have to die while they answer"
