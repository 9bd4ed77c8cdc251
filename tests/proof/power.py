"""Simulates power cuts while the program answers, and checks the disk with sqlite3.

The program runs under strace, which records its writes; a power cut leaves a disk with everything
synced and any part of the rest (tests/proof/disk.py). None of the program's own modules is used for
this.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.fake_server import FakeOllama
from tests.proof.disk import STRACE, Call, Disk, calls
from tests.proof.homes import new_home
from tests.surroundings import inherited

ROOT = Path(__file__).resolve().parent.parent.parent
WORDS, A_SECOND = 250, 200
CUTS_A_RUN = 100
AT_MOST = 0.25          # seconds of a reply that a power cut may take
FOLDER = ".local/share/stream-chat"


@dataclass(slots=True)
class Tally:
    cuts: int = 0
    while_answering: int = 0
    most_lost: float = 0.0      # seconds of a reply
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Seen:
    """What was visible outside up to a moment."""

    shown: list[tuple[float, str]] = field(default_factory=list)
    asked: bool = False

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.shown)

    def seconds(self, start: int) -> float:
        """How much of the reply from this character on has been shown,
        beyond the longest pause in it.
        """
        ends = itertools.accumulate(len(text) for _, text in self.shown)
        times = [time for (time, _), end in zip(self.shown, ends, strict=True) if end > start]
        pauses = [after - before for before, after in zip(times, times[1:])]
        return times[-1] - times[0] - max(pauses, default=0.0)


def available() -> bool:
    """Whether programs can be traced on this machine."""
    if shutil.which("strace") is None:
        return False
    tried = subprocess.run(["strace", "-o", os.devnull, "-e", "trace=exit_group", "true"],
                           capture_output=True)
    return tried.returncode == 0


def cut_power(seed: int, cuts: int, *, lies: bool = False) -> Tally:
    """Simulate `count` power cuts during answers in one session after another."""
    tally = Tally()
    with new_home() as home, FakeOllama() as server:
        judge = _Judge(Path(home), server, random.Random(seed), tally, seed)
        judge.disk = Disk(f"{home}/{FOLDER}", lies=lies)
        number = 0
        while tally.cuts < cuts:
            judge.run(number, min(CUTS_A_RUN, cuts - tally.cuts))
            number += 1
    return tally


class _Judge:

    def __init__(self, home: Path, server: FakeOllama, chance: random.Random, tally: Tally,
                 seed: int) -> None:
        self._home, self._chance, self._tally, self._seed = home, chance, tally, seed
        self.disk = Disk(f"{home}/{FOLDER}")
        self._finished: dict[str, str] = {}      # question -> whole answer
        self._environment = {
            **inherited(), "HOME": str(home), "PYTHONPATH": str(ROOT),
            "OLLAMA_HOST": server.url, "OLLAMA_MODEL": f"words-{WORDS}@{A_SECOND}"}

    def run(self, number: int, cuts: int) -> None:
        question = f"question {self._seed} {number}"
        flags = ["--continue"] if number % 3 else []
        recorded = list(self._recorded([*flags, question]))
        first = next(place for place, call in enumerate(recorded) if FOLDER in call.path)
        at = {self._chance.randrange(first, len(recorded)) for _ in range(cuts - 1)}
        seen = _Seen()
        for place, call in enumerate(recorded):
            self.disk.take(call)
            self._note(seen, call, question)
            if place in at or place == len(recorded) - 1:
                self._cut(seen, question)
        self._finished[question] = seen.text

    def _recorded(self, words: Sequence[str]) -> list[Call]:
        log = self._home / "calls"
        subprocess.run([*STRACE, "-o", str(log), sys.executable, str(ROOT / "stream_chat.py"),
                        *words], env=self._environment, stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True, timeout=300)
        return list(calls(log))

    def _note(self, seen: _Seen, call: Call, question: str) -> None:
        if call.name == "write" and call.number == 1:
            seen.shown.append((call.time, call.data.decode()))
        elif call.name in ("sendto", "write") and question.encode() in call.data:
            seen.asked = seen.asked or not call.path.startswith(str(self._home))

    def _cut(self, seen: _Seen, question: str) -> None:
        self._tally.cuts += 1
        self._tally.while_answering += bool(seen.shown)
        with tempfile.TemporaryDirectory() as left:
            self.disk.after_cut(self._chance, Path(left))
            stored, sound = _stored(Path(left) / "sessions.db")
        if not sound:
            self._fault(question, "the database is damaged")
        if seen.asked and question not in stored:
            self._fault(question, "the question was sent, and not saved")
        for earlier, answer in self._finished.items():
            if stored.get(earlier, "") != answer.rstrip("\n"):
                self._fault(question, f"the finished answer to {earlier!r} is not whole")
        self._judge_reply(seen, question, stored.get(question, ""))

    def _judge_reply(self, seen: _Seen, question: str, text: str) -> None:
        shown = seen.text.rstrip("\n")
        if not text.startswith(shown) and not shown.startswith(text):
            self._fault(question, f"another text was saved than shown: {text[-60:]!r}")
        elif len(text) < len(shown):
            lost = seen.seconds(len(text))
            self._tally.most_lost = max(self._tally.most_lost, lost)
            if lost > AT_MOST:
                self._fault(question, f"{lost * 1000:.0f} ms of the reply are lost")

    def _fault(self, question: str, words: str) -> None:
        self._tally.faults.append(f"seed {self._seed}, cut {self._tally.cuts}, {question}: {words}")


def _stored(database: Path) -> tuple[dict[str, str], bool]:
    """The answer to each question, merged or still in pieces; and whether the file is valid."""
    if not database.exists() or not database.stat().st_size:
        return {}, True
    try:
        with closing(sqlite3.connect(database)) as connection:
            sound = connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            tables = {name for name, in connection.execute("SELECT name FROM sqlite_master")}
            if "messages" not in tables:
                return {}, sound
            rows = connection.execute(
                "SELECT session_id, id, role, parts FROM messages ORDER BY id").fetchall()
            pieces = connection.execute(
                "SELECT message_id, text FROM chunks ORDER BY message_id, seq").fetchall()
    except sqlite3.DatabaseError:
        return {}, False
    asked: dict[str, str] = {}
    stored: dict[str, str] = {}
    for session, identity, role, parts in rows:
        text = "".join(part.get("text", "") for part in json.loads(parts))
        if role == "user":
            asked[session] = text
            stored[text] = ""
        elif session in asked:
            chunks = "".join(piece for message, piece in pieces if message == identity)
            stored[asked[session]] += text + chunks
    return stored, sound
