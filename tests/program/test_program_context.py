"""Context and long conversations in the whole program: what the model is really sent, and what the
user sees.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.messages import Message, Text, user_message
from core.store.identity import new_message_id
from db import open_store
from tests import postgres
from tests.conftest import ROOT
from tests.fake_server import (Answer, FakeOllama, Received, chat_line, done_line, json_answer,
                               lines_answer)
from tests.pseudo_terminal import CTRL_C, Terminal

Environment = dict[str, str]
LINE = re.compile(r'<(source-\w+) file="(?P<file>[^"]+)"[^>]*>\n(?P<body>.*?)\n</\1>', re.S)


class Reader(FakeOllama):
    """A model that reads: it answers a question about `word` with the file and the line, and writes
    summaries.

    `sees` is whether it accepts pictures, `summary` the words of a summary.
    """

    window = 32_768
    sees = False
    summary: Answer | None = None
    to_nobody = 0        # requests for summaries

    def _show(self, model: str) -> Answer:
        return json_answer({"capabilities": ["completion", *(["vision"] if self.sees else [])],
                            "details": {}, "model_info": {}})

    def _route(self, request: Received) -> Answer:
        if request.path == "/api/ps":
            return json_answer(
                {"models": [{"name": name, "model": name, "context_length": self.window}
                            for name in self.models]})
        return super()._route(request)

    def _chat(self, body: Any) -> Answer:
        messages = body["messages"]
        if not messages:
            return json_answer({**done_line(body["model"]), "done_reason": "load"})
        last = messages[-1]["content"]
        if last.startswith(("Summarise the conversation above", "That is not a summary")):
            if self.to_nobody:
                self.to_nobody -= 1
                return lines_answer(
                    [chat_line(body["model"], "I am ready to help. What is the user's request?"),
                     done_line(body["model"])])
            if self.summary is not None:
                return self.summary
            said = f"A summary of {len(messages) - 1} messages."
        else:
            said = answer_from("\n".join(message["content"] for message in messages), last)
        count = sum(len(message["content"]) // 4 + 5 for message in messages)
        return lines_answer([chat_line(body["model"], said),
                             done_line(body["model"], prompt_eval_count=count)])


def answer_from(text: str, last: str) -> str:
    wanted = re.search(r"\bwhere is (.+?)\?", last)
    for match in LINE.finditer(text) if wanted else ():
        for line in match["body"].split("\n"):
            if wanted and wanted[1] in line:
                return f"{match['file']}:{line.split(chr(9))[0]}"
    return "I do not know." if wanted else "Fine."


@pytest.fixture
def reader(environment: Environment) -> Iterator[Reader]:
    with Reader(models=("reader",)) as server:
        environment["OLLAMA_HOST"] = server.url
        environment["STREAM_CHAT_MODEL"] = "reader"
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "work"
    files = {"notes.md": "# Tides\n\nHigh water is at 7.\n",
             "src/retry.py": "import time\n\n\ndef delay(attempt):\n    return 2 ** attempt\n",
             ".gitignore": "*.log\n", "old.log": "delay(old)\n"}
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text, encoding="utf-8")
    return place


def run(program: list[str], arguments: list[str], environment: Environment, cwd: Path | str = ROOT,
        stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    source: dict[str, Any] = ({"input": stdin} if stdin is not None
                              else {"stdin": subprocess.DEVNULL})
    return subprocess.run([*program, *arguments], env=environment, cwd=cwd, capture_output=True,
                          text=True, timeout=60, **source)


def sent(server: FakeOllama) -> list[str]:
    """The texts of the last request."""
    chats = [request.json["messages"] for request in server.chats]
    return [message["content"] for message in chats[-1]]


def images(server: FakeOllama) -> list[Any]:
    chats = [request.json["messages"] for request in server.chats]
    return [message.get("images") for message in chats[-1] if message.get("images")]


def store_path(environment: Environment) -> Path:
    return Path(environment["HOME"], ".local/share/stream-chat/sessions.db")


def stored(environment: Environment) -> list[tuple[int, str]]:
    rows = sqlite3.connect(store_path(environment)).execute("SELECT active, parts FROM messages "
                                                            "ORDER BY position, id").fetchall()
    return [(active, "".join(part["text"] for part in json.loads(parts) if part["type"] == "text"))
            for active, parts in rows]


# ---- one answer

def test_a_question_about_this_repository(reader: Reader, program: list[str],
                                          environment: Environment) -> None:
    wanted = next(number for number, line
                  in enumerate((ROOT / "core/window/budget.py").read_text().split("\n"), 1)
                  if line.startswith("def plan_budget"))
    done = run(program, ["--context", "core", "where is def plan_budget(?"], environment)
    assert done.stdout == f"core/window/budget.py:{wanted}\n", done.stderr
    assert re.match(r"context: \d+ of \d+ files.*≈[\d,]+ ±[\d,]+ of 32,768 tokens; \d+ left out: ",
                    done.stderr)


def test_a_folder_by_the_rules_of_gitignore(reader: Reader, program: list[str],
                                            environment: Environment, folder: Path) -> None:
    done = run(program, ["--context", ".", "where is def delay?"], environment, folder)
    assert (done.returncode, done.stdout) == (0, "src/retry.py:4\n")
    first, second = done.stderr.splitlines()
    assert re.fullmatch(r"context: 2 of 2 files, ≈\d+ ±\d+ of 32,768 tokens", first)
    assert second == "1 reference to the attached files checked: correct."
    assert "delay(old)" not in sent(reader)[0]


def test_rows_of_postgresql(reader: Reader, program: list[str], environment: Environment,
                            postgres_url: str) -> None:
    import psycopg
    url = postgres.new_database(postgres_url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE orders (customer text, total int)")
        connection.execute("INSERT INTO orders VALUES ('Ada', 12), ('Bo', 7)")
    url = postgres.reader_url(url)
    done = run(program, ["--context", f"{url}?query=SELECT customer, total FROM orders ORDER BY 2",
                         "who?"], environment)
    assert done.returncode == 0 and done.stderr.startswith("context: 1 of 1 sources"), done.stderr
    assert re.search(r"Bo.*7\s.*Ada.*12", sent(reader)[0], re.S)


@pytest.mark.parametrize("source",
                         ["db", "db:bowline", 'db:"rabbit hole"', "db:20261101-0900-aaaa"])
def test_earlier_sessions(reader: Reader, program: list[str], environment: Environment,
                          source: str) -> None:
    store_path(environment).parent.mkdir(parents=True)
    store = open_store(str(store_path(environment)))
    store.create_session("20261101-0900-aaaa", "knots", "ollama/reader", 1_000.0)
    store.add_message("20261101-0900-aaaa", new_message_id(),
                      user_message("how do I tie a bowline?"), "complete")
    said = Message("assistant", (Text("the rabbit comes out of its hole"),))
    store.add_message("20261101-0900-aaaa", new_message_id(), said, "complete")
    store.close()
    done = run(program, ["--context", source, "what was it?"], environment)
    assert done.returncode == 0 and done.stderr.startswith("context: 1 of 1 sources"), done.stderr
    assert ("the rabbit comes out of its hole" in sent(reader)[0]
            and sent(reader)[0].endswith("what was it?"))


def test_what_is_piped_in(reader: Reader, program: list[str], environment: Environment) -> None:
    done = run(program, ["--context", "-", "what is it?"], environment, stdin="a @notes.md b\n")
    assert done.returncode == 0 and done.stderr.startswith("context: 1 of 1 sources")
    assert ('stdin="stdin">\na @notes.md b\n</' in sent(reader)[0]
            and sent(reader)[0].endswith("\n\nwhat is it?"))
    assert run(program, ["--context", "-"], environment, stdin="x").returncode == 2


def test_what_is_missing(reader: Reader, program: list[str], environment: Environment,
                         folder: Path) -> None:
    done = run(program, ["--context", "gone.md", "q"], environment, folder)
    assert (done.returncode == 2 and "gone.md: there is no such file" in done.stderr
            and not reader.requests)
    as_json = run(program, ["--json", "--context", "gone.md", "q"], environment, folder)
    assert as_json.returncode == 2 and json.loads(as_json.stdout)["kind"] == "context"
    part = run(program, ["--context-optional", "--context", "gone.md,notes.md", "where is High?"],
               environment, folder)
    assert (part.returncode, part.stdout) == (0, "notes.md:3\n")
    assert part.stderr.startswith("Not attached: gone.md: there is no such file\ncontext: 1 of "
                                  "1 files")


def test_a_file_named_in_the_question(reader: Reader, program: list[str], environment: Environment,
                                      folder: Path) -> None:
    done = run(program, ["--json", "where is High? look at @notes.md."], environment, folder)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert ([line["event"] for line in lines[:2]] == ["session", "notice"]
            and lines[1]["text"].startswith("context: 1 of 1 files"))
    assert lines[-1]["event"] == "message" and lines[-1]["text"] == "notes.md:3", lines[-3:]
    reader.requests.clear()
    gone = run(program, ["see @gone.md and @types/node"], environment, folder)
    assert (gone.returncode == 2 and "Not sent. Not attached: gone.md: there is no "
            "such file." in gone.stderr)
    assert "types" not in gone.stderr and not reader.requests
    # only looks a little like a file
    decorator = run(program, ["what does @app.route do?"], environment, folder)
    assert decorator.returncode == 0 and len(sent(reader)) == 1
    reader.requests.clear()
    # piped in: nothing of it is followed
    run(program, [], environment, folder, stdin="where is High? look at @notes.md")
    assert len(sent(reader)) == 1 and "High water" not in sent(reader)[0]


@pytest.mark.parametrize("name", [".envrc", "prod.env", "id_ed25519_sk", "deep/kubeconfig.old"])
def test_a_file_of_keys_is_not_sent_unasked(reader: Reader, program: list[str],
                                            environment: Environment, folder: Path,
                                            name: str) -> None:
    (folder / "deep").mkdir()
    (folder / name).write_text("planted words")
    for arguments in ([f"see @{name}"], ["--context", name, "q"]):
        done = run(program, arguments, environment, folder)
        assert (done.returncode == 2 and "looks like a file of keys or passwords; you cannot be "
                "asked here" in done.stderr)
    assert not reader.requests
    with Terminal([*program, f"see @{name}"], environment, cwd=folder) as terminal:
        terminal.wait(r"Send it to the model\?\s+\[y/N\]")
        terminal.send("n\r")
        terminal.wait(r"Send the message without it\?\s+\[y/N\]")
        terminal.send("y\r")
        assert terminal.exit_status() == 0
    assert len(sent(reader)) == 1 and "planted" not in sent(reader)[0]


def test_a_command_needs_somebody_who_agrees(reader: Reader, program: list[str],
                                             environment: Environment, folder: Path) -> None:
    done = run(program, ["--context", "!touch ran", "q"], environment, folder)
    assert done.returncode == 2 and "consent" in done.stderr and not (folder / "ran").exists()
    for answer, code in (("n", 2), ("y", 0)):
        with Terminal([*program, "--context", "!echo seven; touch ran", "q"], environment,
                      cwd=folder) as terminal:
            terminal.wait(r"\[y/N\]")
            assert not (folder / "ran").exists()
            terminal.send(f"{answer}\r")
            assert terminal.exit_status() == code
    assert "seven" in sent(reader)[0]


def test_a_picture_for_a_model_that_sees_none(reader: Reader, program: list[str],
                                              environment: Environment, folder: Path) -> None:
    (folder / "dot.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    done = run(program, ["--context", "dot.png,notes.md", "q"], environment, folder)
    assert (done.returncode == 2 and "does not see images: dot.png" in done.stderr
            and "--context-optional" in done.stderr)
    assert not [request for request in reader.requests if request.path == "/api/chat"]
    done = run(program, ["--context", "dot.png,notes.md", "--context-optional", "q"], environment,
               folder)
    assert (done.returncode == 0 and "dot.png: this model cannot see "
            "pictures" in done.stderr and not images(reader))


def test_in_a_chat_a_picture_that_is_not_seen_is_asked_about(
        reader: Reader, program: list[str], environment: Environment, folder: Path) -> None:
    (folder / "dot.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    with Terminal([*program, "-m", "m"], environment, cwd=folder, columns=110) as chat:
        chat.wait_prompt()
        chat.say("/context add dot.png")
        chat.wait("Continue without it")
        chat.send("n\r")
        chat.wait("Not attached")
        chat.say("/context add dot.png")
        chat.wait("Continue without it", 2)
        chat.send("y\r")
        chat.wait("Attached dot.png: 1 item")


def test_a_message_that_is_not_sent_without_its_picture_returns_to_the_prompt(
        reader: Reader, program: list[str], environment: Environment, folder: Path) -> None:
    (folder / "dot.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    with Terminal([*program, "-m", "m"], environment, cwd=folder) as chat:
        chat.wait_prompt()
        chat.say("what is in @dot.png ?")
        chat.wait(r"^\? ollama/m does not see images: dot.png.\n  Continue without it\? \[y/N\]$")
        chat.send("n\r")
        chat.wait(r"Not sent\. Not attached: [^\n]*\n.*/model in a chat")
        chat.wait("^\u203a what is in @dot.png [?]$", 2)
        assert chat.text().count("[y/N]") == 1, "one question is enough"
        chat.send("\x7f" * 10 + "here?\r")          # it can be changed and sent
        chat.wait_prompt()
    assert sent(reader)[-1].endswith("what is in here?")


@pytest.mark.parametrize("words",
                         [["--context", "notes.md,missing.md"],
                          ["--context", "notes.md", "--context", "missing.md"]])
def test_what_cannot_be_attached_stops_a_question_in_a_pipe(
        words: list[str], reader: Reader, program: list[str], environment: Environment,
        folder: Path) -> None:
    (folder / "notes.md").write_text("a word\n")
    done = run(program, [*words, "q"], environment, folder)
    assert done.returncode == 2 and "missing.md" in done.stderr and "Traceback" not in done.stderr
    assert not [request for request in reader.requests if request.path == "/api/chat"]
    done = run(program, [*words, "--context-optional", "q"], environment, folder)
    assert done.returncode == 0 and "missing.md" in done.stderr


def test_a_picture_for_a_model_that_sees(reader: Reader, program: list[str],
                                         environment: Environment, folder: Path) -> None:
    reader.sees = True
    (folder / "dot.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    done = run(program, ["what is on @dot.png?"], environment, folder)
    attached = "+ dot.png  48 bytes, about 1,100 tokens\n"
    assert done.returncode == 0 and done.stderr.startswith(attached), done.stderr
    assert len(images(reader)) == 1 and len(images(reader)[0]) == 1


def test_what_takes_long_can_be_stopped(reader: Reader, program: list[str],
                                        environment: Environment, folder: Path) -> None:
    with Terminal([*program, "--context", "!touch begun; sleep 30", "q"], environment,
                  cwd=folder) as terminal:
        terminal.wait(r"\[y/N\]")
        terminal.send("y\r")
        terminal.wait_until((folder / "begun").exists, "the command")
        terminal.interrupt()
        assert terminal.exit_status() == 130
    assert not reader.requests


@pytest.mark.parametrize("keys", [CTRL_C, "y" + CTRL_C, "y\r" + CTRL_C])
def test_a_question_can_be_stopped(reader: Reader, program: list[str], environment: Environment,
                                   folder: Path, keys: str) -> None:
    """The kernel discards what was typed before Ctrl-C, including a line that the program was about
    to read.
    """
    with Terminal([*program, "--context", "!sleep 30", "q"], environment, cwd=folder) as terminal:
        terminal.wait(r"\[y/N\]")
        terminal.send(keys)
        assert terminal.exit_status() == 130
    assert not reader.requests


def test_counts_are_learned(reader: Reader, program: list[str], environment: Environment,
                            folder: Path) -> None:
    """The server's counts make the estimate exact, which is stored for the next run."""
    for _ in range(3):
        done = run(program, ["--context", "docs/context.md,core/models/window.py", "q"],
                   environment)
    counted = sum(len(text) // 4 + 5 for text in sent(reader))
    told = re.search(r"2 of 2 files, ([\d,]+) of 32,768 tokens", done.stderr)
    assert told and abs(int(told[1].replace(",", "")) - counted) <= 0.05 * counted, done.stderr
    learned = Path(environment["HOME"], ".cache/stream-chat/tokens.json")
    assert "ollama/reader" in json.loads(learned.read_text())


def test_nothing_of_context_is_loaded_without_it(reader: Reader, program: list[str],
                                                 environment: Environment) -> None:
    code = ("import sys; from core.chat_engine import main; main(['a short question']); "
            "prefixes = ('core.context', 'core.chat.fitting', 'core.window.compaction'); "
            "print([name for name in sys.modules if name.startswith(prefixes)])")
    done = subprocess.run([program[0], "-c", code], env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True,
                          timeout=60)
    assert done.stdout.endswith("[]\n"), done.stdout


# ---- in a chat

def test_the_commands_of_context(reader: Reader, program: list[str], environment: Environment,
                                 folder: Path) -> None:
    with Terminal([*program], environment, cwd=folder) as chat:
        chat.ask("/context", "Nothing attached")
        chat.ask("/context add src", "Attached src: 1 item")
        chat.ask("where is def delay?", r"src/retry\.py:4")
        assert "+ context: 1 of 1 files" in chat.text()
        chat.ask("/context list", r"src/retry\.py +file +≈\d+ +whole +everything fits")
        bars = (r"Attached +\d+ +0%(.|\n)*Conversation +\d+ +0%(."
                r"|\n)*Kept for the answer +8,192 +25%")
        chat.ask("/context", bars)
        moved = "\n\n\n\n\n\ndef delay(attempt):\n    return 3\n"
        (folder / "src/retry.py").write_text(moved, encoding="utf-8")
        chat.ask("/context refresh", "Reloaded 1 item")
        chat.ask("where is def delay?", r"src/retry\.py:7")
        chat.ask("/context", bars)
        chat.ask("/context drop src", "src is out of the context")
        chat.ask("where is def delay?", "I do not know")
        chat.ask("where is High? see @notes.md", r"notes\.md:3")
        chat.ask("/context drop nothing", "nothing is not in the context")
        chat.say("/exit")
        assert chat.exit_status() == 0
        chat.check_restored()
    # what is attached is never stored
    assert all("reference material" not in text for _, text in stored(environment))


def test_a_path_is_completed(reader: Reader, program: list[str], environment: Environment,
                             folder: Path) -> None:
    with Terminal([*program], environment, cwd=folder) as chat:
        chat.wait_prompt()
        chat.send("see @no\t")
        chat.wait(r"see @notes\.md")


def long_chat(chat: Terminal, turns: int) -> None:
    for number in range(turns):
        chat.ask(f"turn {number} " + "word " * 40, "Fine", number + 1)


def test_a_summary_and_back(reader: Reader, program: list[str], environment: Environment) -> None:
    with Terminal([*program], environment) as chat:
        chat.ask("/compact", "There is nothing to summarise yet")
        chat.ask("remember seven", "Fine")
        chat.ask("/pin", "Pinned")
        long_chat(chat, 4)
        chat.ask("/compact", r"Summarised \d+ messages.*\n?.*instead of")
        assert "A summary of " in chat.text()
        chat.ask("and now?", "Fine", 6)
        chat.say("/exit")
        chat.exit_status()
    after = sent(reader)
    assert (after[0] == "remember seven" and "(Earlier part of this conversation" in after[2]
            and "A summary of " in after[3])
    assert len(after) < 12 and after[-1] == "and now?"
    rows = stored(environment)
    assert sum(text.startswith("turn ") for _, text in rows) == 4        # no row is deleted
    with Terminal([*program, "--continue"], environment) as chat:
        chat.ask("still there?", "Fine")
        assert sent(reader)[:4] == after[:4]
        chat.ask("/pin list", "remember seven")
        chat.ask("/uncompact", "messages in place")
        chat.ask("again?", "Fine", 2)
        chat.ask("/uncompact", "has no summary")
        chat.say("/exit")
        chat.exit_status()
    texts = [text.split(" word")[0] for text in sent(reader)[::2]]
    assert texts == ["remember seven", "turn 0", "turn 1", "turn 2", "turn 3", "and now?",
                     "still there?", "again?"]


def test_an_answer_to_nobody_is_not_taken_for_a_summary(
        reader: Reader, program: list[str], environment: Environment) -> None:
    said = ("Kara ordered 4711 valves in Bremen",
            "the lighthouse keeper paints every window twice before winter",
            "our ferry leaves the eastern harbour after noon when the tide allows it")
    summary = ("Kara ordered 4711 valves in Bremen; the keeper paints each window twice, the ferry "
               "leaves the harbour after noon.")
    reader.summary = lines_answer([chat_line("reader", summary), done_line("reader")])
    with Terminal([*program], environment) as chat:
        for number, words in enumerate((*said, "thank you")):
            chat.ask(words, "Fine", number + 1)
        reader.to_nobody = 2
        chat.ask("/compact", "it is requested once more(.|\n)*the conversation is unchanged")
        chat.ask("/uncompact", "has no summary")
        reader.to_nobody = 1
        chat.ask("/compact", "Summarised [0-9]+ messages")
        chat.ask("and now?", "Fine", 5)
        chat.say("/exit")
        chat.exit_status()
    assert any("the keeper paints each window twice" in text for text in sent(reader))
    assert not any("ready to help" in text for text in sent(reader))


def test_a_summary_that_is_not_saved(reader: Reader, program: list[str],
                                     environment: Environment) -> None:
    with Terminal([*program, "--no-save"], environment) as chat:
        long_chat(chat, 3)
        chat.ask("/compact", "Summarised")
        chat.ask("/uncompact", "messages in place")
        chat.ask("again?", "Fine", 4)
    assert [text.split(" word")[0] for text in sent(reader)[::2]] == ["turn 0", "turn 1", "turn 2",
                                                                      "again?"]
    assert not os.listdir(environment["HOME"])


def test_a_summary_that_does_not_come_changes_nothing(reader: Reader, program: list[str],
                                                      environment: Environment) -> None:
    words = [f"part {number} " for number in range(100)]
    with Terminal([*program], environment) as chat:
        long_chat(chat, 3)
        reader.summary = lines_answer([done_line("reader")])
        chat.ask("/compact", "The model did not write a summary")
        chat.ask("/uncompact", "has no summary")
        reader.summary = lines_answer(
            [*(chat_line("reader", word) for word in words), done_line("reader")], delay=0.1)
        chat.say("/compact")
        chat.wait("part 3")
        chat.interrupt()
        chat.wait("Stopped")
        chat.ask("again?", "Fine", 4)
    assert [text.split(" word")[0] for text in sent(reader)[::2]] == ["turn 0", "turn 1", "turn 2",
                                                                      "again?"]
    assert all(active for active, _ in stored(environment))


def test_the_oldest_turns_are_left_out_and_that_is_said(reader: Reader, program: list[str],
                                                        environment: Environment) -> None:
    reader.window = 1024
    with Terminal([*program, "--max-tokens", "100"], environment) as chat:
        for number in range(4):
            chat.ask(f"turn {number} " + "word " * 300, "Fine", number + 1)
        chat.wait("The oldest [0-9]+ of 7 messages were not sent")
    assert sent(reader)[-1].startswith("turn 3") and not sent(reader)[0].startswith("turn 0")


def test_a_summary_by_itself(reader: Reader, program: list[str], environment: Environment) -> None:
    reader.window = 1024
    with Terminal([*program, "--max-tokens", "100", "--auto-compact"], environment) as chat:
        for number in range(4):
            chat.ask(f"turn {number} " + "word " * 200, "Fine", number + 1)
        assert "Summarised" in chat.text() and "A summary of" not in chat.text()
    assert ("(Earlier part of this conversation" in sent(reader)[0]
            and sent(reader)[-1].startswith("turn 3"))


class Asker(Reader):
    """A model that asks for the file that was left out."""

    def _chat(self, body: Any) -> Answer:
        messages, offered = (body["messages"],
                             [each["function"]["name"] for each in body.get("tools") or ()])
        left = re.search(r"Not included, for lack of room: ([^\s,]+),",
                         messages[0]["content"] if messages else "")
        if not (left and "read_file" in offered) or messages[-1]["role"] == "tool":
            return super()._chat(body)
        call = {"function": {"name": "read_file", "arguments": {"path": left[1]}}}
        return lines_answer([chat_line(body["model"], "", tool_calls=[call]),
                             done_line(body["model"])])


def test_what_was_left_out_can_be_read_with_the_tools(program: list[str], environment: Environment,
                                                      tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    for number in range(3):
        (given / f"part{number}.txt").write_text(f"start of {number}\n"
                                                 + "some words of a text\n" * 700, encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    with Asker(models=("reader",)) as server:
        server.window = 12_000
        environment |= {"OLLAMA_HOST": server.url, "STREAM_CHAT_MODEL": "reader"}
        arguments = ["--tools", "read_file", "--context", str(given), "what is there?"]
        done = run(program, arguments, environment, tmp_path / "elsewhere")
    assert done.returncode == 0, done.stderr
    left = re.search(r"2 left out: ([^\s,]+),", done.stderr)
    assert left and f"start of {Path(left[1]).stem[-1]}" in sent(server)[-1], done.stderr


def test_progress_of_a_large_folder(reader: Reader, program: list[str], environment: Environment,
                                    folder: Path) -> None:
    """Without a delay, the line is shown immediately; it disappears when the answer arrives."""
    for number in range(3_000):
        (folder / f"f{number}.txt").write_text("some words\n", encoding="utf-8")
    impatient = ["-c", "import sys; import core.console.progress_line as line; line.PATIENCE = "
                       "line.STEP = 0.0; from core.chat_engine import main; sys.exit(main())"]
    with Terminal([program[0], *impatient, "--context", ".", "where is def delay?"], environment,
                  cwd=folder) as terminal:
        assert terminal.exit_status() == 0
        assert re.search(rb"(reading \.|choosing): [\d,]+, 0 s", terminal.raw)
        assert "choosing" not in terminal.text() and "src/retry.py:4" in terminal.text()


def test_a_model_that_has_to_be_loaded_first(program: list[str], environment: Environment,
                                             folder: Path) -> None:
    """Its window is known only after loading, and the context is fitted to it, not to a guess."""
    with FakeOllama(models=("window-2048",)) as server:
        environment |= {"OLLAMA_HOST": server.url, "STREAM_CHAT_MODEL": "window-2048"}
        server.windows["another"] = 8192
        (folder / "notes.md").write_text("High water.\n" * 3_000, encoding="utf-8")
        original = server._chat

        def load(body: Any) -> Answer:
            server.windows["window-2048"] = 2048
            return original(body)
        # the stand-in for a server, taught to load
        server._chat = load  # type: ignore[method-assign]
        done = run(program, ["--context", "notes.md", "when is high water?"], environment, folder)
    asked = server.chats
    assert (done.returncode == 0 and " of 2,048 tokens" in done.stderr
            and "did not see" not in done.stderr), done.stderr
    assert [bool(request.json["messages"]) for request in asked] == [False, True]
