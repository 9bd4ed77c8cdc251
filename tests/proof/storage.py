"""Every write to the disk fails once, or from then on: the answer is shown completely, and saved.

strace lets a call of the system fail (no space, an error of the disk, a quota, a disk that is read
only): the n-th write, sync, read, or change of a name, that one alone or all from there on, of the
database alone or of all files. After the fault the program is started once without one. The judge
is sqlite3, the words that the server sends, and what was shown. A session that cannot be read is
not continued: without its messages the answer would be another one.
"""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.fake_server import FakeOllama, fake_words
from tests.proof.homes import new_home
from tests.surroundings import inherited

ROOT = Path(__file__).resolve().parent.parent.parent
WORDS = 120
ERRORS = ("ENOSPC", "EIO", "EDQUOT", "EROFS", "EFBIG", "EACCES")
WRITES, SYNCS = "pwrite64,ftruncate", "fsync,fdatasync"
CALLS = (WRITES, WRITES, WRITES, SYNCS, f"{WRITES},{SYNCS}", "pread64", "unlink,rename,mkdir",
         f"{WRITES},{SYNCS},unlink,rename,mkdir")
ONWARD = ("", "+", "+", "+3")       # this call alone, each one from then on, each third one
LAST = 45                           # about the number of these calls in a run
FILES = ("sessions.db", "sessions.db-wal", "sessions.db-journal")


@dataclass(slots=True)
class Tally:
    faults_made: int = 0
    met: int = 0            # runs in which a call did fail
    set_aside: int = 0      # runs whose text was spooled
    questions: int = 0
    faults: list[str] = field(default_factory=list)


def fail_writes(seed: int, count: int) -> Tally:
    """Run the program `count` times, each with another fault."""
    chance, tally = random.Random(seed), Tally()
    with FakeOllama() as server:
        while tally.faults_made < count:
            with new_home() as folder:
                home = _Home(Path(folder), server, chance, tally, seed)
                for _ in range(min(chance.choice((1, 4)), count - tally.faults_made)):
                    home.run()
    return tally


class _Home:
    """One user, whose disk fails in some of the runs."""

    def __init__(self, folder: Path, server: FakeOllama, chance: random.Random, tally: Tally,
                 seed: int) -> None:
        self._chance, self._tally, self._seed, self._server = chance, tally, seed, server
        self._data = folder / ".local/share/stream-chat"
        self._said: list[str] = []      # the questions that were answered
        (folder / "tmp").mkdir()
        self._log = folder / "strace"
        self._environment = {
            **inherited(), "HOME": str(folder), "PYTHONPATH": str(ROOT),
            "TMPDIR": str(folder / "tmp"), "OLLAMA_HOST": server.url,
            "OLLAMA_MODEL": f"words-{WORDS}", "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self) -> None:
        fault = self._fault()
        question = f"question {self._seed} {self._tally.questions}"
        self._tally.faults_made += 1
        self._tally.questions += 1
        on = ["--continue"] if self._said and self._chance.random() < 0.5 else []
        done = self._program([*fault, *self._stream_chat(*on, question)])
        unread = "cannot be read" in done.stderr or "is damaged" in done.stderr
        if on and done.returncode and unread and self._has_not(question):
            return
        where = f"seed {self._seed}, question {self._tally.questions - 1}, {' '.join(fault[4:])}"
        met = "(INJECTED)" in self._log.read_text(errors="replace")
        self._tally.met += met
        self._tally.set_aside += "kept in" in done.stderr
        if done.stdout.strip() != fake_words(WORDS).strip():
            self._note(where, f"{done.stdout[-60:]!r} was shown: {done.stderr[-300:]}")
        if "Traceback" in done.stderr:
            self._note(where, f"a traceback: {done.stderr[-300:]}")
        self._said.append(question)
        again = self._program(self._stream_chat("--list-sessions"))
        if again.returncode:
            self._note(where, f"the next start ended with {again.returncode}: {again.stderr}")
        self._judge(where, done.stderr)

    def _has_not(self, question: str) -> bool:
        """Whether the server did not receive it."""
        return not any(question.encode() in request.body for request in self._server.chats)

    def _fault(self) -> list[str]:
        """The strace command before the program's."""
        chance = self._chance
        calls, error = chance.choice(CALLS), chance.choice(ERRORS)
        when = f"{chance.randint(1, LAST)}{chance.choice(ONWARD)}"
        places = [word for name in FILES for word in ("-P", str(self._data / name))]
        # of all files, Python's own libraries could not be read either, and it would not start
        where = places if calls == "pread64" else chance.choice(([], places))
        return ["strace", "-f", "-qq", "-o", str(self._log), "-e", f"trace={calls}",
                "-e", f"inject={calls}:error={error}:when={when}", *where]

    def _stream_chat(self, *words: str) -> list[str]:
        return [sys.executable, str(ROOT / "stream_chat.py"), *words]

    def _program(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self._environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=300)

    def _judge(self, where: str, said: str) -> None:
        """Every question is saved once, followed by the complete answer."""
        with closing(sqlite3.connect(self._data / "sessions.db")) as base:
            if base.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
                self._note(where, "the database is damaged")
            rows = base.execute("SELECT id, parent, role, parts FROM messages").fetchall()
        texts = {identity: "".join(part.get("text", "") for part in json.loads(parts))
                 for identity, _, _, parts in rows}
        answers = {parent: texts[identity].strip() for identity, parent, role, _ in rows
                   if role == "assistant"}
        for question in self._said:
            found = [identity for identity, _, role, _ in rows
                     if role == "user" and texts[identity] == question]
            if len(found) != 1 or answers.get(found[0]) != fake_words(WORDS).strip():
                self._note(where, f"{question!r} is saved {len(found)} times, its answer as "
                           f"{str(answers.get(found[0]) if found else None)[-60:]!r}: "
                           f"{said[-400:]}")

    def _note(self, where: str, words: str) -> None:
        self._tally.faults.append(f"{where}: {words}")
