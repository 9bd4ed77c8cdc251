"""Sets the clock while conversations run: years ahead and back, to leap days, across changes of
summer time.

tests/proof/shifted/sitecustomize.py shifts the program's clock; the database, read with sqlite3,
and the requests are checked.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.fake_server import FakeOllama
from tests.proof.homes import new_home
from tests.surroundings import inherited

ROOT = Path(__file__).resolve().parent.parent.parent
SHIFTED = Path(__file__).resolve().parent / "shifted"
MOMENTS = (
    0.0, 1.0, 946_684_799.0, 951_782_399.0,  # 1970; the last second of 1999; of 28 February 2000
    1_709_164_799.0, 1_835_308_799.0,             # before the leap days of 2024 and 2028
    1_729_990_799.0, 1_743_296_399.0,             # before summer time ends and begins in Europe
    2_147_483_646.0, 4_102_444_799.0, 7_258_118_400.0)     # 2038, 2099, 2200
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu",
         "Pacific/Kiritimati", "Etc/GMT+12")
LOOKS: tuple[tuple[str, ...], ...] = (("--list-sessions",), ("--stats",), ("--search", "question"))


@dataclass(slots=True)
class Tally:
    runs: int = 0
    back: int = 0
    questions: int = 0
    faults: list[str] = field(default_factory=list)


def set_clocks(seed: int, count: int) -> Tally:
    """Run the program `count` times, each at another time than before."""
    with new_home() as home, FakeOllama() as server:
        lane = _Lane(Path(home), server, seed)
        for _ in range(count):
            lane.run()
        return lane.tally


class _Lane:

    def __init__(self, home: Path, server: FakeOllama, seed: int) -> None:
        self._home, self._chance, self._seed, self._server = home, random.Random(seed), seed, server
        self._last, self._said = 0.0, list[str]()       # of the session that was used last
        self._sessions: list[list[str]] = []
        self.tally = Tally()

    def run(self) -> None:
        """Ask in a new session or the last one, and check what is stored."""
        moment = self._moment()
        self.tally.runs += 1
        self.tally.back += moment < self._last
        self._last = moment
        if self._sessions and self._chance.random() < 0.3:
            self._start(moment, *self._chance.choice(LOOKS))
        else:
            self._ask(moment)
        if self._stored() != sorted(self._sessions):
            self._fault("the conversations are not what was said")

    def _moment(self) -> float:
        near = self._chance.choice((time.time(), self._last, self._chance.choice(MOMENTS)))
        return max(0.0, near
                   + self._chance.choice((0, 1, -1, 3_600, -3_600, 86_400 * 400, -86_400 * 400)))

    def _ask(self, moment: float) -> None:
        question = f"question {self._seed} {self.tally.questions}"
        self.tally.questions += 1
        on = bool(self._sessions) and self._chance.random() < 0.6
        if not on:
            self._sessions.append([])
            self._said = self._sessions[-1]
        before = len(self._server.chats)
        self._start(moment, *(["--continue"] if on else []), question)
        self._said += [question, question]      # the model echoes
        asked = self._server.chats[before:]
        sent = [message["content"] for message in asked[-1].json["messages"]] if asked else []
        if sent != self._said[:-1]:
            self._fault(f"{question!r} was sent as {sent[-3:]} after {self._said[-4:-2]}")

    def _start(self, moment: float, *words: str) -> None:
        environment = {
            **inherited(), "HOME": str(self._home),
            "OLLAMA_HOST": self._server.url,
            "PYTHONPATH": f"{SHIFTED}{os.pathsep}{ROOT}", "TZ": self._chance.choice(ZONES),
            "SHIFTED_CLOCK": str(moment), "OLLAMA_MODEL": "echo"}
        done = subprocess.run([sys.executable, str(ROOT / "stream_chat.py"), *words],
                              env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=300)
        if done.returncode or "Traceback" in done.stderr:
            self._fault(f"{words} ended with {done.returncode}: {done.stderr[-200:]}")

    def _stored(self) -> list[list[str]]:
        """The messages of each session, in the order of its tree."""
        with closing(sqlite3.connect(self._home / ".local/share/stream-chat/sessions.db")) as base:
            rows: Sequence[tuple[str, str, str, str]] = base.execute(
                "SELECT session_id, id, parent, parts FROM messages").fetchall()
        texts = {identity: (parent, "".join(part.get("text", "") for part in json.loads(parts)))
                 for _, identity, parent, parts in rows}
        parents = {parent for parent, _ in texts.values()}
        return sorted(_up(texts, identity) for identity in texts if identity not in parents)

    def _fault(self, words: str) -> None:
        self.tally.faults.append(f"seed {self._seed}, run {self.tally.runs}, "
                                 f"clock {self._last:.0f}: {words}")


def _up(texts: dict[str, tuple[str, str]], identity: str) -> list[str]:
    said: list[str] = []
    while identity in texts:
        identity, text = texts[identity]
        said.insert(0, text)
    return said
