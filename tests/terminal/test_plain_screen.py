"""A simulated screen reader reads a whole chat with --plain-screen: every character once, in order,
without cursor movement.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from tests.fake_server import FakeOllama
from tests.pseudo_terminal import CTRL_D, ENTER, Terminal

pytestmark = pytest.mark.processes
Environment = dict[str, str]


@pytest.fixture
def ollama(environment: Environment) -> Iterator[FakeOllama]:
    with FakeOllama(0, ("echo", "think", "words-5")) as server:
        environment["OLLAMA_HOST"] = server.url
        yield server


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_a_chat_is_heard_once_and_in_order(how: str, ollama: FakeOllama, program: list[str],
                                           environment: Environment) -> None:
    words = ["--plain-screen"] if how == "flag" else []
    variables = {} if how == "flag" else {"ACCESSIBLE": "1"}
    with Terminal([*program, "-m", "echo", *words],
                  environment | variables | {"STREAM_CHAT_STATUS": "on"}) as chat:
        chat.wait("^You:")
        chat.send("# Head *and* `code`" + ENTER)
        chat.wait("^Heading 1: Head and code$")
        chat.wait("^You:", 2)
        chat.send("/nosuch" + ENTER)
        chat.wait("^Error: There is no command /nosuch")
        chat.wait("^You:", 3)
        chat.send(CTRL_D)
        assert chat.exit_status() == 0
        heard = chat.raw.decode().replace("\r\n", "\n")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]",
                         heard), ("a cursor moved, or something was styled")
    assert re.fullmatch(
        r"echo on ollama [^\n]*\n/help lists commands\. [^\n]*\n\n"
        r"You: # Head \*and\* `code`\n\necho:\nHeading 1: Head and code\n\n"
        r"(1 token, )?[\d.]+ m?s\n\n"
        r"You: /nosuch\nError: There is no command /nosuch\.\n[^\n]*\n\nYou: \n\n"
        r"Saved as [^\n]+\nResume with [^\n]+\n", heard), heard


def test_a_resumed_chat_names_who_spoke(ollama: FakeOllama, program: list[str],
                                        environment: Environment) -> None:
    for words in ("short", "top\n" + "- a point\n" * 40 + "end"):
        subprocess.run([*program, "-m", "echo", words], env=environment, check=True,
                       capture_output=True, stdin=subprocess.DEVNULL)
        with Terminal([*program, "-c", "--plain-screen"], environment, lines=24) as chat:
            chat.wait(r"^(?:short|end)$(?s:.*)^You:$", 1)
            assert chat.text().count("\necho:\n") == 1


def test_thinking_and_code_are_words(ollama: FakeOllama, program: list[str],
                                     environment: Environment) -> None:
    with Terminal([*program, "-m", "think", "--plain-screen", "q"], environment) as chat:
        assert chat.exit_status() == 0
        shown = rb"Thought for [\d.]+ m?s, 3 words\r\n\r\nthink:\r\nw0 w1 w2 w3 w4\r\n"
        assert re.fullmatch(shown, chat.raw), chat.raw


@pytest.mark.parametrize(("screen", "words", "question"), [
    ("--plain-screen", "", "You:"),
    ("--no-plain-screen", "!echo done", r"\? Run `echo done` in your shell\? \[y/N\]")])
def test_what_is_asked_is_said_again_when_the_program_is_resumed(
        screen: str, words: str, question: str, ollama: FakeOllama, program: list[str],
        environment: Environment) -> None:
    """The terminal discards an unfinished line, and nothing else would show that input is expected.
    """
    command = " ".join(map(shlex.quote, [*program, "-m", "echo", screen]))
    with Terminal(["bash", "--norc", "--noediting", "-i"],
                  environment | {"PS1": "shell: "}) as chat:
        chat.wait("^shell:")
        chat.send(command + ENTER)
        chat.wait("^(You:|\u203a)")
        chat.send(words + ENTER if words else "")
        chat.wait(f"^{question}")
        chat.send("\x1a")
        chat.wait("Stopped")
        chat.send("fg" + ENTER)
        chat.wait(f"^{question}", 2)
        chat.send("y" + ENTER)
        chat.wait("^done$" if words else "^echo:\ny$")
        if words:
            chat.wait(r"Add the line .*\[y/N\]")
            chat.send("n" + ENTER)
        chat.wait("^(You:|\u203a)", 2 if words else 3)
        assert len(re.findall(f"^{question}", chat.text(), re.MULTILINE)) == 2 + (not words)
        chat.send(CTRL_D)
        chat.wait("^shell:$")
        chat.send("exit" + ENTER)
