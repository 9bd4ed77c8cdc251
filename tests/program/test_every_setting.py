"""Every setting and command is tested through the program; this file tests those that no other test
names.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from core.commands import all_commands
from core.config import SETTINGS
from tests.engine_support import tiny
from tests.fake_server import (
    Answer,
    FakeOllama,
    FakeServer,
    Received,
    Stall,
    chat_line,
    done_line,
    fake_words,
    lines_answer,
    text_answer,
)
from tests.pseudo_terminal import CTRL_D, ENTER, ESCAPE, Terminal
from tests.waiting import wait_until

__all__ = ["tiny"]

Environment = dict[str, str]
Run = Callable[..., subprocess.CompletedProcess[str]]
TESTS = Path(__file__).resolve().parent.parent


def words_of_tests() -> set[str]:
    """Every word of every text in tests that start the program or its page."""
    words: set[str] = set()
    for path in (*TESTS.rglob("test_*.py"), TESTS / "web" / "team_page.py"):
        source = path.read_text(encoding="utf-8")
        if re.search(r"\bprogram\b|PageServer|TeamPage|\"stream_chat\.py\"", source):
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    words.update(re.split(r"[\s=\"']+", node.value))
    return words


def test_every_setting_is_used_through_the_command_line() -> None:
    words = words_of_tests()
    missing = []
    for row in SETTINGS:
        names = {*row.flags, *(f"--no-{flag[2:]}" for flag in row.flags)}
        if not names & words:
            missing.append(row.flags[-1])
    assert missing == []


def test_every_command_is_used_in_a_chat() -> None:
    words = words_of_tests()
    assert [name for name in all_commands() if f"/{name}" not in words] == []


@pytest.fixture
def run(program: list[str], environment: Environment) -> Run:
    def start(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*program, *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            **more,
        )

    return start


def sent(server: FakeServer) -> Any:
    return server.chats[-1].json


# ---- what reaches the model

def test_sampling_and_memory(ollama: FakeOllama, run: Run) -> None:
    assert run("-m", "words-3", "--top-p", "0.25", "--keep-alive", "77m", "q").returncode == 0
    assert sent(ollama)["options"] == {"top_p": 0.25} and sent(ollama)["keep_alive"] == "77m"


def test_names_for_models(ollama: FakeOllama, run: Run) -> None:
    assert run("--alias", "short=ollama/words-4", "-m", "short", "q").stdout == f"{fake_words(4)}\n"
    assert run("--pools", "fast=words-3,words-4", "-m", "fast", "q").returncode == 0
    assert sent(ollama)["model"] in ("words-3", "words-4")
    agent = json.dumps({"model": "words-2", "system": "You are a clerk."})
    assert run("--agents", f"clerk={agent}", "--as", "clerk", "q").stdout == f"{fake_words(2)}\n"
    assert sent(ollama)["messages"][0] == {"role": "system", "content": "You are a clerk."}


def test_who_stands_in(ollama: FakeOllama, run: Run) -> None:
    assert run("-m", "missing", "--fallbacks", "ollama/missing=words-3", "q").stdout == "w0 w1 w2\n"
    for flag in ("--fallback-on-auth", "--no-fallback-on-auth"):
        done = run("-m", "locked", "--model-fallbacks", "words-3", flag, "q")
        assert (done.returncode == 0
                and done.stdout == "w0 w1 w2\n"), "a refused key is always passed on"


def test_nobody_elsewhere_is_asked(ollama: FakeOllama, run: Run, environment: Environment) -> None:
    environment["OPENAI_API_KEY"] = "sk-1234567890"
    done = run("-p", "openai", "--local-only", "q")
    assert done.returncode != 0 and "--local-only" in done.stderr
    assert run("-m", "words-3", "--local-only", "--model-fallbacks", "openai/x",
               "q").returncode == 0


def test_a_reply_may_repeat_itself(run: Run, environment: Environment) -> None:
    with FakeServer(
            lines_answer([*[chat_line("m", "again and again ")] * 900, done_line("m")])) as server:
        environment["OLLAMA_HOST"] = server.url
        done = run("-m", "m", "--no-stop-repetition", "q")
    assert done.returncode == 0 and done.stdout.count("again and again") == 900


# ---- money and privacy

def cloud(environment: Environment, url: str, **entry: Any) -> None:
    path = Path(environment["HOME"], "config.json")
    path.write_text(
        json.dumps(
            {"providers":
             {"away": {"dialect": "ollama", "kind": "cloud", "base_url": url, **entry}}}))
    environment["STREAM_CHAT_CONFIG"] = str(path)


@pytest.mark.parametrize("flag", ["--max-cost-day", "--max-cost-month"])
def test_limits_on_cost(ollama: FakeOllama, run: Run, environment: Environment, flag: str) -> None:
    prices = {"input_price": 1000, "output_price": 1000}
    cloud(environment, ollama.url, models={"words-3": prices})
    done = run("-m", "away/words-3", flag, "0.000001", "q")
    assert done.returncode != 0 and not ollama.chats and "cost" in done.stderr
    assert run("-m", "away/words-3", flag, "1000", "--max-tokens", "100", "q").returncode == 0


def test_masks(ollama: FakeOllama, run: Run, environment: Environment) -> None:
    cloud(environment, ollama.url)
    done = run("-m", "away/echo", "--mask", "--mask-name", "Waterford",
               "write to ann@example.org at Waterford")
    body = json.dumps(sent(ollama))
    assert "ann@example.org" not in body and "Waterford" not in body
    assert done.returncode == 0 and done.stdout == "write to ann@example.org at Waterford\n"


# ---- waiting and retrying

def test_pauses_between_attempts(ollama: FakeOllama, run: Run) -> None:
    flags = ("--retry-initial-delay", "0.01", "--retry-multiplier", "5", "--retry-jitter", "0")
    done = run("-m", "busy", "--json", *flags, "--retry-max-attempts", "3", "q")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["delay"] for record in records if record["event"] == "retry"] == [0.01, 0.05]


def test_a_server_that_is_silent(run: Run, environment: Environment) -> None:
    with FakeServer(Answer([Stall()])) as server:
        environment["OLLAMA_HOST"] = server.url
        done = run("-m", "m", "--first-byte-timeout", "0.5", "--retry-max-attempts", "1", "q")
    assert done.returncode == 1 and "0.5 s" in done.stderr, done.stderr


def test_a_server_that_takes_no_connection(run: Run, environment: Environment) -> None:
    """Its queue is full: a connection is neither accepted nor refused."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        environment["OLLAMA_HOST"] = f"http://127.0.0.1:{listener.getsockname()[1]}"
        done = run("-m", "m", "--connect-timeout", "0.4", "--retry-max-attempts", "1", "q")
    assert done.returncode == 1 and "onnect" in done.stderr, done.stderr


# ---- tools

class Calling:
    """A model that calls one tool and then repeats the result."""

    def __init__(self, name: str, arguments: dict[str, Any]) -> None:
        self.call = {"function": {"name": name, "arguments": arguments}}

    def __call__(self, request: Received) -> Answer:
        if request.path != "/api/chat":
            return text_answer("404", 404)
        last = request.json["messages"][-1]
        if last["role"] == "tool":
            return lines_answer([chat_line("m", f"told: {last['content']}"), done_line("m")])
        return lines_answer([chat_line("m", "", tool_calls=[self.call]), done_line("m")])


def test_where_the_web_is_searched(run: Run, environment: Environment) -> None:
    found = {"results":
             [{"title": "Tides", "url": "https://example.org/t", "content": "twice a day"}]}
    with FakeServer(Calling("web_search", {"query": "tides"})) as model, FakeServer(
        text_answer(json.dumps(found), 200)
    ) as searx:
        environment["OLLAMA_HOST"] = model.url
        done = run("-m", "m", "--experimental-websearch", "--searxng-url", searx.url, "q")
        assert "Tides" in done.stdout and "format=json" in searx.requests[0].path
        done = run("-m", "m", "--experimental-websearch", "--search-engines", "nobody", "q")
        assert "nobody" in done.stdout and "no engine" in done.stdout


def test_hosts_of_the_own_network(run: Run, environment: Environment) -> None:
    with FakeServer(text_answer("the inner page", 200)) as page:
        with FakeServer(Calling("fetch_url", {"url": f"{page.url}/x"})) as model:
            environment["OLLAMA_HOST"] = model.url
            words = ("-m", "m", "--tools", "fetch_url", "--allow", "fetch_url,network")
            assert "the inner page" not in run(*words, "q").stdout and not page.requests
            assert "the inner page" in run(*words, "--local-host", f"127.0.0.1:{page.port}",
                                           "q").stdout


MCP = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked.get("id") is None:
        continue
    info = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}
    tools = [{"name": "look", "inputSchema": {"type": "object"}}]
    results = {"initialize": info, "tools/list": {"tools": tools}}
    known = asked["method"] in results
    body = {"result": results[asked["method"]]} if known else {"error": {"code": -32601, "message": "no"}}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **body}), flush=True)
"""


@pytest.mark.parametrize("flag", ["--title", "--no-title"])
def test_the_title_of_the_window(
    flag: str, ollama: FakeOllama, program: list[str], environment: Environment
) -> None:
    with Terminal([*program, "-m", "echo", flag], environment) as chat:
        chat.ask("harbour lights", "^harbour lights$")
        chat.say("/exit")
        assert chat.exit_status() == 0
        titled = re.search(rb"\x1b\][02];[^\x07\x1b]*harbour", chat.raw) is not None
        assert titled is (flag == "--title")


def test_what_was_sent_is_shown(
    ollama: FakeOllama, program: list[str], environment: Environment
) -> None:
    with Terminal([*program, "-m", "echo"], environment, lines=60) as chat:
        chat.ask("harbour lights", "^harbour lights$")
        chat.ask("/sent", "/api/chat")
        chat.say("/exit")
        assert chat.exit_status() == 0


def test_servers_of_tools(ollama: FakeOllama, run: Run, tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    (tmp_path / "server.py").write_text(MCP)
    config = tmp_path / "mcp.json"
    row = {"command": sys.executable, "args": [str(tmp_path / "server.py")]}
    config.write_text(json.dumps({"mcpServers": {"two": row}}))
    named = f"one={shlex.join([sys.executable, str(tmp_path / 'server.py')])}"
    assert run("-m", "words-3", "--mcp-server", named, "--mcp-config", str(config),
               "q").returncode == 0
    names = {tool["function"]["name"] for tool in sent(ollama)["tools"]}
    assert names == {"one__look", "two__look"}
    assert run("-m", "words-3", "--mcp-server", named, "--no-mcp", "q").returncode == 0
    assert not sent(ollama).get("tools")


# ---- sessions

def test_finding_taking_out_and_bringing_in(ollama: FakeOllama, run: Run, tmp_path: Path) -> None:
    assert run("-m", "words-3", "--no-persist-to-db", "about the harbour").returncode == 0
    assert run("-m", "words-3", "about the moon").returncode == 0
    found = run("--search", "harbour")
    assert found.returncode == 0 and "harbour" in found.stdout and "moon" not in found.stdout
    assert run("--search", "nowhere").returncode == 1
    one, everything = tmp_path / "one.jsonl", tmp_path / "all.jsonl"
    assert run("--export-found", "harbour", "--format", "jsonl", "-o", str(one)).returncode == 0
    assert run("--export-all", "--format", "jsonl", "-o", str(everything)).returncode == 0
    assert "moon" not in one.read_text() and "moon" in everything.read_text()
    for more in ((), ("--from", "stream-chat")):
        elsewhere = f"sqlite:///{tmp_path}/other{len(more)}.db"
        assert run("--database-url", elsewhere, "--import", str(everything), *more).returncode == 0
        assert "moon" in run("--database-url", elsewhere, "--list-sessions").stdout
    assert run("--db-check").returncode == 0


# ---- the terminal

def test_how_the_terminal_looks(ollama: FakeOllama, program: list[str],
                                environment: Environment) -> None:
    with Terminal([*program, "-m", "words-3", "--theme", "mono", "--status"], environment) as chat:
        chat.wait_prompt()
        chat.ask("q", "w0 w1 w2")
        assert not re.search(rb"\x1b\[[0-9;]*(?:3[0-7]|38;|9[0-7])[0-9;]*m", chat.raw), "no colours"
        assert ("words-3" in chat.text().splitlines()[-1]
                or "words-3" in "\n".join(chat.screen.display))
        chat.say("/exit")
        assert chat.exit_status() == 0


def test_keys_and_what_was_typed(ollama: FakeOllama, program: list[str],
                                 environment: Environment) -> None:
    words = [*program, "-m", "echo", "--editing-mode", "vi", "--no-input-history"]
    with Terminal(words, environment) as chat:
        chat.wait_prompt()
        chat.send("xhello there")
        chat.wait("xhello there")
        chat.send(f"{ESCAPE}0x")
        chat.wait("^\u203a hello there")
        chat.send(ENTER)
        chat.wait("^hello there$")
        chat.send(CTRL_D)
        chat.wait_until(lambda: chat.child.poll() is not None or chat.at_prompt(), "the end")
    kept = [path for path in Path(environment["HOME"]).rglob("*")
            if path.is_file() and b"hello" in path.read_bytes()]
    assert [path.name for path in kept if "history" in path.name] == []


def test_a_bell_at_the_end_of_a_long_answer(
    ollama: FakeOllama, program: list[str], environment: Environment
) -> None:
    with Terminal([*program, "-m", "words-35@3", "--notify", "bell"], environment) as chat:
        chat.wait_prompt()
        assert b"\x07" not in chat.raw.replace(b"\x1b]11;?\x07", b"")
        chat.ask("q", "w34")
        chat.wait_until(lambda: b"\x07" in chat.raw, "the bell")


def test_commands_for_sessions(
    ollama: FakeOllama, program: list[str], environment: Environment, run: Run
) -> None:
    assert run("-m", "echo", "--json", "thrown away").returncode == 0
    assert run("--delete-session", "last", "--yes").returncode == 0
    (gone,) = json.loads(run("--list-sessions", "--shelf", "trash", "--json").stdout)
    with Terminal([*program, "-m", "echo"], environment, lines=60) as chat:
        chat.ask("first words", "^first words$")
        chat.ask("second words", "^second words$")
        chat.ask("/rename The harbour", "harbour")
        chat.ask("/tag sea, -land", "sea")
        for command, words in (
            ("/pin", "Pinned"),
            ("/unpin", "Unpinned"),
            ("/pin-session", "top|pinned|Pinned"),
            ("/cost", "limit"),
            ("/count", "tokens"),
            ("/undo", "first words"),
            ("/redo", "second words"),
            ("/branches", "branch"),
            ("/archive", "rchive"),
            ("/unarchive", "lists|unarchived|back"),
            ("/check", "ollama"),
            ("/search harbour", "harbour"),
            (f"/undelete {gone['id']}", "thrown away|back"),
        ):
            chat.ask(command, words)
    assert "thrown away" in run("--list-sessions").stdout
    editor = Path(environment["HOME"], "editor")
    editor.write_text("#!/bin/sh\nprintf 'changed words' > \"$1\"\n")
    editor.chmod(0o700)
    environment["EDITOR"] = str(editor)
    with Terminal([*program, "-m", "echo", "--session", "last"], environment, lines=60) as chat:
        chat.say("/edit")
        chat.wait("^changed words")


# ---- the page and the engine

def test_how_the_engine_runs(tiny: Path, run: Run, environment: Environment) -> None:
    """The engine's settings are in a file while it runs."""
    done = run("-p", "local", "-m", str(tiny), "--engine-threads", "1", "--engine-idle", "30",
               "--max-tokens", "3", "q")
    try:
        assert done.returncode in (0, 3), done.stderr
        (record,) = [json.loads(path.read_text())
                     for path in Path(environment["HOME"]).rglob(".engines/*.json")]
        assert (record["threads"], record["idle"]) == (1, 30.0)
    finally:
        for path in Path(environment["HOME"]).rglob(".engines/*.json"):
            os.kill(json.loads(path.read_text())["pid"], signal.SIGTERM)


def test_the_self_test(tiny: Path, run: Run) -> None:
    done = run("--self-test")
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout + done.stderr


def test_the_page_is_opened_in_a_browser(program: list[str], environment: Environment,
                                         tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    note = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > "{note}.part" && mv "{note}.part" "{note}"\n')
    browser.chmod(0o700)
    environment["BROWSER"] = f"{browser} %s"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server = subprocess.Popen(
        [*program, "--web", "--open", "--port", str(port)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        assert wait_until(note.exists), "the browser was not started"
        assert f"127.0.0.1:{port}" in note.read_text()
    finally:
        server.terminate()
        server.wait(30)
