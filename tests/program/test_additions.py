"""What a newcomer adds, done in a copy of the program: how few files each addition touches, and that it works everywhere."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pseudo_terminal import CTRL_D, Terminal

DEMO = ("--provider", "demo", "--demo-delay", "0")


@dataclass(frozen=True)
class Copy:
    """The program in a directory of its own."""

    place: Path
    environment: dict[str, str]

    def add(self, file: str, text: str) -> None:
        """A new file."""
        assert not (self.place / file).exists()
        (self.place / file).write_text(text, encoding="utf-8")

    def insert(self, file: str, before: str, text: str) -> None:
        """Text in front of a line that the file has."""
        path = self.place / file
        whole = path.read_text(encoding="utf-8")
        assert whole.count(before) == 1, f"{file} has another shape: {before!r} is there {whole.count(before)} times"
        path.write_text(whole.replace(before, text + before), encoding="utf-8")

    def make_docs(self) -> None:
        """Make the pages and modules that are made from the code."""
        subprocess.run([sys.executable, "-m", "tests.make_docs"], cwd=self.place, env=self.environment, check=True, timeout=100)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, str(self.place / "stream_chat.py"), *words]

    def run(self, *words: str) -> str:
        """What it prints; it has to end well."""
        done = self.start(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words), env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=100)


@pytest.fixture
def copy(tmp_path: Path, environment: dict[str, str]) -> Copy:
    place = tmp_path / "copy"
    shutil.copytree(ROOT / "core", place / "core", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "docs", place / "docs")
    (place / "tests").mkdir()
    for path in (ROOT / "stream_chat.py", ROOT / "db.py", *(ROOT / "tests").glob("make_*.py"), ROOT / "tests" / "__init__.py"):
        shutil.copy(path, place / path.relative_to(ROOT))
    return Copy(place, environment | {"PYTHONPATH": ""})


def test_a_host_is_a_row(copy: Copy) -> None:
    copy.insert("core/providers/hosts.py", '    Host("openai-responses",',
                '    Host("example", "openai", "cloud", "http://127.0.0.1:1/v1", ("EXAMPLE_API_KEY",), "model-1"),\n')
    assert "EXAMPLE_API_KEY" in copy.run("--list-providers")
    asked = copy.start("--provider", "example", "--retry-max-attempts", "1", "q")
    assert "EXAMPLE_API_KEY" in asked.stderr and asked.returncode == 1
    copy.environment["EXAMPLE_API_KEY"] = "k-1234567890"
    assert "127.0.0.1:1" in copy.start("--provider", "example", "--retry-max-attempts", "1", "q").stderr


def test_a_dialect_is_a_file_and_a_row(copy: Copy) -> None:
    example = (ROOT / "docs" / "example-provider" / "stream_chat_parrot.py").read_text(encoding="utf-8")
    example = example.replace("from core.providers import ", "from core.providers import dialect, ", 1)
    copy.add("core/providers/parrot.py", example.replace("class Parrot:", '@dialect("parrot")\nclass Parrot:'))
    copy.insert("core/providers/hosts.py", '    Host("openai-responses",',
                '    Host("parrot", "parrot", "local", "", (), "grey"),\n')
    assert copy.run("--provider", "parrot", "pretty polly").strip() == "pretty polly"
    assert "parrot" in copy.run("--list-providers")


def test_a_tool_is_a_file(copy: Copy) -> None:
    copy.add("core/tools/dice.py", '''"""Dice."""

from core.tools import tool


@tool
def roll_dice(sides: int) -> int:
    """Roll a die.

    Args:
        sides: how many sides it has
    """
    return sides
''')
    assert "roll_dice" in copy.start("--tools", "nothing-of-this-name", *DEMO, "q").stderr
    assert copy.run("--tools", "roll_dice", *DEMO, "q")


def test_a_command_is_a_function(copy: Copy) -> None:
    copy.add("core/commands/shouting.py", '''"""A command that shouts."""

from core.chat.conversation import Chat
from core.commands import Outcome, command


@command(usage="TEXT")
async def shout(chat: Chat, argument: str) -> Outcome:
    """Say something louder."""
    return argument.upper()
''')
    with Terminal(copy.command(*DEMO), copy.environment) as terminal:
        terminal.say("/shout hello there")
        terminal.wait("HELLO THERE")
        terminal.say("/help shout")
        terminal.wait("Say something louder")
        terminal.wait_prompt()
        terminal.send(CTRL_D)
        assert terminal.exit_status() == 0


def test_an_export_format_is_a_function(copy: Copy) -> None:
    copy.insert("core/sessions/export.py", '@exporter("html",', '''@exporter("org", endings=(".org",))
def export_org(session: SessionRow, messages: Iterable[StoredMessage]) -> Iterator[str]:
    """Org mode."""
    for stored in messages:
        yield f"* {stored.message.role}\\n{stored.message.text}\\n"


''')
    copy.make_docs()
    copy.run(*DEMO, "why?")
    assert copy.run("--export-session", "last", "--format", "org").startswith("* user\nwhy?\n* assistant\n")
    file = copy.place / "chat.org"
    copy.run("--export-session", "last", "--output", str(file))
    assert file.read_text(encoding="utf-8").startswith("* user\nwhy?\n")


def test_a_setting_is_a_row_and_its_use(copy: Copy) -> None:
    copy.insert("core/config/__init__.py", '    Setting("Model", "top_p",',
                '    Setting("Model", "greeting", str, "", "what is said before the answer", env="STREAM_CHAT_GREETING"),\n')
    copy.insert("core/command_line/one_answer.py", "    question = read_question(settings)\n",
                '    print(getattr(settings, "greeting"))\n')
    assert copy.run("--greeting", "Hello.", *DEMO, "q").startswith("Hello.\n")
    copy.environment["STREAM_CHAT_GREETING"] = "Good day."
    assert copy.run(*DEMO, "q").startswith("Good day.\n")
    assert "--greeting" in copy.run("--help")
    assert copy.start("--greting", "x", "q").returncode == 2


def test_a_migration_is_a_row(copy: Copy) -> None:
    copy.run(*DEMO, "before")
    whole = (copy.place / "core/store/schema.py").read_text(encoding="utf-8")
    table = whole[whole.index("MIGRATIONS: "):]
    end = whole.index("MIGRATIONS: ") + table.index("\n)\n") + 1
    row = '    ("mood", ("ALTER TABLE sessions ADD COLUMN mood integer NOT NULL DEFAULT 7",)),\n'
    (copy.place / "core/store/schema.py").write_text(whole[:end] + row + whole[end:], encoding="utf-8")
    copy.make_docs()
    assert "before" in copy.run("--list-sessions")
    copy.run(*DEMO, "after")
    database = min(Path(copy.environment["HOME"]).rglob("sessions.db"), key=lambda path: len(path.parts))
    connection = sqlite3.connect(database)
    assert connection.execute("SELECT DISTINCT mood FROM sessions").fetchall() == [(7,)]
    connection.close()
