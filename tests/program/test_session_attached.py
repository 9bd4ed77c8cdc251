"""Attachments belong to the session: -c restores them, even if their file is gone."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.fake_server import FakeOllama
from tests.pseudo_terminal import Terminal

Environment = dict[str, str]


class Runs:
    """Runs the program in a folder, and returns what the model was sent."""

    def __init__(self, program: list[str], environment: Environment, ollama: FakeOllama,
                 folder: Path) -> None:
        self.program, self.environment, self.ollama, self.folder = (program, environment, ollama,
                                                                    folder)

    def ask(self, *words: str, folder: Path | None = None, stdin: str | None = None) -> list[Any]:
        done = subprocess.run([*self.program, "-m", "words-5", *words], env=self.environment,
                              cwd=folder or self.folder,
                              input=stdin or "", capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        self.said = done.stderr
        return self.sent()

    def sent(self) -> list[Any]:
        found: list[Any] = [request.json for request in self.ollama.requests
                            if request.path == "/api/chat"][-1]["messages"]
        return found


@pytest.fixture
def runs(program: list[str], environment: Environment, ollama: FakeOllama, tmp_path: Path) -> Runs:
    folder = tmp_path / "work"
    (folder / "src").mkdir(parents=True)
    (folder / "notes.txt").write_text("first line\nthe code is 4711\n", encoding="utf-8")
    (folder / "src/a.py").write_text("def delay():\n    return 30\n", encoding="utf-8")
    return Runs(program, environment, ollama, folder)


def texts(messages: list[Any]) -> str:
    return "\n".join(message["content"] for message in messages)


def test_a_file_named_in_the_question_is_there_in_the_next_run(runs: Runs, tmp_path: Path) -> None:
    first = runs.ask("what is the code in @notes.txt")
    second = runs.ask("-c", "and again?", folder=tmp_path)       # from another folder
    assert "2\tthe code is 4711" in first[0]["content"]
    # byte for byte, and only once
    assert second[0] == first[0] and second[-1]["content"] == "and again?"
    assert texts(second).count("the code is 4711") == 1
    assert "Attached as before: notes.txt." in runs.said and "context: 1 of 1 files" in runs.said


def test_a_folder_of_a_chat_is_there_after_it(runs: Runs) -> None:
    with Terminal([*runs.program, "-m", "words-5", "--context", "src"], runs.environment,
                  cwd=runs.folder) as chat:
        chat.ask("where is the delay?", "w4")
        chat.say("/exit")
        assert chat.exit_status() == 0
    first = runs.sent()
    assert runs.ask("-c", "and again?")[0] == first[0]
    with Terminal([*runs.program, "-m", "words-5", "-c"], runs.environment,
                  cwd=runs.folder) as chat:
        chat.ask("/context list", r"src/a\.py +file")
        chat.ask("/context drop src", "src is out of the context")
        chat.say("/exit")
        assert chat.exit_status() == 0
    sent = runs.ask("-c", "third")
    assert "def delay" not in texts(sent) and "where is the delay?" == sent[0]["content"]


def test_a_file_that_changed_is_read_again_and_that_is_said(runs: Runs) -> None:
    runs.ask("what is the code in @notes.txt")
    (runs.folder / "notes.txt").write_text("first line\nthe code is 8122\n", encoding="utf-8")
    sent = texts(runs.ask("-c", "and now?"))
    assert "the code is 8122" in sent and "4711" not in sent
    assert "notes.txt has changed since it was sent" in runs.said
    assert texts(runs.ask("-c", "once more?")) .startswith(sent) and "has changed" not in runs.said


def test_a_file_that_is_gone_stays_as_it_was_sent(runs: Runs) -> None:
    first = runs.ask("what is the code in @notes.txt")
    os.unlink(runs.folder / "notes.txt")
    second = runs.ask("-c", "and again?")
    assert second[0] == first[0]
    assert "notes.txt is attached as it was sent." in runs.said
    long = "word " * 1_200       # no room in its place: everything is chosen again
    third = texts(runs.ask("-c", "--num-ctx", "2048", f"what is the code? {long}"))
    assert "the code is 4711" in third


@pytest.mark.parametrize(("source", "stdin"),
                         [("!cat notes.txt", None), ("-", "piped words: the code is 4711\n")])
def test_what_is_not_read_again_stays_as_it_was_sent(runs: Runs, source: str,
                                                     stdin: str | None) -> None:
    if source == "-":
        first = runs.ask("--context", source, "what is the code?", stdin=stdin)
    else:
        with Terminal([*runs.program, "-m", "words-5", "--context", source], runs.environment,
                      cwd=runs.folder) as chat:
            chat.wait(r"\[y/N\]")
            chat.send("y\r")
            chat.ask("what is the code?", "w4")
            chat.say("/exit")
            chat.exit_status()
        first = runs.sent()
    assert "4711" in first[0]["content"]
    assert runs.ask("-c", "and again?")[0] == first[0]
    assert "is attached as it was sent" in runs.said


def test_a_new_session_has_only_what_the_flags_name(runs: Runs) -> None:
    with Terminal([*runs.program, "-m", "words-5", "--context", "src"], runs.environment,
                  cwd=runs.folder) as chat:
        chat.ask("/context add notes.txt", "Attached notes.txt")
        chat.ask("first", "w4")
        assert "4711" in texts(runs.sent()) and "def delay" in texts(runs.sent())
        chat.ask("/new", "New session")
        chat.ask("second", "w4", 2)
        assert "4711" not in texts(runs.sent()) and "def delay" in texts(runs.sent())


def test_the_export_holds_what_was_sent(runs: Runs) -> None:
    runs.ask("what is the code in @notes.txt")

    def export(form: str) -> str:
        return subprocess.run([*runs.program, "--export-session", "last", "--format", form],
                              env=runs.environment,
                              capture_output=True, text=True, timeout=120, check=True).stdout

    assert "the code is 4711" in export("json") and json.loads(export("json"))
    assert "the code is 4711" in export("html")
    assert "attached: notes.txt" in export("markdown") and "4711" not in export("markdown")
