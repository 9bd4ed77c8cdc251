"""PostgreSQL fails while the program answers: the answer is shown completely, and saved.

Connections are ended, the server crashes and comes back, or stays away; it is full, read only, or
so slow that nothing is written. After the
fault the program is started once without one. The judge is psycopg, and the words that the server
of models sends.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fake_server import FakeOllama, fake_words
from tests.postgres import Server
from tests.proof.homes import new_home
from tests.proof.yours import OPTIONS, parts_of
from tests.surroundings import inherited

ROOT = Path(__file__).resolve().parent.parent.parent
WORDS, A_SECOND = 150, 100
TABLES = ("messages", "chunks")
REFUSE = """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$"""


@dataclass(slots=True)
class Tally:
    faults_made: int = 0
    set_aside: int = 0      # runs whose text was spooled
    faults: list[str] = field(default_factory=list)


def fail_server(seed: int, count: int) -> Tally:
    """Run `count` answers, with a fault of the database during each."""
    with new_home() as home, FakeOllama() as models:
        server = Server()
        try:
            server.start()
            user = _User(Path(home), models, server, random.Random(seed), seed)
            for number in range(count):
                user.ask(number)
            return user.tally
        finally:
            server.remove()


class _User:

    def __init__(self, home: Path, models: FakeOllama, server: Server, chance: random.Random,
                 seed: int) -> None:
        self.tally, self._server, self._chance, self._seed = Tally(), server, chance, seed
        self._environment = {
            **inherited(), "HOME": str(home), "PYTHONPATH": str(ROOT),
            "TMPDIR": str(home), "OLLAMA_HOST": models.url, "DATABASE_URL": server.url,
            "OLLAMA_MODEL": f"words-{WORDS}@{A_SECOND}"}
        self._program("-p", "demo", "hello")        # makes the tables
        self._sql(REFUSE)

    def ask(self, number: int) -> None:
        """One question, during whose answer the server fails; then what is saved is looked at."""
        question, chance = f"question {self._seed} {number}", self._chance
        begin, end = chance.choice(list(FAULTS.values()))
        name = next(name for name, pair in FAULTS.items() if pair == (begin, end))
        running = subprocess.Popen(
            [sys.executable, str(ROOT / "stream_chat.py"), question], env=self._environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(chance.uniform(0.0, 2.0))
        begin(self._server, self._sql)
        if chance.random() < 0.5:
            time.sleep(chance.uniform(0.0, 0.5))
            end(self._server, self._sql)
            shown, said = running.communicate(timeout=300)
        else:
            shown, said = running.communicate(timeout=300)
            end(self._server, self._sql)
        self.tally.faults_made += 1
        self.tally.set_aside += "NOT SAVED" in said
        if shown.strip() != fake_words(WORDS).strip() or "Traceback" in said:
            self._note(name, f"{shown[-60:]!r} was shown: {said[-400:]}")
        again = self._program("--list-sessions")
        if again.returncode:
            self._note(name, f"the next start ended with {again.returncode}: {again.stderr}")
        if (saved := self._saved(question)) != [fake_words(WORDS).strip()]:
            self._note(name, f"saved is {[text[-60:] for text in saved]}: {said[-400:]}")

    def _saved(self, question: str) -> list[str]:
        """The text after this question, once for each occurrence of the question."""
        rows = self._sql("SELECT id, parent, role, parts FROM messages")
        texts = {row[0]: "".join(part.get("text", "") for part in parts_of(row[3])) for row in rows}
        asked = [row[0] for row in rows if row[2] == "user" and texts[row[0]] == question]
        return [texts[row[0]].strip() for place in asked
                for row in rows if row[1] == place and row[2] == "assistant"]

    def _program(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, str(ROOT / "stream_chat.py"), *words],
                              env=self._environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=300)

    def _sql(self, statement: str) -> list[tuple[Any, ...]]:
        import psycopg
        with psycopg.connect(self._server.url, autocommit=True, options=OPTIONS) as connection:
            done = connection.execute(statement.encode())
            return done.fetchall() if done.description else []

    def _note(self, fault: str, words: str) -> None:
        self.tally.faults.append(
            f"seed {self._seed}, {fault}, answer {self.tally.faults_made - 1}: {words}")


# ---- what fails, and how that ends

Sql = Callable[[str], Any]
Act = Callable[[Server, Sql], None]


def _terminate(_: Server, sql: Sql) -> None:
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'")


def _nothing(_: Server, __: Sql) -> None:
    """It has passed already."""


def _full(_: Server, sql: Sql) -> None:
    for table in TABLES:
        sql(f"CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON {table} "
            "EXECUTE FUNCTION refuse()")


def _room(_: Server, sql: Sql) -> None:
    for table in TABLES:
        sql(f"DROP TRIGGER full_disk ON {table}")


def _read_only(_: Server, sql: Sql) -> None:
    sql("ALTER DATABASE postgres SET default_transaction_read_only = on")
    _terminate(_, sql)


def _writable(_: Server, sql: Sql) -> None:
    sql("ALTER DATABASE postgres RESET default_transaction_read_only")


FAULTS: dict[str, tuple[Act, Act]] = {
    "connections ended": (_terminate, _nothing),
    "crash": (lambda server, _: server.crash(), lambda server, _: server.start()),
    "full": (_full, _room),
    "read only": (_read_only, _writable),
}
