"""kill -9 of imports: in the end each session is stored once, with every message.

The judge reads the database with Python's own sqlite3, and nothing of the program.
"""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from core.messages import Message, Text, user_message
from core.session_manager import Session
from db import open_store
from tests.proof.homes import new_home
from tests.surroundings import inherited

ROOT = Path(__file__).resolve().parent.parent.parent
SESSIONS, EXCHANGES = 300, 6
A_ROUND = 6     # kills before an import may finish


def kill_imports(seed: int, count: int) -> tuple[int, int, list[str]]:
    """Kill `count` imports; return the number of kills, of those midway, and the faults."""
    chance, kills, midway, faults = random.Random(seed), 0, 0, list[str]()
    with new_home() as directory:
        file = _exported(Path(directory))
        while kills < count:
            home = Path(directory) / f"home{kills}"
            home.mkdir()
            for _ in range(min(A_ROUND, count - kills)):
                _import(home, file, chance.uniform(0.1, 1.5))
                kills += 1
                midway += 0 < _counts(home)[0] < SESSIONS
            _import(home, file, None)
            faults += [f"seed {seed}, after {kills} kills: {fault}" for fault in _faults(home)]
    return kills, midway, faults


def _exported(directory: Path) -> str:
    """The file that is imported: made by the program's own export."""
    home, file = directory / "origin", str(directory / "all.jsonl")
    data = home / ".local/share/stream-chat"
    data.mkdir(parents=True)
    with closing(open_store(str(data / "sessions.db"))) as store:
        for number in range(SESSIONS):
            session = Session(store, model="demo/m")
            for place in range(EXCHANGES):
                session.add_user(user_message(f"question {number} {place}"))
                reply = Text(f"answer {number} {place}")
                session.add_reply(Message("assistant", (reply,), "demo/m", None, "stop"))
            session.close()
    subprocess.run([sys.executable, str(ROOT / "stream_chat.py"), "--export-all", "-o", file],
                   env=_environment(home), stdin=subprocess.DEVNULL, capture_output=True,
                   check=True)
    return file


def _environment(home: Path) -> dict[str, str]:
    return {**inherited(), "HOME": str(home), "PYTHONPATH": str(ROOT)}


def _import(home: Path, file: str, seconds: float | None) -> None:
    """Import, and kill it after so many seconds; None lets it finish."""
    program = subprocess.Popen([sys.executable, str(ROOT / "stream_chat.py"), "--import", file],
                               env=_environment(home), stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if seconds is not None:
        time.sleep(seconds)
        program.send_signal(signal.SIGKILL)
    program.wait()


def _rows(home: Path, query: str) -> list[tuple[Any, ...]]:
    path = home / ".local/share/stream-chat/sessions.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as connection, suppress(sqlite3.OperationalError):
        return connection.execute(query).fetchall()
    return []


def _counts(home: Path) -> tuple[int, int]:
    sessions = _rows(home, "SELECT count(*) FROM sessions")
    messages = _rows(home, "SELECT count(*) FROM messages")
    return (sessions[0][0] if sessions else 0), (messages[0][0] if messages else 0)


def _faults(home: Path) -> list[str]:
    faults = []
    if _counts(home) != (SESSIONS, SESSIONS * EXCHANGES * 2):
        faults.append(f"{_counts(home)} sessions and messages instead of "
                      f"{(SESSIONS, SESSIONS * EXCHANGES * 2)}")
    said = {parts for parts, in _rows(home, "SELECT parts FROM messages")}
    if len(said) != SESSIONS * EXCHANGES * 2:
        faults.append(f"{len(said)} different messages")
    if _rows(home, "PRAGMA integrity_check") != [("ok",)]:
        faults.append("the database is damaged")
    return faults
