"""The whole program in pipes: one answer, JSON events, exit codes, unusual streams and
environments.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fake_server import (Cut, FakeOllama, FakeServer, Received, chat_line, done_line,
                               fake_words, json_answer, lines_answer)

Environment = dict[str, str]


def run(command: list[str], environment: Environment, stdin: bytes | None = None,
        **more: Any) -> subprocess.CompletedProcess[bytes]:
    source: dict[str, Any] = ({"input": stdin} if stdin is not None
                              else {"stdin": subprocess.DEVNULL})
    return subprocess.run(command, env=environment, capture_output=True, timeout=60, **source,
                          **more)


def shell(line: str, program: list[str],
          environment: Environment) -> subprocess.CompletedProcess[bytes]:
    return run(["bash", "-c", line, "bash", *program], environment)


def events(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def stored(environment: Environment) -> list[tuple[str, str]]:
    """Role and state of every message that was saved."""
    path = Path(environment["HOME"], ".local/share/stream-chat/sessions.db")
    return sqlite3.connect(path).execute("SELECT role, state FROM messages ORDER BY id").fetchall()


def test_a_question_as_argument(ollama: FakeOllama, program: list[str],
                                environment: Environment) -> None:
    done = run([*program, "-m", "words-50", "why is", "the sky blue?"], environment, b"")
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, fake_words(50) + "\n", b"")
    assert (ollama.chats[-1].json["messages"]
            == [{"role": "user", "content": "why is the sky blue?"}])
    assert stored(environment) == [("user", "complete"), ("assistant", "complete")]


def test_a_question_on_standard_input(ollama: FakeOllama, program: list[str],
                                      environment: Environment) -> None:
    done = run([*program, "-m", "echo"], environment, "what f\u00e4iled?\n".encode())
    assert done.returncode == 0 and done.stdout.decode() == "what f\u00e4iled?\n"


def test_both_are_one_question(ollama: FakeOllama, program: list[str],
                               environment: Environment) -> None:
    run([*program, "-m", "echo", "what failed?"], environment, b"line 1\nline 2\n")
    assert ollama.chats[-1].json["messages"][-1]["content"] == "what failed?\n\nline 1\nline 2\n"


NOT_UTF8 = {
    "Western": (b"caf\xe9 \xff\n", "caf\u00e9 \u00ff\n", "not UTF-8, read as cp1252"),
    "damaged": ("d\u00e9j\u00e0 ".encode() + b"\xe9\n", "d\u00e9j\u00e0 \ufffd\n",
                "damaged UTF-8: unreadable bytes were replaced by \ufffd"),
    "UTF-16 without a mark": ("caf\u00e9\n".encode("utf-16-le"), "caf\u00e9\n",
                              "not UTF-8, read as utf-16-le"),
    "UTF-16 in plain letters": ("what failed?\n".encode("utf-16-be"), "what failed?\n",
                                "not UTF-8, read as utf-16-be"),
    "no text": (b"\xe9\0\1\2\xff\n", "\ufffd\ufffd\1\2\ufffd\n",
                "not UTF-8; what could not be read was replaced by \ufffd"),
}


@pytest.mark.parametrize("kind", NOT_UTF8)
def test_standard_input_that_is_not_utf8(ollama: FakeOllama, program: list[str],
                                         environment: Environment, kind: str) -> None:
    given, answer, note = NOT_UTF8[kind]
    done = run([*program, "-m", "echo"], environment, given)
    assert done.returncode == 0 and done.stdout.decode() == answer
    assert done.stderr.decode() == f"note: standard input is {note}\n"


def test_nul_between_names_is_utf8(ollama: FakeOllama, program: list[str],
                                   environment: Environment) -> None:
    done = run([*program, "-m", "echo"], environment, b"a\0b\nsome name\0other name\0")
    assert done.returncode == 0 and done.stderr == b""
    assert done.stdout.decode() == "a\ufffdb\nsome name\ufffdother name\ufffd\n"


@pytest.mark.parametrize("stdin", [b"", b" \n\t"])
def test_nothing_to_ask(program: list[str], environment: Environment, stdin: bytes) -> None:
    done = run(program, environment, stdin)
    assert (done.returncode, done.stdout) == (2, b"") and b"nothing to ask" in done.stderr


def test_json_events(ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    done = run([*program, "-m", "think", "--json", "q"], environment)
    records = events(done.stdout)
    assert done.returncode == 0 and done.stderr == b""
    assert records[0].keys() == {"event", "id", "model", "version"}
    assert (records[0]["event"] == "session" and records[0]["model"] == "ollama/think"
            and records[0]["id"])
    assert "".join(record["text"]
                   for record in records if record["event"] == "thinking") == "so be it"
    assert "".join(record["text"]
                   for record in records if record["event"] == "text") == fake_words(5)
    assert {"event": "usage", "input_tokens": 7, "output_tokens": 7}.items() <= records[-2].items()
    assert records[-1] == {"event": "message", "role": "assistant", "text": fake_words(5),
                           "model": "ollama/think",
                           "finish": "stop"}


def test_json_reports_calls_that_are_not_run(ollama: FakeOllama, program: list[str],
                                             environment: Environment) -> None:
    done = run([*program, "-m", "tools", "--tools", "calculate", "--tool-rounds", "0", "--json",
                "q"], environment)
    calls = [record for record in events(done.stdout) if record["event"] == "tool_call"]
    assert done.returncode == 0 and len(calls) == 1
    assert (calls[0]["name"] == "calculate" and calls[0]["arguments"] == {"q": "x"}
            and calls[0]["id"])
    last = events(done.stdout)[-1]
    assert last["event"] == "message" and last["finish"] == "tool_calls"
    assert not [record for record in events(done.stdout) if record["event"] == "tool_result"]


def test_json_reports_calls_and_results(program: list[str], environment: Environment) -> None:
    done = run([*program, "-p", "demo", "--demo-delay", "0", "--tools", "calculate", "--json",
                "what is 2+3?"], environment)
    records = events(done.stdout)
    kinds = [record["event"] for record in records]
    assert done.returncode == 0
    assert (kinds.index("tool_call") < kinds.index("tool_result") < len(kinds) - 1
            and kinds[-1] == "message")
    result = records[kinds.index("tool_result")]
    assert result["name"] == "calculate" and not result["is_error"] and "5" in result["content"]
    assert result["id"] == records[kinds.index("tool_call")]["id"]
    assert kinds.count("tool_call") == 1 and "5" in records[-1]["text"]


@pytest.mark.parametrize("model, code, kind", [
    ("cut-5", 3, "stream_broken"), ("reset-5", 3, "stream_broken"), ("error-5", 3, "stream_broken"),
    ("missing", 1, "model_not_found"), ("locked", 1, "authentication"),
    ("no-such", 1, "model_not_found"),
    ("crash", 1, ""), ("overflow", 1, "context_too_long"),
])
def test_json_ends_with_an_error(ollama: FakeOllama, program: list[str], environment: Environment,
                                 model: str, code: int,
                                 kind: str) -> None:
    environment |= {"RETRY_MAX_ATTEMPTS": "1"}
    done = run([*program, "-m", model, "--no-resume", "--json", "q"], environment)
    last = events(done.stdout)[-1]
    assert (done.returncode, last["event"]) == (code, "error") and set(last) == {"event", "kind",
                                                                                 "message", "hint"}
    assert last["kind"] == kind or not kind
    if code == 3:
        assert events(done.stdout)[-2]["text"] == fake_words(5)


def test_an_answer_that_broke_off_goes_on_by_itself(program: list[str],
                                                    environment: Environment) -> None:
    broken = lines_answer([chat_line("m", "one two "), chat_line("m", "three")], Cut())
    with FakeServer([broken, lines_answer([chat_line("m", " four"), done_line("m")])]) as server:
        environment["OLLAMA_HOST"] = server.url
        done = run([*program, "-m", "m", "q"], environment)
    assert (done.returncode, done.stdout) == (0, b"one two three four\n")
    assert done.stderr.count(b"The answer is continued.") == 1


@pytest.mark.parametrize("again", [["one two ", "three"], ["one two three"], []])
@pytest.mark.parametrize("json_lines", [[], ["--json"]])
def test_an_answer_that_broke_off_behind_its_last_word_is_complete(
        again: list[str], json_lines: list[str], program: list[str],
        environment: Environment) -> None:
    """The model has nothing to add: it repeats what it said, or says nothing."""
    broken = lines_answer([chat_line("m", "one two "), chat_line("m", "three")], Cut())
    more = lines_answer([*(chat_line("m", text) for text in again), done_line("m")])
    with FakeServer([broken, more]) as server:
        environment["OLLAMA_HOST"] = server.url
        done = run([*program, "-m", "m", *json_lines, "q"], environment)
    assert done.returncode == 0 and b"three" in done.stdout and b"empty" not in done.stderr
    assert json_lines or done.stdout == b"one two three\n"


def test_an_answer_that_broke_off_and_cannot_go_on_is_incomplete(program: list[str],
                                                                 environment: Environment) -> None:
    broken = lines_answer([chat_line("m", "one two three")], Cut())
    with FakeServer([broken, json_answer({"error": "overloaded"}, 503)]) as server:
        environment["OLLAMA_HOST"] = server.url
        done = run([*program, "-m", "m", "--retry-max-attempts", "1", "q"], environment)
    assert ((done.returncode, done.stdout) == (3, b"one two three\n")
            and done.stderr.count(b"\n") <= 4)
    assert stored(environment) == [("user", "complete"), ("assistant", "truncated")]


@pytest.mark.parametrize("model", ["cut-5", "reset-5", "error-5"])
def test_what_came_of_a_broken_answer_is_printed_and_saved(ollama: FakeOllama, program: list[str],
                                                           environment: Environment,
                                                           model: str) -> None:
    done = run([*program, "-m", model, "--no-resume", "q"], environment)
    assert (done.returncode, done.stdout.decode()) == (3, fake_words(5) + "\n")
    assert 1 <= done.stderr.count(b"\n") <= 3 and b"Traceback" not in done.stderr
    assert stored(environment)[-1][1] in ("truncated", "failed")


@pytest.mark.parametrize("model, words", [
    ("missing", "missing"), ("locked", "unauthorized"), ("overflow", "18008"),
    ("no-such", "ollama pull"), ("forbidden", "403")])
def test_a_refusal_is_told_in_words(ollama: FakeOllama, program: list[str],
                                    environment: Environment, model: str,
                                    words: str) -> None:
    done = run([*program, "-m", model, "q"], environment)
    assert (done.returncode, done.stdout) == (1, b"")
    assert (words in done.stderr.decode() and done.stderr.count(b"\n") <= 3
            and b"Traceback" not in done.stderr)
    assert stored(environment)[0] == ("user", "complete")


def test_an_answer_that_reached_its_limit_is_incomplete(program: list[str],
                                                        environment: Environment) -> None:
    with FakeServer(lines_answer([chat_line("m", "half"), done_line("m", "length")])) as server:
        environment["OLLAMA_HOST"] = server.url
        done = run([*program, "-m", "m", "q"], environment)
    assert (done.returncode, done.stdout) == (3, b"half\n") and b"length limit" in done.stderr


def test_a_wait_is_shown_and_then_comes_the_answer(program: list[str],
                                                   environment: Environment) -> None:
    refused = json_answer({"error": "slow down"}, 429, {"Retry-After": "0.05"})
    answered = lines_answer([chat_line("m", "yes"), done_line("m")])
    with FakeServer([refused, refused, answered, refused, refused, answered]) as server:
        environment["OLLAMA_HOST"] = server.url
        plain = run([*program, "-m", "m", "q"], environment)
        as_json = run([*program, "-m", "m", "--json", "q"], environment)
    assert (plain.returncode, plain.stdout) == (0, b"yes\n")
    assert (plain.stderr.count(b"slow down") == 2 and b"Attempt 2 in" in plain.stderr
            and b"Attempt 3 in" in plain.stderr)
    assert ([record["attempt"] for record in events(as_json.stdout) if record["event"] == "retry"]
            == [2, 3])


def test_no_server(program: list[str], environment: Environment) -> None:
    with FakeOllama() as server:
        environment["OLLAMA_HOST"] = server.url
    environment["RETRY_MAX_ATTEMPTS"] = "1"
    for flags in ([], ["-m", "x"]):
        done = run([*program, *flags, "q"], environment)
        assert (done.returncode, done.stdout) == (1, b"")
        assert (b"ollama serve" in done.stderr and b"--provider demo" in done.stderr
                and done.stderr.count(b"\n") <= 3)


def test_the_next_model_takes_over(ollama: FakeOllama, program: list[str],
                                   environment: Environment) -> None:
    flags = ["-m", "missing", "--model-fallbacks", "crash,words-5", "--retry-max-attempts", "1"]
    done = run([*program, *flags, "--json", "q"], environment)
    changes = [(record["from"], record["to"])
               for record in events(done.stdout) if record["event"] == "model_changed"]
    assert done.returncode == 0
    assert changes == [("ollama/missing", "ollama/crash"), ("ollama/crash", "ollama/words-5")]
    assert events(done.stdout)[-1]["model"] == "ollama/words-5"


def test_no_save_leaves_no_file(ollama: FakeOllama, program: list[str], environment: Environment,
                                tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = run([*program, "--no-save", "-m", "words-5", "q"], environment, cwd=tmp_path)
    assert done.returncode == 0 and sorted(tmp_path.rglob("*")) == before


def test_a_transcript_only_when_asked_for(ollama: FakeOllama, program: list[str],
                                          environment: Environment, tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    run([*program, "-m", "words-5", "--dest", str(path), "q"], environment)
    assert path.read_text() == f"You: q\n\nollama/words-5: {fake_words(5)}\n\n"
    done = run([*program, "-m", "words-5", "--dest", str(tmp_path / "no" / "log.txt"), "q"],
               environment)
    assert done.returncode == 0 and done.stdout.decode() == fake_words(5) + "\n"
    assert done.stderr.count(b"cannot be written") == 1


# ---- where the output goes

@pytest.mark.parametrize("flags", ["", "--json"])
def test_a_reader_that_leaves(ollama: FakeOllama, program: list[str], environment: Environment,
                              flags: str) -> None:
    """The reply so far is kept, the server stops, and no broken pipe is reported."""
    done = shell(f'"$@" -m words-500@200 {flags} q | head -c 20; echo " ${{PIPESTATUS[0]}}"',
                 program, environment)
    request = ollama.wait_for()
    assert request.done.wait(10) and request.outcome == "client_left"
    assert (b"Traceback" not in done.stderr and b"Exception" not in done.stderr
            and b"BrokenPipe" not in done.stderr)
    assert int(done.stdout.split()[-1]) in (141, 1)
    assert stored(environment) == [("user", "complete"), ("assistant", "interrupted")]


@pytest.mark.parametrize("redirect", [">&-", ">&- 2>&-", "2>&-", "<&-"])
def test_closed_streams(ollama: FakeOllama, program: list[str], environment: Environment,
                        redirect: str) -> None:
    done = shell(f'"$@" -m words-5 q {redirect}', program, environment)
    assert done.returncode in (0, 1) and b"Traceback" not in done.stderr
    assert stored(environment)[-1] == ("assistant", "complete")
    if "<" in redirect:
        assert done.returncode == 0 and done.stdout.decode() == fake_words(5) + "\n"


def test_a_notice_between_does_not_stick_to_the_answer(
        program: list[str], environment: Environment, ollama: FakeOllama) -> None:
    """With 2>&1 a notice begins on a new line; separately, the answer has no additional character.
    """
    together = shell('"$@" -m cut-5 --retry-max-attempts 1 q 2>&1', program,
                     environment).stdout.decode()
    assert together.startswith(fake_words(5)) and len(together.splitlines()) > 1
    assert together.splitlines()[0] == fake_words(5).rstrip()
    apart = run([*program, "-m", "cut-5", "--retry-max-attempts", "1", "q"],
                environment).stdout.decode()
    assert "\n" not in apart.rstrip("\n")


@pytest.mark.parametrize("flags",
                         ["-m words-5 q", "-m words-5 --json q", "--help", "--version",
                          "--list-sessions"])
def test_a_full_device(ollama: FakeOllama, program: list[str], environment: Environment,
                       flags: str) -> None:
    run([*program, "-m", "words-5", "a session for the list"], environment)
    done = shell(f'"$@" {flags} > /dev/full', program, environment)
    assert done.returncode != 0, "what was not written was not answered"
    assert b"Traceback" not in done.stderr and 1 <= done.stderr.count(b"\n") <= 3, done.stderr
    assert {state for _, state in stored(environment)} <= {"complete", "interrupted"}


@pytest.mark.parametrize("more",
                         [{"LC_ALL": "C"}, {"LC_ALL": "POSIX"}, {"PYTHONIOENCODING": "latin-1"},
                          {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
                          {"PYTHONIOENCODING": "ascii"}])
def test_any_locale(ollama: FakeOllama, program: list[str], environment: Environment,
                    more: Environment) -> None:
    done = run([*program, "-m", "echo", "snow \u2603 man"], environment | more)
    assert done.returncode == 0 and done.stdout in ("snow \u2603 man\n".encode(),
                                                    b"snow \\u2603 man\n"), done.stderr
    listed = run([*program, "--list-sessions"], environment | more)
    assert listed.returncode == 0 and b"snow" in listed.stdout


@pytest.mark.parametrize("more", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}, {}])
def test_a_pipe_gets_no_styling(program: list[str], environment: Environment,
                                more: Environment) -> None:
    done = run([*program, "-p", "demo", "--demo-delay", "0", "markdown"], environment | more)
    assert done.returncode == 0 and b"\x1b" not in done.stdout + done.stderr
    assert done.stdout.startswith(b"# Markdown") and b"```python" in done.stdout


# ---- signals

@pytest.mark.parametrize("number, code",
                         [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_signal_in_an_answer(ollama: FakeOllama, program: list[str], environment: Environment,
                               number: int, code: int,
                               flags: list[str]) -> None:
    child = subprocess.Popen([*program, "-m", "slow", *flags, "q"], env=environment,
                             stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout and child.stderr
    came = child.stdout.read1(10)  # type: ignore[attr-defined]  # a BufferedReader
    child.send_signal(number)
    sent = time.monotonic()
    rest, told = child.communicate(timeout=20)
    assert child.returncode == code and time.monotonic() - sent < 5
    assert b"Traceback" not in told and told.count(b"\n") <= 3
    request, = ollama.chats
    assert request.done.wait(10) and request.outcome == "client_left"
    assert stored(environment) == [("user", "complete"), ("assistant", "interrupted")]
    if flags:
        last = events(came + rest)[-1]
        assert last["event"] == "message" and last["finish"] == "interrupted"
    else:
        assert fake_words(600).startswith((came + rest).decode().strip())


def test_a_signal_before_the_first_word(program: list[str], environment: Environment) -> None:
    with FakeOllama() as server:
        environment["OLLAMA_HOST"] = server.url
        child = subprocess.Popen([*program, "-m", "stall-0", "--json", "q"], env=environment,
                                 stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE)
        request = server.wait_for()
        child.send_signal(signal.SIGINT)
        output, _ = child.communicate(timeout=20)
        assert request.done.wait(10)
    assert child.returncode == 130
    assert events(output)[-1]["event"] == "error" and "Interrupted" in events(output)[-1]["message"]
    assert stored(environment)[0] == ("user", "complete")


def test_the_key_is_never_told(program: list[str], environment: Environment,
                               tmp_path: Path) -> None:
    secret = "sk-very-secret-0123456789"

    def refuse(request: Received) -> Any:
        return json_answer(
            {"error": {"message": f"wrong key {secret}", "type": "invalid_request_error"}}, 401)
    with FakeServer(refuse) as server:
        log = tmp_path / "debug.log"
        done = run([*program, "-p", "openai", "--base-url", server.url, "-m", "x", "--debug",
                    str(log), "q"],
                   environment | {"OPENAI_API_KEY": secret})
    assert done.returncode in (1, 2) and secret.encode() not in done.stdout + done.stderr
    assert not log.exists() or secret not in log.read_text()
    assert os.path.isdir(environment["HOME"])


@pytest.mark.parametrize("words",
                         [["hello"], ["--list-sessions"], ["--stats"], ["--list-providers"]])
def test_an_output_file_is_never_ignored(program: list[str], environment: Environment,
                                         tmp_path: Path, words: list[str]) -> None:
    done = subprocess.run([*program, *words, "-o", "answer.txt"], env=environment, cwd=tmp_path,
                          stdin=subprocess.DEVNULL,
                          capture_output=True, text=True)
    assert (done.returncode == 2 and done.stdout == ""
            and "--output names the file of an export" in done.stderr)
