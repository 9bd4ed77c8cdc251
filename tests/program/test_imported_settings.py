"""An imported session attaches and enables nothing before the user has agreed."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from core.sessions.sharing import HARMLESS, OFFERED, held_back, offered_in, settled
from tests.fake_server import FakeOllama
from tests.pseudo_terminal import Terminal

Environment = dict[str, str]
QUESTION = r"Use this\? Files are read here and sent to the model"
NAME = "20261101-0101-aaaa"


def session_of(folder: Path, **settings: Any) -> dict[str, Any]:
    """A file in our format that somebody else may have written."""
    first = "018bcfe5680070018000000000000011"
    kept = {
        "system": "Speak like a pirate.",
        "attached": [{"kind": "file", "name": "notes.txt", "root": str(folder), "without": []}],
        "experimental": True,
        "option": {"background": True},
    }
    return {
        "format": "stream-chat-session", "version": 2, "id": "01JDS8C0000000000000000000".lower(),
        "name": NAME, "title": "theirs", "model": "ollama/words-5", "created": 1.76e9,
        "updated": 1.76e9, "settings": kept | settings,
        "messages": [
            {"id": first, "parent": "0" * 32, "shown": True, "state": "complete",
             "created": 1.76e9, "role": "user", "parts": [{"type": "text", "text": "hello"}]},
        ],
    }


class Imported:
    """Runs the program after an import of such a file."""

    def __init__(self, program: list[str], environment: Environment, ollama: FakeOllama,
                 folder: Path) -> None:
        self.program, self.environment, self.ollama, self.folder = (
            program, environment, ollama, folder)
        self.file = folder / "theirs.json"

    def write(self, **settings: Any) -> None:
        (self.folder / "notes.txt").write_text("the code is 4711\n", encoding="utf-8")
        self.file.write_text(json.dumps(session_of(self.folder, **settings)), encoding="utf-8")
        self.said = self.run("--import", str(self.file))

    def run(self, *words: str) -> str:
        done = subprocess.run([*self.program, *words], env=self.environment, cwd=self.folder,
                              input="", capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def sent(self) -> dict[str, Any]:
        found: dict[str, Any] = [request.json for request in self.ollama.requests
                                 if request.path == "/api/chat"][-1]
        return found

    def chat(self) -> Terminal:
        return Terminal([*self.program, "--session", NAME], self.environment, columns=120,
                        cwd=self.folder)


@pytest.fixture
def imported(program: list[str], environment: Environment, ollama: FakeOllama,
             tmp_path: Path) -> Imported:
    folder = tmp_path / "work"
    folder.mkdir()
    return Imported(program, environment, ollama, folder)


def has_theirs(sent: dict[str, Any]) -> list[bool]:
    """Whether the imported file, tools and option are in a request."""
    return ["4711" in json.dumps(sent), bool(sent.get("tools")), "background" in json.dumps(sent)]


def test_in_a_pipe_nothing_of_it_is_used_and_that_is_said(imported: Imported) -> None:
    imported.write()
    assert "1 of them have files, tools or options; you are asked" in imported.said
    said = imported.run("--session", NAME, "what is the code?")
    assert has_theirs(imported.sent()) == [False, False, False]
    assert imported.sent()["messages"][0]["content"] == "Speak like a pirate."
    assert str(imported.folder / "notes.txt") in said and "experimental on" in said
    assert "Open it in a terminal to be asked" in said and "--context" in said
    again = imported.run("--session", NAME, "--context", "notes.txt", "and now?")
    assert "4711" in json.dumps(imported.sent()) and "Not used" in again     # it still waits


@pytest.mark.parametrize(("answer", "used"), [("y", True), ("n", False), ("", False)])
def test_in_a_terminal_it_is_asked_once(imported: Imported, answer: str, used: bool) -> None:
    imported.write()
    with imported.chat() as chat:
        chat.wait(QUESTION)
        for shown in ("notes.txt", "experimental on", "background"):
            assert shown in chat.text()
        chat.send(answer + "\r")
        chat.ask("what is the code?", "w4")
        assert has_theirs(imported.sent()) == [used, used, used]
        chat.say("/exit")
        assert chat.exit_status() == 0
    with imported.chat() as chat:
        chat.ask("and again?", "w4")
        assert "Use this?" not in chat.text()
        chat.say("/exit")
    assert has_theirs(imported.sent()) == [used, used, used]


def test_a_session_that_is_opened_within_a_chat_asks_too(imported: Imported) -> None:
    imported.write()
    with Terminal([*imported.program, "-m", "words-5"], imported.environment, columns=120,
                  cwd=imported.folder) as chat:
        chat.ask(f"/session {NAME}", "theirs")
        chat.say("what is the code?")
        chat.wait(QUESTION)
        chat.send("y\r")
        chat.wait("w4")
        assert has_theirs(imported.sent()) == [True, True, True]
        chat.say("/exit")


def test_what_it_names_that_is_not_here_asks_nothing(imported: Imported) -> None:
    imported.write(attached=[], experimental=False, option={}, tools=["no_such_tool"],
                   something_newer=["x"], num_ctx=-5, keep_alive="")
    assert "Not used" not in imported.run("--session", NAME, "hello")


def test_whatever_is_kept_only_what_shapes_an_answer_counts_unasked() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    values: list[Any] = [True, False, None, 0, 7, "", "x", [], ["a"], {}, {"a": 1}]
    names = [*HARMLESS, "attached", "tools", "experimental", "option", "response_format", "new"]
    for _ in range(500):
        given = {name: chance.choice(values) for name in chance.sample(names, 6)}
        earlier = {OFFERED: {"tools": ["b"], "system": "s"}} if chance.random() < 0.3 else {}
        before = given | earlier
        kept = json.loads(held_back(json.dumps(before)) or "{}")
        offered = kept.pop(OFFERED, {})
        assert kept == {name: given[name] for name in HARMLESS if name in given}
        assert not set(offered) & set(HARMLESS) and all(offered.values())
        assert all(offered[name] == value for name, value in given.items()
                   if name not in HARMLESS and value)
        assert held_back(held_back(json.dumps(before))) == held_back(json.dumps(before))
    for damaged in ("", "{", "[]", "null", '"x"', "[" * 100_000):
        assert held_back(damaged) == "" and offered_in(damaged) == {}


def test_an_answer_is_kept_in_place_of_what_waited() -> None:
    text = held_back(json.dumps({"system": "s", "tools": ["a"]}))
    assert json.loads(settled(text, {"tools": ["a"]})) == {"system": "s", "tools": ["a"]}
    assert json.loads(settled(text, {})) == {"system": "s"}
