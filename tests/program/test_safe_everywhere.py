"""Hostile text in every place where foreign text is shown: no control sequence of it reaches the
terminal.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fake_server import (Answer, FakeServer, Received, chat_line, done_line, json_answer,
                               json_line, lines_answer, pieces,
                               text_answer)
from tests.pseudo_terminal import CTRL_D, ENTER, ESCAPE, Terminal

Environment = dict[str, str]
# What the program itself may send: styles, erasing, moving the cursor, and what
# prompt_toolkit asks for at a prompt.
OWN = re.compile(r"\x1b\[[0-9;]*m|\x1b\[[0-9]*[ABCDJK]|\x1b\[6n|\x1b\[\?(?:2004|25|12|7|1)[hl]|"
                 # Asked together at the start and not apart: the background, and what
                 # every terminal answers.
                 r"\x1b\]11;\?\x1b\\\x1b\[c"
                 # The title of the window: kept, set to text without controls, and given back.
                 r"|\x1b\[2[23];2t|\x1b\]2;[^\x00-\x1f\x7f-\x9f]*\x1b\\")
OBEYED = [chr(code) for code in [*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, 0x2028,
                                 0x2029, *range(0x202A, 0x202F),
                                 *range(0x2066, 0x206A), *range(0xE0000, 0xE0080)]
          if chr(code) not in "\n\t"]
SEQUENCES = [
    "\x1b[2J", "\x1b[31m", "\x1b[1;1H", "\x1b]52;c;ZXZpbA==\x07", "\x1b]0;title\x1b\\",
    "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "\x1bP+q544e\x1b\\", "\x1b_apc\x1b\\",
    "\x1b^pm\x1b\\", "\x1bX sos\x1b\\",
    "\x1bc", "\x1b#8", "\x1b(0", "\x1b[?1049h", "\x1b[6n", "\x9b31m", "\x9d52;c;ZXZpbA==\x9c",
    "\x90q\x9c", "\x1b[20t",
    "\x1b[c", "\x1b[5i", "\x1b[1;31;40m", "\x1b[A", "\x1b[K",
]
HOSTILE = [*OBEYED, *SEQUENCES]
ALL = "".join(f"Q{each}Z" for each in HOSTILE)
SHORT = "".join(f"Q{each}Z" for each in SEQUENCES[:4]
                + ["\r", "\x08", "\x9b2J", "\u202e", "\U000e0041"])
ARGUMENT = SHORT + "".join(f"Q{chr(code)}Z" for code in range(1, 0x20))


def check(raw: bytes) -> None:
    """Only text and our own sequences, none of them in the place of a similar hostile one."""
    text = raw.decode()
    for each in HOSTILE:
        assert f"Q{each}Z" not in text, f"{each!r} went through"
    assert "Q" in text, "the hostile text was not shown at all"
    left = OWN.sub("", text)
    found = sorted({character for character in left
                    if character in OBEYED and character not in "\r\x08"})
    assert not found, f"{found} reached the terminal: {left[-300:]!r}"


def routes(chat: Answer, name: str = "m") -> FakeServer:
    """A server whose only model gives this answer."""
    def route(request: Received) -> Answer:
        if request.path == "/api/chat":
            return chat
        if request.path == "/api/tags":
            return json_answer({"models": [{"name": name, "model": name}]})
        if request.path == "/api/pull":
            return lines_answer([{"status": SHORT, "digest": "a", "total": 5, "completed": 1},
                                 {"error": SHORT}])
        return text_answer("404", 404)
    return FakeServer(route)


@pytest.fixture
def hostile(environment: Environment) -> Iterator[FakeServer]:
    with routes(json_answer({"error": SHORT}, 400)) as server:
        environment["OLLAMA_HOST"] = server.url
        yield server


def shown(command: list[str], environment: Environment, **more: Any) -> bytes:
    """Everything that a run writes to a terminal of 200 columns.

    Text that could not be saved is not written to any file.
    """
    with Terminal(command, environment, columns=200, **more) as terminal:
        terminal.wait_until(lambda: terminal.child.poll() is not None
                            or b"to which file?" in terminal.raw, "the end")
        terminal.send(ENTER)
        terminal.exit_status()
        return terminal.raw


def answered(program: list[str], environment: Environment, answer: Answer, *flags: str) -> bytes:
    with routes(answer) as server:
        environment["OLLAMA_HOST"] = server.url
        return shown([*program, "-m", "m", "--no-resume", "--retry-max-attempts", "1", *flags,
                      "question"], environment)


@pytest.mark.parametrize("kind", ["content", "thinking"])
@pytest.mark.parametrize("flags", [[], ["--no-markdown"], ["--color", "never"]])
def test_a_reply_cut_at_every_character(program: list[str], environment: Environment, kind: str,
                                        flags: list[str]) -> None:
    lines = [chat_line("m", **{kind: character}) for character in ALL]
    check(answered(program, environment,
                   lines_answer([*lines, chat_line("m", "."), done_line("m")]), *flags))


@pytest.mark.parametrize("around",
                         ["{}", "# {}\n", "- {}\n\n| {} | b |\n|---|---|\n| {} | d |\n",
                          "```{}\n{}\n```\n",
                          "[{}]({}) `{}` **{}**", "> {}\n\n1. {}\n"])
def test_a_reply_cut_at_every_byte(program: list[str], environment: Environment,
                                   around: str) -> None:
    """As one answer, and as replies of a chat that are cut in other places."""
    data = json_line(chat_line("m", around.replace("{}", SHORT))) + json_line(done_line("m"))
    check(answered(program, environment, Answer(pieces(data, 1))))
    sizes = iter((2, 3, 7, 100_000))

    def route(request: Received) -> Answer:
        return (Answer(pieces(data, next(sizes))) if request.path == "/api/chat"
                else json_answer({"models": [{"name": "m", "model": "m"}]}))
    with FakeServer(route) as server:
        environment["OLLAMA_HOST"] = server.url
        with Terminal([*program, "-m", "m", "--no-resume"], environment, columns=200) as chat:
            for number in range(4):
                chat.say(f"question {number}")
                chat.wait_prompt()
            chat.send(CTRL_D)
            assert chat.exit_status() == 0
            assert len([each for each in server.requests if each.path == "/api/chat"]) == 4
            check(chat.raw)


def test_calls_of_tools(program: list[str], environment: Environment) -> None:
    call = {"function": {"name": SHORT, "arguments": {SHORT: ALL}}}
    answer = lines_answer([chat_line("m", "calling", tool_calls=[call]), done_line("m")])
    check(answered(program, environment, answer, "--tools", "calculate", "--tool-rounds", "1"))
    check(answered(program, environment, answer, "--tools", "calculate", "--tool-rounds", "0"))


def test_failing_tools_repeat_what_they_were_given(program: list[str],
                                                   environment: Environment) -> None:
    call = {"function": {"name": "calculate", "arguments": {"expression": SHORT}}}
    answer = lines_answer([chat_line("m", "calling", tool_calls=[call]), done_line("m")])
    check(answered(program, environment, answer, "--tools", "calculate", "--tool-rounds", "1"))


@pytest.mark.parametrize("answer", [
    json_answer({"error": SHORT}, 400), json_answer({"error": SHORT}, 404),
    json_answer({"error": {"message": SHORT}}, 429),
    text_answer(SHORT, 500), text_answer(SHORT, 200), lines_answer([{"error": SHORT}]),
    lines_answer([chat_line("m", "half"), {"error": SHORT}]),
    lines_answer([chat_line("m", "x"), done_line("m", SHORT)]),
])
def test_errors_of_the_server(program: list[str], environment: Environment, answer: Answer) -> None:
    raw = answered(program, environment, answer)
    check(raw + b"Q")
    assert b"Traceback" not in raw


def test_waits_and_fallbacks(program: list[str], environment: Environment) -> None:
    busy = json_answer({"error": SHORT}, 503, {"Retry-After": "0"})
    check(answered(program, environment, busy, "--retry-max-attempts", "2", "--model-fallbacks",
                   f"other{ARGUMENT}"))


COMMANDS = [
    ["-m", ARGUMENT, "q"], ["-p", ARGUMENT, "q"], ["--session", ARGUMENT, "q"], [f"--{ARGUMENT}"],
    ["--temperature", ARGUMENT], ["--format", ARGUMENT], ["--config", ARGUMENT, "q"],
    ["--base-url", ARGUMENT, "-m", "m", "q"], ["--dest", f"/nowhere/{ARGUMENT}", "q"],
    ["--debug", f"/nowhere/{ARGUMENT}", "q"], ["--think", ARGUMENT], ["--export-session", ARGUMENT],
    ["--database-url", f"/proc/nothing/{ARGUMENT}", "q"], ["--tools", ARGUMENT, "q"],
    ["--context", ARGUMENT, "q"],
    ["--ollama-host", ARGUMENT, "-m", "m", "q"], ["--option", ARGUMENT, "q"],
]


@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_what_stood_on_the_command_line(hostile: FakeServer, program: list[str],
                                        environment: Environment,
                                        number: int) -> None:
    raw = shown([*program, "--retry-max-attempts", "1", *COMMANDS[number]], environment)
    check(raw + b"Q")
    assert b"Traceback" not in raw, raw.decode()[-900:]


def test_a_configuration_file(program: list[str], environment: Environment, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    for value in ({ARGUMENT: 1}, {"temperature": ARGUMENT}, {"think": ARGUMENT},
                  {"providers": {ARGUMENT: {ARGUMENT: 1}}}):
        path.write_text(json.dumps(value))
        raw = shown([*program, "--config", str(path), "q"], environment)
        check(raw + b"Q")
        assert b"Traceback" not in raw


def test_titles_of_sessions(program: list[str], environment: Environment) -> None:
    title = SHORT + "words to find"
    with routes(lines_answer([chat_line("m", "fine"), done_line("m")])) as server:
        environment["OLLAMA_HOST"] = server.url
        subprocess.run([*program, "-m", "m"], input=title.encode(), env=environment,
                       capture_output=True, timeout=60)
        check(shown([*program, "--list-sessions"], environment))
        with Terminal([*program, "--continue", "-m", "m"], environment, columns=200) as chat:
            chat.ask("/session", "This is session")
            chat.send(CTRL_D)
            chat.exit_status()
            check(chat.raw)
        with Terminal([*program, "--select-session"], environment, columns=200) as picker:
            picker.wait("1 of 1")
            picker.send(ESCAPE)
            picker.exit_status()
            check(picker.raw)
        output = Path(environment["HOME"], "out" + ARGUMENT.replace("/", ""))
        listed = subprocess.run([*program, "--list-sessions"], env=environment, capture_output=True,
                                text=True, timeout=60)
        raw = shown([*program, "--export-session", listed.stdout.split()[0], "--output",
                     str(output)], environment)
        check(raw + b"Q")
        for form in ("text", "markdown", "json", "csv", "sql"):
            check(shown([*program, "--export-session", listed.stdout.split()[0], "--format", form],
                        environment))


def test_names_of_models(program: list[str], environment: Environment) -> None:
    with routes(json_answer({"error": f"model '{SHORT}' not found"}, 404), name=SHORT) as server:
        environment["OLLAMA_HOST"] = server.url
        with Terminal(program, environment, columns=200) as chat:
            chat.ask("/model", "The model is")
            chat.say("hello")
            chat.wait(r"\[y/N\]")
            chat.send("y\r")
            chat.wait_prompt()
            chat.send(CTRL_D)
            chat.exit_status()
        check(chat.raw)
