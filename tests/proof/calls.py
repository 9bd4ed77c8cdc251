"""kill -9 of the program while the model calls tools: no call runs twice, and every provider
accepts the remaining conversation.

Each question is asked of another dialect, in the session that the killed programs left. The model
calls a tool that notes its number in a file and takes a while. The judges are that file, what was
shown, and the rules of the providers (tests/proof/accepted.py), applied to each request.
"""

from __future__ import annotations

import random
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.fake_server import Answer, FakeServer, Received, json_answer
from tests.proof.accepted import RULES, why_refused
from tests.proof.homes import new_home
from tests.scripted_answers import SCRIPTED, Call, Script
from tests.surroundings import inherited

ROOT = Path(__file__).resolve().parent.parent.parent
ROUNDS = 3      # of calls before the model answers
TOOL = '''
import time
from pathlib import Path
from core.tools import tool

@tool(safe=True)
def note(number: int) -> str:
    """Note a number."""
    with open(Path(__file__).with_name("noted"), "a") as file:
        file.write(f"{number}\\n")
    time.sleep(0.02)
    return f"noted {number}"
'''


@dataclass
class Tally:
    kills: int = 0
    calls: int = 0          # that ran
    requests: int = 0       # that were judged
    faults: list[str] = field(default_factory=list)


class _Models:
    """Servers of all dialects at one address: each calls tools for some rounds, then answers."""

    def __init__(self, tally: Tally) -> None:
        self._tally, self._number = tally, 0
        self.dialect, self.round = "", 0

    def answer(self, request: Received) -> Answer:
        if request.method != "POST" or not _is_conversation(request):
            return json_answer({"error": {"message": "not found"}}, 404)
        self._tally.requests += 1
        if reason := why_refused(self.dialect, request.json):
            self._tally.faults.append(f"{self.dialect} refuses what is sent: {reason}")
        self.round += 1
        text = f"Step {self._tally.requests}. "
        if self.round > ROUNDS:
            return SCRIPTED[self.dialect](Script(f"{text}That is all."))
        return SCRIPTED[self.dialect](Script(text, "", tuple(self._calls())))

    def _calls(self) -> list[Call]:
        made = []
        for _ in range(1 + self._number % 2):
            self._number += 1
            made.append(Call(f"call{self._number:05}", "note", {"number": self._number}))
        return made


def _is_conversation(request: Received) -> bool:
    """Whether the request asks for a reply, and is not about the model or without messages, which
    loads a model in Ollama.
    """
    try:
        body = request.json
    except ValueError:
        return False
    return any(body.get(name) for name in ("messages", "input", "contents"))


def kill_calls(seed: int, count: int) -> Tally:
    """Kill `count` programs at random moments of a turn with tools."""
    tally, chance = Tally(), random.Random(seed)
    models = _Models(tally)
    with (new_home() as directory,
          FakeServer(models.answer) as server):
        home = Path(directory)
        (home / "tools.py").write_text(TOOL, encoding="utf-8")
        noted = home / "noted"
        noted.touch()
        for number in range(count):
            models.dialect, models.round = chance.choice(sorted(RULES)), 0
            shown = _killed(home, server.url, models.dialect, number, chance)
            tally.kills += 1
            saved = _saved(home)
            tally.faults += [f"seed {seed}, kill {number}: {step} was shown, not saved"
                             for step in re.findall(r"Step \d+\.", shown) if step not in saved]
        ran = Counter(noted.read_text().split())
    tally.calls = len(ran)
    tally.faults += [f"seed {seed}: call {number} ran {times} times"
                     for number, times in ran.items() if times > 1]
    return tally


def _killed(home: Path, url: str, dialect: str, number: int, chance: random.Random) -> str:
    """Ask, kill the program when so many tools have run or after a while, and return what it
    showed.
    """
    words = ["--provider", dialect, "--base-url", url, "--model", "any", "--tools", "note",
             "--tools-file", str(home / "tools.py"), *(["--continue"] if _saved(home) else []),
             f"question {number}"]
    environment = {**inherited(), "HOME": str(home), "PYTHONPATH": str(ROOT),
                   **{f"{name.upper().replace('-', '_')}_API_KEY": "k" for name in RULES},
                   "OPENAI_API_KEY": "k", "CO_API_KEY": "k"}
    with (home / "shown").open("w+b") as output:
        program = subprocess.Popen([sys.executable, str(ROOT / "stream_chat.py"), *words],
                                   env=environment, cwd=home, stdin=subprocess.DEVNULL,
                                   stdout=output, stderr=(home / "said").open("wb"))
        wanted = len((home / "noted").read_text().split()) + chance.randrange(2 * ROUNDS + 2)
        extra = chance.choice((0.0, 0.005, 0.03))
        while program.poll() is None and len((home / "noted").read_text().split()) < wanted:
            _wait(program, 0.002)
        _wait(program, extra)
        program.send_signal(signal.SIGKILL)
        program.wait()
        output.seek(0)
        return output.read().decode("utf-8", "ignore")


def _wait(program: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for this time, or until the program ends."""
    with suppress(subprocess.TimeoutExpired):
        program.wait(timeout=seconds)


def _saved(home: Path) -> str:
    """All text in the database, merged or in pieces."""
    path = home / ".local/share/stream-chat/sessions.db"
    if not path.exists():
        return ""
    with closing(sqlite3.connect(path)) as base:
        return "\n".join(str(row[0]) for row in base.execute(
            "SELECT parts FROM messages UNION ALL SELECT text FROM chunks"))
