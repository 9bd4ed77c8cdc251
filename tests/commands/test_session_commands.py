"""Commands for saved sessions: the last exchange on resuming, /history, /sessions, /delete and
/export.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_server import MODELS, FakeOllama
from tests.pseudo_terminal import ENTER, Terminal

Environment = dict[str, str]


@pytest.fixture
def ollama(environment: Environment) -> Iterator[FakeOllama]:
    with FakeOllama(models=("words-5", *MODELS)) as server:
        environment["OLLAMA_HOST"] = server.url
        yield server


def listed(program: list[str], environment: Environment) -> list[str]:
    done = subprocess.run([*program, "--list-sessions"], env=environment, capture_output=True,
                          text=True, timeout=30)
    return done.stdout.splitlines()


def test_the_last_exchange_is_shown_when_a_session_goes_on(
        ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    with Terminal([*program, "-m", "echo"], environment) as chat:
        chat.ask("first words", "^first words$")
        chat.ask("is **this** bold", "^is this bold$")
    with Terminal([*program, "-c"], environment) as chat:
        chat.wait_prompt()
        shown = chat.text()
        assert "\u203a is **this** bold" in shown and "\nis this bold\n" in shown
        assert "Resumed: first words, 4 messages. /history shows them.\n" in shown
        assert shown.count("first words") == 1
        shown = chat.ask("/history", "^first words$")
        assert shown.count("first words") == 2
        assert "first words" not in chat.ask("/history 2", "^is this bold$", 3)
        chat.ask("/history x", "takes a number")
        number = listed(program, environment)[0].split()[0]
        chat.ask("/new", "New session")
        shown = chat.ask(f"/session {number}", "4 messages", 1)
        assert "\nis this bold\n" in shown


def test_a_session_is_resumed_by_its_words(ollama: FakeOllama, program: list[str],
                                           environment: Environment) -> None:
    with Terminal([*program, "-m", "echo"], environment) as chat:
        for words in ("red apples", "green apples", "some pears"):
            chat.ask(words, f"^{words}$")
            chat.ask("/new", "New session")
        chat.ask("/resume pear", r"^\u00b7 Session \S+: some pears \(2 messages")
        chat.ask("/resume zebra", "There is no session 'zebra'")
        chat.say("/resume apples")
        chat.wait(r"^Search: apples$")
        chat.wait("^1 of 2 sessions$")
        chat.send(ENTER)
        chat.wait(r"^\u00b7 Session \S+: \w+ apples \(2 messages")


def test_a_long_answer_is_shortened_to_its_end(program: list[str], environment: Environment,
                                               ollama: FakeOllama) -> None:
    with Terminal([*program, "-m", "echo"], environment, lines=24) as chat:
        chat.wait_prompt()
        text = "top\n" + "\n".join(f"* point {number}" for number in range(60))
        chat.send(f"\x1b[200~{text}\x1b[201~{ENTER}")
        chat.wait("point 59", 2)
        chat.wait_prompt()      # the answer is complete
    with Terminal([*program, "-c"], environment, lines=24) as chat:
        chat.wait_prompt()
        shown = chat.text()
        assert ("more lines of the answer are above; /history 1" in shown and "point 59" in shown
                and "point 20" not in shown)
        assert len(shown.splitlines()) <= 26


def test_sessions_are_listed_searched_exported_and_deleted(
        ollama: FakeOllama, program: list[str], environment: Environment, tmp_path: Path) -> None:
    with Terminal([*program, "-m", "echo"], environment, columns=80, cwd=tmp_path) as chat:
        chat.ask("/sessions", "There are no saved sessions yet")
        chat.ask("apples", "^apples$")
        chat.ask("/new", "New session")
        chat.ask("pears", "^pears$")
        shown = chat.ask("/sessions", "ID resumes one")
        row = r"^\u203a pears +today \d\d:\d\d +2 messages +ollama/echo +\S+$"
        assert "apples" in shown and re.search(row, shown, re.MULTILINE)
        assert "pears" not in chat.ask("/sessions apples", "ID resumes one", 2).split("\n", 1)[1]
        chat.ask("/export json out.json", "Exported to out.json")
        assert json.loads((tmp_path / "out.json").read_text())["title"] == "pears"
        chat.ask("/export json out.json", "exists already")
        chat.ask("/export nope x", "There is no format 'nope'")
        apples = next(line for line in listed(program, environment) if "apples" in line).split()[0]
        chat.say(f"/delete {apples}")
        chat.wait(r"messages\)\? \[y/N\]")
        chat.send("n" + ENTER)
        chat.wait("Nothing changed")
        chat.wait_prompt()
        assert len(listed(program, environment)) == 2
        chat.say(f"/delete {apples}")
        chat.wait(r"messages\)\? \[y/N\]", 2)
        chat.send("y" + ENTER)
        chat.wait("in the trash for 30 days")
        chat.say("/delete")
        chat.wait(r"messages\)\? \[y/N\]", 3)
        chat.send("y" + ENTER)
        chat.wait(r"This\s+is a new one")
        assert listed(program, environment) == []
        chat.ask("/session zzz", "with /sessions or --list-sessions")
        chat.ask("/clear", r"Did you mean /new\?")
        chat.ask("/new nonsense", "/new takes nothing")
        chat.ask("/usage nonsense", "/usage does not know")


def test_a_model_that_cannot_exist_is_refused(program: list[str], environment: Environment) -> None:
    with Terminal([*program, "-p", "demo"], environment) as chat:
        chat.ask("/model nope", "demo has no model nope")
        assert "\u2192" not in chat.ask("/model", "The model is demo/demo")


def test_drop_and_retry_say_where_the_conversation_stands(
        ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    with Terminal([*program, "-m", "words-5"], environment) as chat:
        chat.ask("why is it so", "w4")
        chat.ask("/retry", "Retrying: why is it so")
        chat.ask("/drop", "now ends with your message: why is it so")


def test_deleting_on_the_command_line(ollama: FakeOllama, program: list[str],
                                      environment: Environment) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*program, *words], env=environment, capture_output=True, text=True,
                              timeout=30,
                              stdin=subprocess.DEVNULL)
    for word in ("one", "two"):
        run("-m", "words-5", word)
    first, second = (line.split()[0] for line in listed(program, environment))
    refused = run("--delete-session", first)
    assert (refused.returncode == 2 and "--yes" in refused.stderr
            and len(listed(program, environment)) == 2)
    assert (run("--delete-session", first, "--yes").returncode == 0
            and len(listed(program, environment)) == 1)
    assert run("--delete-session", first, "--yes").returncode != 0
    for answer, status in (("n", 1), ("y", 0)):
        with Terminal([*program, "--delete-session", second], environment) as asked:
            asked.wait(r"messages\)\? \[y/N\]")
            asked.send(answer + ENTER)
            assert asked.exit_status() == status
    assert listed(program, environment) == []


def test_what_a_kill_cut_off_is_offered_where_it_is(
        ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    with Terminal([*program, "-m", "slow"], environment) as chat:
        chat.say("go")
        chat.wait("^w0")
        chat.child.kill()
        chat.exit_status()
    with Terminal([*program, "-c"], environment) as chat:
        chat.wait_prompt()
        assert "/continue resumes it, /drop" in chat.text() and "/session" not in chat.text()
