"""An error that ends the program: with a mark in a terminal, in words elsewhere."""

from __future__ import annotations

import subprocess

import pytest

from tests.pseudo_terminal import Terminal

Environment = dict[str, str]

FAULTS = {"a wrong option": ("--modle", "x"), "a wrong provider": ("-p", "opnai", "hi"),
          "an answer that fails": ("-p", "demo", "fail")}


@pytest.mark.parametrize("words", FAULTS.values(), ids=FAULTS)
def test_a_terminal_shows_a_mark(program: list[str], environment: Environment,
                                 words: tuple[str, ...]) -> None:
    with Terminal([*program, *words], environment) as terminal:
        terminal.wait(r"^\u2717 \w.*\.$")
        terminal.wait("^  [A-Z]")
        assert "error:" not in terminal.text() and b"\x1b[1" in terminal.raw


@pytest.mark.parametrize("words", FAULTS.values(), ids=FAULTS)
def test_a_pipe_gets_words(program: list[str], environment: Environment,
                           words: tuple[str, ...]) -> None:
    done = subprocess.run([*program, *words], env=environment, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=60)
    assert done.stderr.startswith("error: ") and "\x1b" not in done.stderr


def test_a_command_line_that_is_not_valid_still_says_how_the_error_looks(
        program: list[str], environment: Environment) -> None:
    cases: list[tuple[tuple[str, ...], Environment, str, bool]] = [
        (("--plain-screen",), {}, "^Error: ", False),
        ((), {"ACCESSIBLE": "1"}, "^Error: ", False),
        (("--no-plain-screen",), {"ACCESSIBLE": "1"}, "^\u2717 ", True),
        (("--color=never",), {}, "^\u2717 ", False),
        (("--theme", "nonsense"), {}, "^\u2717 ", True),
        ((), {"TERM": "dumb"}, "^x ", False)]
    for words, more, mark, styles in cases:
        with Terminal([*program, "--modle", *words], environment | more) as terminal:
            terminal.wait(mark)
            terminal.wait(r"\?|auto")
            assert (b"\x1b[" in terminal.raw) is styles, (words, more)
