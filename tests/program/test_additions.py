"""The additions of docs/building.md, made in a copy of the program: the number of files each
changes, and that it works.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fake_server import Answer, FakeServer, Received, json_answer, lines_answer
from tests.pseudo_terminal import CTRL_D, Terminal

LONGEST = 600     # seconds: each copy is compiled again, and the machine may be busy
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
        """Insert text before the only line of the file that begins with `before`."""
        path = self.place / file
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        found = [number for number, line in enumerate(lines) if line.lstrip().startswith(before)]
        assert len(found) == 1, f"{file} has another shape: {before!r} begins {len(found)} lines"
        path.write_text("".join([*lines[:found[0]], text, *lines[found[0]:]]), encoding="utf-8")

    def follow(self, heading: str) -> None:
        """Follow this part of the page: create its files, and insert its lines where it says."""
        page = (ROOT / "docs" / "building.md").read_text(encoding="utf-8")
        part = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
        examples = re.findall(r"```python\n# (\S+?\.py)(?:, (before"
                              r"|at the end of): ([^\n]+))?\n(.*?)```", part, re.S)
        assert examples, f"the page has no example for {heading}"
        for file, where, mark, text in examples:
            if where == "before":
                self.insert(file, mark, text)
            elif where:
                self.append(file, mark, text)
            else:
                self.add(file, text)

    def append(self, file: str, table: str, text: str) -> None:
        """Add rows at the end of a table."""
        path = self.place / file
        whole = path.read_text(encoding="utf-8")
        end = whole.index("\n)\n", whole.index(f"{table}: ")) + 1
        path.write_text(whole[:end] + text + whole[end:], encoding="utf-8")

    def make_docs(self) -> None:
        """Make the pages and modules that are made from the code."""
        subprocess.run([sys.executable, "-m", "tests.make_docs"], cwd=self.place,
                       env=self.environment, check=True, timeout=LONGEST)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, str(self.place / "stream_chat.py"), *words]

    def run(self, *words: str) -> str:
        """What it prints; it must succeed."""
        done = self.start(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words), env=self.environment, stdin=subprocess.DEVNULL,
                              capture_output=True,
                              text=True, timeout=LONGEST)


@pytest.fixture
def copy(tmp_path: Path, environment: dict[str, str]) -> Copy:
    place = tmp_path / "copy"
    shutil.copytree(ROOT / "core", place / "core", ignore=shutil.ignore_patterns("*.pyc.*"))
    shutil.copytree(ROOT / "docs", place / "docs")
    (place / "tests").mkdir()
    for path in (ROOT / "stream_chat.py", ROOT / "db.py", *(ROOT / "tests").glob("make_*.py"),
                 ROOT / "tests" / "__init__.py"):
        shutil.copy(path, place / path.relative_to(ROOT))
    return Copy(place, environment | {"PYTHONPATH": ""})


def test_a_host_is_a_row(copy: Copy) -> None:
    copy.follow("A host")
    assert "EXAMPLE_API_KEY" in copy.run("--list-providers")
    asked = copy.start("--provider", "example", "--retry-max-attempts", "1", "q")
    assert "EXAMPLE_API_KEY" in asked.stderr and asked.returncode == 1
    copy.environment["EXAMPLE_API_KEY"] = "k-1234567890"
    assert "127.0.0.1:1" in copy.start("--provider", "example", "--retry-max-attempts", "1",
                                       "q").stderr


def test_a_dialect_is_a_file_and_a_row(copy: Copy) -> None:
    example = (ROOT / "docs" / "example-provider"
               / "stream_chat_parrot.py").read_text(encoding="utf-8")
    example = example.replace("from core.providers import ", "from core.providers import dialect, ",
                              1)
    copy.add("core/providers/parrot.py",
             example.replace("class Parrot:", '@dialect("parrot")\nclass Parrot:'))
    copy.insert("core/providers/hosts.py", 'Host("openai-responses",',
                '    Host("parrot", "parrot", "local", "", (), "grey"),\n')
    assert copy.run("--provider", "parrot", "pretty polly").strip() == "pretty polly"
    assert "parrot" in copy.run("--list-providers")


def test_a_dialect_over_http(copy: Copy) -> None:
    """It answers, reports a rejection, resumes an interrupted reply, and declares what it lacks."""
    copy.follow("A dialect")
    broken = iter([True])

    def script(request: Received) -> Answer:
        if request.path == "/models":
            return json_answer(["small", "large"])
        if request.json["model"] == "missing":
            return json_answer({"error": "no such model"}, 404)
        whole = [{"text": "Hello "}, {"text": "there."}, {"end": "stop"}]
        resumed = len(request.json["messages"]) > 1
        return lines_answer(whole[:1] if next(broken, False) else whole[1:] if resumed else whole)
    with FakeServer(script) as server:
        asked = ("--provider", "relay", "--base-url", server.url)
        assert copy.run(*asked, "-m", "small", "q") == "Hello there.\n"
        asked_first = next(request for request in server.requests if request.path == "/say")
        assert asked_first.json["messages"] == [{"role": "user", "text": "q"}]
        assert {"small", "large"} <= set(re.findall(r"\w+", copy.run(*asked, "--list-models")))
        refused = copy.start(*asked, "-m", "missing", "q")
        assert refused.returncode == 1 and "Traceback" not in refused.stderr
        assert "temperature" in copy.start(*asked, "-m", "small", "--temperature", "1", "q").stderr


def test_a_tool_is_a_file(copy: Copy) -> None:
    copy.follow("A tool")
    assert "roll_dice" in copy.start("--tools", "nothing-of-this-name", *DEMO, "q").stderr
    assert copy.run("--tools", "roll_dice", *DEMO, "q")


def test_a_command_is_a_function(copy: Copy) -> None:
    copy.follow("A command")
    with Terminal(copy.command(*DEMO), copy.environment) as terminal:
        terminal.say("/shout hello there")
        terminal.wait("HELLO THERE")
        terminal.say("/help shout")
        terminal.wait("Say something louder")
        terminal.wait_prompt()
        terminal.send(CTRL_D)
        assert terminal.exit_status() == 0


def test_an_export_format_is_a_function(copy: Copy) -> None:
    copy.follow("An export format")
    copy.make_docs()
    copy.run(*DEMO, "why?")
    assert copy.run("--export-session", "last", "--format",
                    "org").startswith("* user\nwhy?\n* assistant\n")
    file = copy.place / "chat.org"
    copy.run("--export-session", "last", "--output", str(file))
    assert file.read_text(encoding="utf-8").startswith("* user\nwhy?\n")


def test_a_setting_is_a_row_and_its_use(copy: Copy) -> None:
    copy.follow("A setting")
    assert copy.run("--greeting", "Hello.", *DEMO, "q").startswith("Hello.\n")
    copy.environment["STREAM_CHAT_GREETING"] = "Good day."
    assert copy.run(*DEMO, "q").startswith("Good day.\n")
    assert "--greeting" in copy.run("--help")
    assert copy.start("--greting", "x", "q").returncode == 2


def test_a_migration_is_a_row(copy: Copy) -> None:
    copy.run(*DEMO, "before")
    copy.follow("A change of the tables")
    copy.make_docs()
    assert "before" in copy.run("--list-sessions")
    copy.run(*DEMO, "after")
    database = min(Path(copy.environment["HOME"]).rglob("sessions.db"),
                   key=lambda path: len(path.parts))
    connection = sqlite3.connect(database)
    assert connection.execute("SELECT DISTINCT mood FROM sessions").fetchall() == [(7,)]
    connection.close()
