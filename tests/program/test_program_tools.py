"""Tools in the whole program: a model that calls them, a user who is asked, and what is stored."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.fake_server import (Answer, FakeOllama, FakeServer, Received, chat_line, done_line,
                               json_answer, lines_answer,
                               text_answer)
from tests.pseudo_terminal import Terminal
from tests.waiting import wait_until

Environment = dict[str, str]
FOUND = {"results":
         [{"title": "Capital of Peru", "url": "https://example.org/peru",
           "content": "Lima is the capital."}]}


class Caller(FakeOllama):
    """An Ollama with one more model.

    `caller` calls what the lines of the last user message say (NAME {arguments}), and
    answers with the results.
    """

    def __init__(self) -> None:
        super().__init__(models=["caller", "echo", "tools"])

    def _chat(self, body: Mapping[str, Any]) -> Answer:
        if not str(body["model"]).startswith("caller"):
            return super()._chat(body)
        messages: Sequence[Mapping[str, Any]] = body["messages"]
        if messages[-1]["role"] == "tool":
            results = list(takewhile(lambda message: message["role"] == "tool", reversed(messages)))
            said = " / ".join(message["content"] for message in reversed(results))
            return lines_answer([chat_line("caller", "answer: " + said), done_line("caller")])
        lines = re.findall(r"^(\w+) (\{.*\})$", messages[-1]["content"], re.MULTILINE)
        if not lines:
            return lines_answer([chat_line("caller", "nothing to call"), done_line("caller")])
        calls = [{"function": {"name": name, "arguments": json.loads(text)}}
                 for name, text in lines]
        return lines_answer([chat_line("caller", tool_calls=calls), done_line("caller")])

    @property
    def asked(self) -> Any:
        """The last request to a model."""
        return [request.json for request in self.chats][-1]

    def offered(self) -> list[str]:
        return [row["function"]["name"] for row in self.asked.get("tools") or ()]


@pytest.fixture
def caller(environment: Environment) -> Iterator[Caller]:
    with Caller() as server:
        environment["OLLAMA_HOST"] = server.url
        yield server


@pytest.fixture
def searxng(environment: Environment) -> Iterator[FakeServer]:
    def respond(request: Received) -> Answer:
        return (json_answer(FOUND) if request.path.startswith("/search?")
                else text_answer("404", 404))
    with FakeServer(respond) as server:
        environment["SEARXNG_URL"] = server.url
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "work"
    place.mkdir()
    (place / "data.json").write_text(
        json.dumps({"people": [{"name": "Ann", "age": 31}, {"name": "Bo", "age": 27}]}))
    (place / "own.py").write_text(OWN)
    return place


OWN = '''
"""Tools of my own."""
import pathlib
from core.tools import tool

@tool
def double(number: int) -> int:
    """Double a number."""
    return number * 2

@tool(kind="write")
def note(text: str) -> str:
    """Write a note."""
    with open("notes.txt", "a") as file:
        file.write(text + "\\\\n")
    return "noted"

@tool(kind="run")
async def slowly(seconds: float) -> str:
    """Take some time."""
    import asyncio
    await asyncio.sleep(seconds)
    return "slept"
'''.replace("\\\\n", "\\n")


def run(program: list[str], environment: Environment, folder: Path,
        *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*program, *words], env=environment, cwd=folder, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True,
                          timeout=60)


# ---- --experimental: search, read, answer

def test_the_model_searches_reads_a_file_and_answers(
        caller: Caller, searxng: FakeServer, program: list[str], environment: Environment,
        folder: Path) -> None:
    question = ('web_search {"query": "capital of Peru"}\n'
                'read_json_file {"path": "data.json", "filter": "people[*].name"}')
    done = run(program, environment, folder, "-m", "caller", "--experimental", question)
    assert done.returncode == 0, done.stderr
    assert (done.stdout.startswith("answer: ") and "Lima is the capital." in done.stdout
            and '"Ann"' in done.stdout)
    assert "\u2713 web_search capital of Peru" in done.stderr
    assert re.search(r"\u2713 read_json_file path=data\.json filter=people\S+  [\d,]+ characters, "
                     r"[\d.]+ m?s", done.stderr)
    asked = [request.path.split("&")[0] for request in searxng.requests]
    assert asked == ["/search?q=capital+of+Peru"]
    assert "web_search" in caller.offered() and "fetch_url" not in caller.offered()


def test_demo_searches_and_reads(searxng: FakeServer, program: list[str], environment: Environment,
                                 folder: Path) -> None:
    demo = ("-p", "demo", "--demo-delay", "0", "--experimental")
    asked = 'tool web_search {"query": "capital of Peru"}'
    assert "Lima is the capital." in run(program, environment, folder, *demo, asked).stdout
    done = run(program, environment, folder, *demo,
               'tool read_json_file {"path": "data.json", "return_summary": true}')
    assert "people[*]: object x 2" in done.stdout


def test_the_ollama_that_plays_one(caller: Caller, program: list[str], environment: Environment,
                                   folder: Path) -> None:
    """FakeOllama's `tools` model calls the first tool with a wrong argument, and gets the error."""
    done = run(program, environment, folder, "-m", "tools", "--tools", "double", "--tools-file",
               "own.py", "q")
    assert done.returncode == 0 and done.stdout.startswith("result: ") and "number" in done.stdout


@pytest.mark.parametrize(("flags", "offered"), [
    ((), []), (("--experimental-websearch",), ["web_search"]),
    (("--tools", "calculate,current_time"), ["calculate", "current_time"]),
    (("--tools-file", "own.py"), ["double", "note", "slowly"])])
def test_what_is_offered(caller: Caller, program: list[str], environment: Environment, folder: Path,
                         flags: tuple[str, ...],
                         offered: list[str]) -> None:
    assert run(program, environment, folder, "-m", "caller", *flags, "hello").returncode == 0
    assert caller.offered() == offered


def test_nothing_of_the_program_is_read(caller: Caller, program: list[str],
                                        environment: Environment, folder: Path) -> None:
    """Tools cannot access sessions in the working directory or a named configuration file."""
    (folder / "conf.yaml").write_text("temperature: 0\n")
    question = '\n'.join(f'read_file {{"path": "{name}"}}'
                         for name in ("mine.db", "conf.yaml", "data.json"))
    for url in ("mine.db", f"sqlite:///{folder}/mine.db"):
        done = run(program, environment, folder, "-m", "caller", "--experimental", "--database-url",
                   url, "--config", "conf.yaml",
                   question)
        first, second, third = done.stdout.split(" / ")
        assert "never read" in first and "never read" in second and "Ann" in third


def test_without_a_terminal_what_is_not_allowed_is_denied(
        caller: Caller, program: list[str], environment: Environment, folder: Path) -> None:
    call = ("-m", "caller", "--tools-file", "own.py", 'note {"text": "hello"}')
    done = run(program, environment, folder, *call)
    assert "needs the user's approval" in done.stdout and not (folder / "notes.txt").exists()
    for allowed in ("note", "write"):
        assert run(program, environment, folder, "--allow", allowed,
                   *call).stdout == "answer: noted\n"
    assert (folder / "notes.txt").read_text() == "hello\nhello\n"
    wrong = run(program, environment, folder, "--allow", "nonsense", *call)
    assert (wrong.returncode == 2 and "--allow: nonsense is neither a tool nor a kind "
            "of tool" in wrong.stderr)


def test_after_private_data_the_network_asks(
        caller: Caller, searxng: FakeServer, program: list[str], environment: Environment,
        folder: Path) -> None:
    run(program, environment, folder, "-m", "caller", "--experimental",
        'read_file {"path": "data.json"}')
    again = ("-m", "caller", "--experimental", "--continue", 'web_search {"query": "Ann 31"}')
    assert "private data is in this conversation" in run(program, environment, folder,
                                                         *again).stdout
    assert searxng.requests == []
    done = run(program, environment, folder, "--allow", "127.0.0.1", *again)
    assert "Lima" in done.stdout and len(searxng.requests) == 1
    given = run(program, environment, folder, "-m", "caller", "--experimental", "--context",
                "data.json",
                'web_search {"query": "x"}')
    assert "private data" in given.stdout and len(searxng.requests) == 1


def test_the_example_of_the_documentation(
        caller: Caller, program: list[str], environment: Environment, folder: Path) -> None:
    """One function in one file, found by its name and called."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs/tools.md").read_text(), re.DOTALL)
    assert code is not None
    (folder / "tools.py").write_text(code[1])
    done = run(program, environment, folder, "-m", "caller", "--tools-file", "tools.py", "--allow",
               "add_note",
               'add_note {"text": "milk"}')
    assert done.stdout == "answer: noted\n" and notes(folder) == ["milk"]


def test_a_broken_tools_file_is_told_in_a_line(program: list[str], environment: Environment,
                                               folder: Path) -> None:
    (folder / "own.py").write_text("import nothing_of_this_name\n")
    for name in ("own.py", "missing.py", "data.json"):
        done = run(program, environment, folder, "-p", "demo", "--tools-file", name, "hello")
        assert done.returncode == 2 and name in done.stderr and "Traceback" not in done.stderr
        assert done.stderr.count("\n") <= 3


def test_a_database_with_a_name(caller: Caller, program: list[str], environment: Environment,
                                folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "elsewhere/shop.db")) as made:
        made.executescript("CREATE TABLE sale (what text); INSERT INTO sale VALUES ('tea');")
    asked = ("-m", "caller", "--tools", "query_database",
             'query_database {"database": "shop", "sql": "SELECT what FROM sale"}')
    (folder / "conf.yaml").write_text(f"databases:\n  shop: {tmp_path}/elsewhere/shop.db\n")
    assert "tea" in run(program, environment, folder, "--config", "conf.yaml", *asked).stdout
    named = run(program, environment, folder, "--database",
                f"shop=sqlite:///{tmp_path}/elsewhere/shop.db", *asked)
    assert "tea" in named.stdout
    by_path = asked[-1].replace("shop", f"{tmp_path}/elsewhere/shop.db")
    assert "outside" in run(program, environment, folder, *asked[:-1], by_path).stdout


PACKAGE = {"METADATA": "Metadata-Version: 2.1\nName: shop-tools\nVersion: 1\n",
           "entry_points.txt": "[stream_chat.tools]\nprice = shop_tools:price\nbroken = "
           "shop_tools:missing\n"}


def test_tools_of_an_installed_package(
        caller: Caller, program: list[str], environment: Environment, folder: Path,
        tmp_path: Path) -> None:
    info = tmp_path / "site/shop_tools-1.dist-info"
    info.mkdir(parents=True)
    for name, text in PACKAGE.items():
        (info / name).write_text(text)
    (tmp_path / "site/shop_tools.py").write_text('def price(what: str) -> str:\n    """Tell a '
                                                 'price."""\n    return "3.50"\n')
    environment["PYTHONPATH"] += f":{tmp_path}/site"
    with Terminal([*program, "-m", "caller"], environment, cwd=str(folder), columns=140,
                  lines=50) as chat:
        chat.ask("/tools", r"^price +off +read +no +package shop-tools +Tell a price")
        assert "broken (AttributeError" in " ".join(chat.text().split())
        chat.ask("/tools on price", "The model may call: price")
        chat.ask('price {"what": "tea"}', "answer: 3.50")


# ---- asking

@pytest.fixture
def chat(caller: Caller, program: list[str], environment: Environment,
         folder: Path) -> Iterator[Terminal]:
    with Terminal([*program, "-m", "caller", "--tools-file", "own.py"], environment,
                  cwd=str(folder), columns=110) as terminal:
        yield terminal


def paste(chat: Terminal, text: str) -> None:
    chat.wait_prompt()
    chat.send(f"\x1b[200~{text}\x1b[201~\r")


def notes(folder: Path) -> list[str]:
    path = folder / "notes.txt"
    return path.read_text().splitlines() if path.exists() else []


def test_yes_no_session(chat: Terminal, folder: Path) -> None:
    chat.say('note {"text": "one"}')
    chat.wait(r"Run note\?  changes files")
    chat.wait(r"^  text = \"one\"$")
    chat.wait(r"^  \u203a$")
    assert notes(folder) == []
    chat.send("y\n")
    chat.wait("answer: noted")
    chat.say('note {"text": "two"}')
    chat.wait(r"^  \u203a", 2)
    chat.send("\n")
    chat.wait("answer: Not run: the user declined")
    assert notes(folder) == ["one"]
    # each call once, in its question; the text for the model only if it repeats it
    shown = chat.text()
    assert re.search(r"^\u2717 note two  you declined$", shown, re.M)
    assert not re.search(r"^\u2717.*(user declined|try again)", shown, re.M)
    chat.say('note {"text": "three"}')
    chat.wait(r"^  \u203a", 3)
    chat.send("s\n")
    chat.wait("answer: noted", 2)
    chat.ask('note {"text": "four"}', "answer: noted", 3)
    assert notes(folder) == ["one", "three", "four"]
    assert len(re.findall(r"^  \u203a", chat.text(), re.MULTILINE)) == 3
    chat.ask("/new", "New session")
    chat.say('note {"text": "five"}')   # what was granted for the session has ended with it
    chat.wait(r"^  \u203a", 4)


def test_an_answer_that_is_none_is_explained_and_asked_again(chat: Terminal, folder: Path) -> None:
    chat.say('note {"text": "one"}')
    chat.wait(r"^  \u203a$")
    chat.send("?\n")
    chat.wait("y: run it, this once")
    chat.wait(r"^  \u203a", 2)
    chat.send("yes please\ny\n")   # the rest of the paste does not answer the next question
    chat.wait(r"^  \u203a", 3)
    assert notes(folder) == []
    chat.send("n\n")
    chat.wait("answer: Not run: the user declined")
    assert notes(folder) == []


def test_always_holds_in_the_next_run_for_calls_of_this_shape(
        caller: Caller, program: list[str], environment: Environment, folder: Path) -> None:
    command = [*program, "-m", "caller", "--tools-file", "own.py"]
    with Terminal(command, environment, cwd=str(folder)) as chat:
        chat.say('note {"text": "one"}')
        chat.wait(r"^  \u203a")
        chat.send("always\n")
        chat.wait("answer: noted")
    grants = Path(environment["HOME"]) / ".local/share/stream-chat/grants.json"
    assert (grants.stat().st_mode & 0o777 == 0o600
            and list(json.loads(grants.read_text()).values()) == ["note"])
    with Terminal(command, environment, cwd=str(folder)) as chat:
        chat.ask('note {"text": "two"}', "answer: noted")
        assert "[N]o" not in chat.text()
        chat.ask("/tools", "Always allowed: note")
        chat.ask("/tools forget", "Forgotten: 1 permissions")
        chat.say('note {"text": "three"}')
        chat.wait(r"^  \u203a")
    assert notes(folder) == ["one", "two"]
    (folder / "own.py").write_text(OWN.replace("Write a note.", "Write a note, or something else."))
    with Terminal(command, environment, cwd=str(folder)) as chat:
        chat.say('note {"text": "four"}')
        chat.wait(r"^  \u203a")   # another definition


def test_ctrl_c_at_the_question_is_a_no_and_ends_the_turn(chat: Terminal, folder: Path) -> None:
    chat.say('note {"text": "one"}')
    chat.wait(r"^  \u203a")
    chat.interrupt()
    chat.wait("Stopped")
    chat.wait_prompt()
    assert notes(folder) == [] and "answer:" not in chat.text()
    chat.ask("hello", "nothing to call")
    chat.say("/exit")
    assert chat.exit_status() == 0
    chat.check_restored()


def test_what_was_typed_before_the_question_is_no_answer(chat: Terminal, folder: Path) -> None:
    paste(chat, 'slowly {"seconds": 0.1}\nnote {"text": "one"}')
    chat.send("y\ny\ny\n")
    chat.wait(r"^  \u203a")
    time.sleep(0.3)
    assert notes(folder) == [] and len(re.findall(r"^  \u203a", chat.text(), re.MULTILINE)) == 1


def test_two_questions_one_after_the_other(chat: Terminal, folder: Path) -> None:
    paste(chat, 'note {"text": "one"}\ndouble {"number": 4}\nslowly {"seconds": 0}')
    chat.wait(r"\u2713 double 4  1 characters")
    chat.wait(r"Run note\?")
    chat.wait(r"^  \u203a$")
    chat.send("y\n")
    chat.wait(r"Run slowly\?  runs a program")
    chat.wait(r"^  \u203a$")
    chat.send("no\n")
    chat.wait("answer: noted / 8 / Not run: the user declined")
    assert notes(folder) == ["one"]


def test_the_question_is_made_safe_and_whole(chat: Terminal, folder: Path) -> None:
    text = "\\u001b[2J\\u202ekey " + "x" * 5000 + " end-of-it"
    paste(chat, f'note {{"text": "{text}"}}')
    chat.wait(r"^  \u203a$")
    shown = chat.text().replace("\n", "")
    assert "end-of-it" in shown and "x" * 5000 in shown and "This is long" in shown
    assert b"\x1b[2J\xe2\x80\xae" not in chat.raw
    chat.send("\x04")   # the end of input is a no
    chat.wait("user declined")


def test_a_question_on_the_command_line_asks_too(
        caller: Caller, program: list[str], environment: Environment, folder: Path) -> None:
    command = [*program, "-m", "caller", "--tools-file", "own.py", 'note {"text": "one"}']
    with Terminal(command, environment, cwd=str(folder)) as chat:
        chat.wait(r"^  \u203a$")
        chat.send("y\n")
        chat.wait("answer: noted")
        assert chat.exit_status() == 0


# ---- switching, looking, keeping

def test_tools_are_listed_and_switched(caller: Caller, program: list[str], environment: Environment,
                                       folder: Path) -> None:
    with Terminal([*program, "-m", "caller"], environment, cwd=str(folder), columns=140,
                  lines=50) as chat:
        chat.ask("/tools", r"^calculate +off +read +no +Calculate")
        chat.ask("/tools calculate",
                 r"^calculate: off, read, runs without a question, built in\nIt takes: ")
        chat.ask("hello", "nothing to call")
        assert caller.offered() == []
        chat.ask("/tools on calculate", "The model may call: calculate")
        chat.ask('calculate {"expression": "6*7"}', "answer: 42")
        chat.ask("/tools on nonsense", "There is no tool named nonsense")
        chat.ask("/tools all", "The model may call: calculate, current_time, fetch_url")
        chat.ask("/tools off fetch_url", "The model may call: calculate, current_time, list_files")
        chat.ask("/tools none", "The model is offered no tools")
        chat.ask("hello", "nothing to call", 2)
        assert caller.offered() == []


def test_the_last_result_is_shown_whole_and_everything_is_kept(
        caller: Caller, program: list[str], environment: Environment, folder: Path) -> None:
    (folder / "long.txt").write_text("".join(f"line {number} of zebra\n" for number in range(300)))
    command = [*program, "--experimental"]
    with Terminal([*command, "-m", "caller"], environment, cwd=str(folder), lines=60) as chat:
        chat.ask("/last", "No tool was called yet")
        chat.ask('read_file {"path": "long.txt"}', r"^answer: ")
        chat.ask("/last", r"line 299 of zebra", 2)
        chat.ask("/last 7", "no such tool result")
        chat.ask("/model echo", "The model is now ollama/echo")
        chat.ask("and now", "^and now$")
    roles = [message["role"] for message in caller.asked["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]
    assert caller.asked["messages"][1]["tool_calls"][0]["function"]["name"] == "read_file"
    listed = run(program, environment, folder, "--list-sessions", "zebra").stdout
    assert listed.count("\n") == 1
    for name in ("json", "markdown", "text"):
        exported = run(program, environment, folder, "--export-session", listed.split()[0],
                       "--format", name).stdout
        assert "line 299 of zebra" in exported and "read_file" in exported


# ---- MCP

SERVER = '''
import os, sys, time
from mcp.server import MCPServer
server = MCPServer("good")
open(sys.argv[1], "a").write(f"{os.getpid()} ")
@server.tool()
def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b
@server.prompt()
def greet(name: str) -> str:
    "Greets."
    return f"Say hello to {name}."
@server.resource("note://one")
def note() -> str:
    return "a note about zebras"
server.run()
'''
STUBBORN = ("import os, signal, subprocess, sys, time\nsignal.signal(signal.SIGTERM, "
            "signal.SIG_IGN)\nsleep = 'import signal, time; signal.signal(15, signal.SIG_IGN); "
            "time.sleep(600)'\nchild = subprocess.Popen([sys.executable, '-c', sleep])\n"
            "open(sys.argv[1], 'a').write(f'{os.getpid()} {child.pid} ')\ntime.sleep(600)\n")


def pids_in(directory: Path) -> list[str]:
    file = directory / "pids"
    return file.read_text().split() if file.exists() else []


def are_gone(pids: Path) -> bool:
    return wait_until(lambda: not any(is_alive(int(pid)) for pid in pids.read_text().split()))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def configured(folder: Path, tmp_path: Path) -> list[str]:
    """Flags for a working MCP server and for one that neither responds nor ends."""
    pytest.importorskip("mcp")
    servers = {}
    for name, code in (("good", SERVER), ("mute", STUBBORN)):
        (tmp_path / f"{name}.py").write_text(code)
        servers[name] = {"command": sys.executable,
                         "args": [str(tmp_path / f"{name}.py"), str(tmp_path / "pids")]}
    (folder / "conf.json").write_text(json.dumps({"mcpServers": servers}))
    return ["-m", "caller", "--config", "conf.json"]


def wait_until_ready(chat: Terminal) -> None:
    """On a slow machine the working server starts after the first answer."""
    for number in range(1, 60):
        chat.say("/mcp")
        chat.wait(r"^mute +problem", number)
        chat.wait_prompt()
        if re.search(r"^good +prompt +/good__greet name=\.\.\. +Greets\.", chat.text(),
                     re.MULTILINE):
            return
    raise AssertionError(f"the server did not get ready; the screen:\n{chat.text()}")


def test_mcp_in_the_chat(caller: Caller, program: list[str], environment: Environment, folder: Path,
                         tmp_path: Path,
                         configured: list[str]) -> None:
    with Terminal([*program, *configured], environment, cwd=str(folder), columns=120,
                  lines=50) as chat:
        chat.wait_prompt()
        assert not (tmp_path / "pids").exists()   # not before they are used
        chat.say("hello")
        chat.wait("The MCP server mute is not ready after")
        chat.wait("nothing to call")
        wait_until_ready(chat)
        chat.say('good__add {"a": 2, "b": 3}')
        chat.wait(r"It comes from MCP server good \(")
        chat.wait(r"^  \u203a$")
        chat.send("y\n")
        chat.wait("answer: 5")
        assert "note://one" in chat.text() and re.search("^mute +problem", chat.text(),
                                                         re.MULTILINE)
        chat.ask("/good__greet Ann", "nothing to call", 2)
        assert caller.asked["messages"][-1]["content"] == "Say hello to Ann."
        chat.ask("/mcp read note://one", "Attached note://one: ")
        chat.ask("/context list", r"note://one +resource")
        chat.ask("what is it about?", "nothing to call", 3)
        assert "a note about zebras" in str(caller.asked["messages"])
        chat.wait_prompt()
        chat.send("/good__g\t")
        chat.wait(r"^\u203a /good__greet$")
        chat.send("\x15")
        chat.say("/exit")
        assert chat.exit_status() == 0
    assert len(pids_in(tmp_path)) == 3 and are_gone(tmp_path / "pids")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_no_server_outlives_a_chat_that_is_killed(
        caller: Caller, program: list[str], environment: Environment, folder: Path, tmp_path: Path,
        configured: list[str],
        end: signal.Signals) -> None:
    with Terminal([*program, *configured], environment, cwd=str(folder)) as chat:
        chat.ask("hello", "nothing to call")
        assert wait_until(lambda: len(pids_in(tmp_path)) == 3)
        os.kill(chat.child.pid, end)
        chat.exit_status()
    assert are_gone(tmp_path / "pids")
