"""Saved sessions in the whole program: found, continued, chosen, exported."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.run import make_sessions
from tests.fake_server import FakeOllama, fake_words
from tests.pseudo_terminal import CTRL_D, DOWN, ENTER, ESCAPE, Terminal

BACKSPACE = "\x7f"
Environment = dict[str, str]


@pytest.fixture
def ollama(environment: Environment) -> Iterator[FakeOllama]:
    with FakeOllama() as server:
        environment["OLLAMA_HOST"] = server.url
        environment["OLLAMA_MODEL"] = "words-5"
        yield server


def run(program: list[str], environment: Environment, *arguments: str,
        stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    source = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
    return subprocess.run([*program, *arguments], env=environment, capture_output=True, text=True,
                          timeout=60,
                          **source)  # type: ignore[call-overload, no-any-return]  # input or stdin


def ids(program: list[str], environment: Environment) -> list[str]:
    """The saved sessions, newest first."""
    listed = run(program, environment, "--list-sessions")
    assert listed.returncode == 0, listed.stderr
    return [line.split()[0] for line in listed.stdout.splitlines()]


def sent(server: FakeOllama) -> list[str]:
    return [message["content"] for message in server.chats[-1].json["messages"]]


def test_nothing_is_saved_yet(program: list[str], environment: Environment) -> None:
    listed = run(program, environment, "--list-sessions")
    assert (listed.returncode, listed.stdout) == (0, "") and "no saved sessions" in listed.stderr
    for flags in (["--continue"], ["--session", "20260101"], ["--select-session"],
                  ["--export-session", "2026"]):
        done = run(program, environment, *flags, "-p", "demo", stdin="hello")
        assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) <= 3


def test_a_chat_is_found_again(ollama: FakeOllama, program: list[str],
                               environment: Environment) -> None:
    with Terminal(program, environment) as chat:
        chat.ask("the first question", "w4")
        chat.send(CTRL_D)
        assert chat.exit_status() == 0
    run(program, environment, "the second question")
    listed = run(program, environment, "--list-sessions").stdout.splitlines()
    assert (len(listed) == 2 and "the second question" in listed[0]
            and "the first question" in listed[1])
    assert re.match(r"[\w-]+  \d{4}-\d\d-\d\d \d\d:\d\d +2  ollama/words-5 +the second question$",
                    listed[0])
    assert run(program, environment, "--list-sessions", "--limit",
               "1").stdout.splitlines() == listed[:1]
    assert run(program, environment, "--list-sessions", "first").stdout.splitlines() == listed[1:]


def test_a_terminal_lists_a_screenful(program: list[str], environment: Environment,
                                      tmp_path: Path) -> None:
    database = tmp_path / "many.db"
    make_sessions(database, 300)
    words = [*program, "--database-url", str(database), "--list-sessions"]
    everything = run(words, environment).stdout.splitlines()
    assert len(everything) == 300
    for columns, lines in ((120, 30), (60, 30), (40, 4)):
        with Terminal(words, environment, columns=columns, lines=lines) as list_of_sessions:
            assert list_of_sessions.exit_status() == 0
            written = list_of_sessions.text()
        shown = re.search(r"The (\d+) used last. --limit 0", written)
        assert shown and int(shown[1]) >= 5
        assert len(written.splitlines()) < lines or int(shown[1]) == 5
        assert everything[0].rsplit("  ", 1)[1][:12] in written
    for limit, expected in ("0", 300), ("50", 50):
        with Terminal([*words, "--limit", limit], environment) as list_of_sessions:
            assert list_of_sessions.exit_status() == 0
            assert f"{expected} sessions. --session ID resumes one." in list_of_sessions.text()
            assert len(list_of_sessions.text().splitlines()) == expected + 4


def test_a_session_is_gone_on_with(ollama: FakeOllama, program: list[str],
                                   environment: Environment) -> None:
    run(program, environment, "alpha")
    run(program, environment, "beta")
    beta, alpha = ids(program, environment)
    run(program, environment, "--session", alpha, "again")
    assert sent(ollama) == ["alpha", fake_words(5), "again"]
    assert ids(program, environment) == [alpha, beta], "no third one was made"
    run(program, environment, "--continue", "and again")
    assert sent(ollama) == ["alpha", fake_words(5), "again", fake_words(5), "and again"]
    unique = beta[:next(length for length in range(1, 99) if not alpha.startswith(beta[:length]))]
    with Terminal([*program, "--session", unique], environment) as chat:
        chat.wait_prompt()
        assert "Resumed: beta, 2 messages." in chat.text()
        chat.ask("on", "w4")
        assert sent(ollama) == ["beta", fake_words(5), "on"]
        chat.ask(f"/session {alpha}", "Session .*: alpha")
        chat.ask("more", "w4", 2)
        assert sent(ollama)[0] == "alpha"


def test_an_id_that_is_not_there_or_not_one(ollama: FakeOllama, program: list[str],
                                            environment: Environment) -> None:
    run(program, environment, "alpha")
    run(program, environment, "beta")
    for name, words in (("nothing", "no session"), (ids(program, environment)[0][:4], "")):
        done = run(program, environment, "--session", name, "q")
        assert (done.returncode == 2 and words in done.stderr.lower()
                and len(done.stderr.splitlines()) <= 3)
    assert len(ids(program, environment)) == 2


def test_the_model_of_a_session_answers_on(ollama: FakeOllama, program: list[str],
                                           environment: Environment) -> None:
    """It is used even if the environment names another one for new sessions; a flag changes it."""
    run(program, environment, "-p", "demo", "--demo-delay", "0", "alpha")
    done = run(program, environment, "--continue", "--demo-delay", "0", "echo beta")
    assert (done.returncode, done.stdout) == (0, "beta\n") and not ollama.requests
    done = run(program, environment, "--continue", "-m", "ollama/echo", "gamma")
    assert (done.returncode, done.stdout) == (0, "gamma\n")


def test_nothing_is_saved_for_a_provider_that_is_none(program: list[str],
                                                      environment: Environment) -> None:
    for flags in (["-p", "nope"], ["-p", "nope", "-m", "m"], ["-m", "m", "--config", "c.json"]):
        Path(environment["HOME"], "c.json").write_text('{"provider": "nope"}')
        done = subprocess.run([*program, *flags, "hi"], env=environment, cwd=environment["HOME"],
                              stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60)
        assert (done.returncode == 2
                and "There is no provider named 'nope'" in done.stderr), done.stderr
    assert ids(program, environment) == []


def test_choosing_by_number_without_a_terminal(ollama: FakeOllama, program: list[str],
                                               environment: Environment) -> None:
    run(program, environment, "alpha")
    run(program, environment, "beta")
    done = run(program, environment, "--select-session", "go on", stdin="2\n")
    assert (done.returncode, done.stdout) == (0, fake_words(5) + "\n") and "  1  " in done.stderr
    assert sent(ollama) == ["alpha", fake_words(5), "go on"]
    left = run(program, environment, "--select-session", "go on", stdin="")
    assert (left.returncode, left.stdout) == (2, "") and "No session was chosen" in left.stderr


def test_choosing_by_number_in_a_plain_terminal(ollama: FakeOllama, program: list[str],
                                                environment: Environment) -> None:
    run(program, environment, "alpha")
    run(program, environment, "beta")
    with Terminal([*program, "--select-session"], environment | {"TERM": "dumb"}) as chat:
        chat.wait("Number, ID or words|find:")
        chat.send("2\r")
        chat.wait("Resumed: .*2 messages")


def test_choosing_with_arrows(ollama: FakeOllama, program: list[str],
                              environment: Environment) -> None:
    for words in ("alpha", "beta", "gamma"):
        run(program, environment, words)
    with Terminal([*program, "--select-session"], environment) as chat:
        chat.wait("1 of 3")
        chat.send(DOWN + DOWN)
        chat.wait("3 of 3")
        chat.send(ENTER)
        chat.wait("Resumed: .*2 messages")
        chat.ask("on", "w4", 2)
        assert sent(ollama)[0] == "alpha"
        chat.send(CTRL_D)
        chat.exit_status()
        chat.check_restored()
    with Terminal([*program, "--select-session"], environment) as chat:
        chat.wait("1 of 3")
        chat.send("gam")
        chat.wait("1 of 1")
        chat.send(ENTER)
        chat.wait("Resumed: .*2 messages")
    with Terminal([*program, "--select-session"], environment) as chat:
        chat.wait(r"^\u203a alpha +(?:today|yesterday) [0-9:]+ +4 messages")
        chat.wait("^1 of 3 sessions$")
        chat.send("gamx")
        chat.wait("0 of 0")
        chat.send(ENTER + BACKSPACE)
        chat.wait("1 of 1")
        chat.send(ESCAPE)
        assert chat.exit_status() == 130 and "error" not in chat.text()
        chat.check_restored()


def test_a_session_is_chosen_in_a_chat_or_put_into_the_trash(
        ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    for words in ("alpha", "beta"):
        run(program, environment, words)
    with Terminal([*program, "-m", "words-5"], environment) as chat:
        chat.say("/resume")
        chat.wait("^1 of 2 sessions$")
        chat.send("\x18d")
        chat.wait(r"^1 of 1 session  Session \S+ is in the trash for 30 days")
        chat.send(ESCAPE)
        chat.wait("No session was chosen")
        chat.say("/resume")
        chat.wait("^1 of 1 session$")
        chat.send(ENTER)
        chat.wait(r"Session \S+: alpha \(2 messages")
        chat.ask("and then?", "w4", 2)
        assert sent(ollama)[0] == "alpha"
        chat.wait_prompt()
        chat.send(CTRL_D)
        chat.exit_status()
        chat.check_restored()


# ---- exports

@pytest.fixture
def session(ollama: FakeOllama, program: list[str], environment: Environment) -> str:
    run(program, environment, "=1+1 the question")
    return ids(program, environment)[0]


def export(program: list[str], environment: Environment, session: str, form: str,
           *more: str) -> str:
    done = run(program, environment, "--export-session", session, "--format", form, *more)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_format(session: str, program: list[str], environment: Environment) -> None:
    texts = [message["parts"][0]["text"]
             for message in json.loads(export(program, environment, session, "json"))["messages"]]
    assert texts == ["=1+1 the question", fake_words(5)]
    cells = [cell for row in csv.reader(io.StringIO(export(program, environment, session, "csv")))
             for cell in row]
    assert (fake_words(5) in cells and "'=1+1 the question" in cells
            and "=1+1 the question" not in cells)
    assert "=1+1 the question" in export(program, environment, session, "csv", "--csv-raw")
    for form in ("text", "markdown"):
        shown = export(program, environment, session, form)
        assert "=1+1 the question" in shown and fake_words(5) in shown
    database = sqlite3.connect(":memory:")
    database.executescript(export(program, environment, session, "sql"))
    assert database.execute("SELECT count(*) FROM messages").fetchone() == (2,)


def test_an_export_to_a_file(session: str, program: list[str], environment: Environment,
                             tmp_path: Path) -> None:
    path = tmp_path / "out.md"
    assert export(program, environment, session, "markdown", "--output", str(path)) == ""
    assert fake_words(5) in path.read_text()
    refused = run(program, environment, "--export-session", session, "--output",
                  str(tmp_path / "no" / "out.md"))
    assert (refused.returncode != 0 and "Traceback" not in refused.stderr
            and len(refused.stderr.splitlines()) <= 3)
    unknown = run(program, environment, "--export-session", session, "--format", "docx")
    assert unknown.returncode == 2 and "markdown" in unknown.stderr


def test_the_newest_is_called_last_and_an_ambiguous_name_lists_titles(
        program: list[str], environment: dict[str, str], tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*program, "-p", "demo", *arguments], env=environment,
                              stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=60)
    assert run("echo older").returncode == run("echo newer").returncode == 0
    exported = json.loads(run("--export-session", "last", "--format", "json").stdout)
    assert (exported["title"] == "echo newer" and exported["created_at"].endswith("Z")
            and "created_at" in exported["messages"][0])
    output = tmp_path / "chat.json"
    assert run("--export-session", "last", "--output", str(output)).returncode == 0
    assert json.loads(output.read_text())["title"] == "echo newer"
    assert run("--export-session", "last", "--output", str(output), "--format", "text",
               "--force").returncode == 0
    assert output.read_text().startswith("echo newer\n")
    listed = json.loads(run("--list-sessions", "--json").stdout)
    assert [row["title"] for row in listed] == ["echo newer", "echo older"]
    assert set(listed[0]) == {"id", "name", "title", "model", "created", "updated", "messages",
                              "parent", "pinned",
                              "shelf", "tags"}
    assert listed[0]["messages"] == 2
    assert json.loads(run("--list-sessions", "--json", "older").stdout) == listed[1:]
    assert run("--session", "last", "echo more").returncode == 0
    assert [row["messages"] for row in json.loads(run("--list-sessions", "--json").stdout)] == [4,
                                                                                                2]
    assert (f"Session {listed[0]['name'][-4:]} is in the trash"
            in run("--delete-session", "last", "--yes").stderr)
    assert run("echo newer").returncode == 0
    unclear = run("--export-session", "2")
    assert (unclear.returncode == 2 and "(echo older)" in unclear.stderr
            and "(echo newer)" in unclear.stderr)


def test_an_empty_answer_is_no_success(program: list[str], environment: dict[str, str]) -> None:
    for more in ((), ("--json",)):
        done = subprocess.run([*program, "-p", "demo", *more, "empty"], env=environment,
                              stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 1, done.stderr


@pytest.mark.parametrize("flags", [["-c"], ["--session", "x"], ["--select-session"]])
def test_a_session_needs_a_terminal_or_a_question(program: list[str], environment: Environment,
                                                  flags: list[str]) -> None:
    done = subprocess.run([*program, "-p", "demo", *flags], env=environment,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60)
    assert (done.returncode == 2 and "needs a terminal to chat in, or a "
            "question" in done.stderr), done.stderr
