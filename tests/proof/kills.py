"""kill -9 of the program while it answers: everything sent and shown is saved.

It is asked in a new session or the last one, and shows its answer as text or as events.

The judge reads the database with Python's own sqlite3 (or psycopg), and nothing of the program. The
server and the database are its own, or what the environment names (tests/proof/yours.py).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fake_server import FakeOllama
from tests.proof.homes import new_home
from tests.proof.yours import Yours, parts_of, rows_of

ROOT = Path(__file__).resolve().parent.parent.parent
LANES = 2          # programs that run at the same time, each with its own database
WORDS = 20_000     # words of the answer: far more than are shown before the kill
SHOWN = 60_000     # most bytes of the answer before a kill


@dataclass
class Tally:
    """The results of the kills. `faults` say what was lost, and in which trial."""

    kills: int = 0
    while_answering: int = 0
    shown: int = 0
    questions: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.kills += other.kills
        self.while_answering += other.while_answering
        self.shown += other.shown
        self.questions += other.questions
        self.faults += other.faults


def kill_programs(seed: int, count: int, flags: Sequence[str] = ()) -> Tally:
    """Kill `count` programs, started with these flags; the next start recovers what they left."""
    yours, whole = Yours.named(), Tally()
    number = 1 if yours.database else LANES
    share = [count // number + (lane < count % number) for lane in range(number)]
    with new_home() as directory, \
            nullcontext() if yours.url else FakeOllama() as server, \
            ThreadPoolExecutor(LANES) as threads:
        lanes = [_Lane(Path(directory) / f"lane{lane}", server, seed + lane, flags, yours)
                 for lane in range(number)]
        for tally in threads.map(lambda lane, number: lane.run(number), lanes, share):
            whole.add(tally)
    return whole


class _Lane:
    """Kills program after program on one database."""

    def __init__(self, home: Path, server: FakeOllama | None, seed: int, flags: Sequence[str],
                 yours: Yours) -> None:
        home.mkdir()
        self._chance, self._seed, self._server = random.Random(seed), seed, server
        self._program = [sys.executable, str(ROOT / "stream_chat.py"), *yours.flags, *flags]
        self._ask = yours.question
        self._environment = yours.environment | {"HOME": str(home), "PYTHONPATH": str(ROOT)}
        if server is not None:
            self._environment |= {"OLLAMA_HOST": server.url, "OLLAMA_MODEL": f"words-{WORDS}"}
        self._database = yours.database or str(home / ".local/share/stream-chat/sessions.db")
        self._tally = Tally()

    def run(self, count: int) -> Tally:
        for number in range(count):
            self._trial(number)
        before = self._stored()
        self._start("--provider", "demo", "--model", "demo", "--demo-delay", "0", "after all")
        after = self._stored()
        for identity, text in before.items():
            if after.get(identity) != text:
                self._fault(f"message {identity} changed when the next start recovered it")
        left = self._rows("SELECT DISTINCT state FROM messages")
        if not {state for state, in left} <= {"complete", "interrupted"}:
            self._fault(f"the next start left messages in these states: {left}")
        return self._tally

    def _trial(self, number: int) -> None:
        question = f"{self._ask} {self._seed} {number}".strip()
        before = set(self._stored())
        flags = self._chance.choice(([], [], ["--json"], ["--continue"] if before else []))
        shown = self._killed([*flags, question])
        if "--json" in flags:
            shown = "".join(_text_events(shown))
        self._tally.kills += 1
        self._tally.shown += len(shown)
        stored = self._stored()
        replies = [text for identity, text in stored.items() if identity not in before]
        if shown and not any(text.startswith(shown.rstrip("\n")) for text in replies):
            self._fault(f"kill {number}: shown {shown[-60:]!r}, and not saved")
        asked = bool(shown) if self._server is None else any(
            question.encode() in request.body for request in self._server.chats)
        self._tally.while_answering += bool(shown)
        self._tally.questions += asked
        if asked and question not in self._questions():
            self._fault(f"kill {number}: the question was sent, and not saved")
        if "://" not in self._database and self._rows("PRAGMA integrity_check") not in (
                [], [("ok",)]):
            self._fault(f"kill {number}: the database is damaged")

    def _killed(self, words: Sequence[str]) -> str:
        """Kill it at once, after some time, or after some of its answer; returns what it showed."""
        program = subprocess.Popen([*self._program, *words], env=self._environment,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        assert program.stdout is not None
        shown, wanted = b"", self._chance.choice((0, 1, 200, self._chance.randrange(SHOWN)))
        if not wanted:
            time.sleep(self._chance.uniform(0, 0.6))
        while len(shown) < wanted and (more := os.read(program.stdout.fileno(), 4_096)):
            shown += more
        program.send_signal(signal.SIGKILL)
        shown += program.stdout.read()
        program.stdout.close()
        program.wait()
        return shown.decode("utf-8", "ignore")

    def _start(self, *words: str) -> None:
        subprocess.run([*self._program, *words], env=self._environment, capture_output=True,
                       stdin=subprocess.DEVNULL, timeout=300, check=True)

    def _stored(self) -> dict[str, str]:
        """The text of each reply by ID, merged or still in pieces."""
        texts = {identity: "".join(part.get("text", "") for part in parts_of(parts))
                 for identity, parts in self._rows(
                     "SELECT id, parts FROM messages WHERE role = 'assistant'")}
        pieces = "SELECT message_id, text FROM chunks ORDER BY message_id, seq"
        for identity, text in self._rows(pieces):
            texts[identity] = texts.get(identity, "") + text
        return texts

    def _questions(self) -> set[str]:
        rows = self._rows("SELECT parts FROM messages WHERE role = 'user'")
        return {part.get("text", "") for parts, in rows for part in parts_of(parts)}

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return rows_of(self._database, query)

    def _fault(self, words: str) -> None:
        self._tally.faults.append(f"seed {self._seed}, {words}")


def _text_events(shown: str) -> Iterator[str]:
    """The text of the complete lines of --json."""
    for line in shown.split("\n")[:-1]:
        event = json.loads(line)
        if event["event"] == "text":
            yield event["text"]
