"""An empty value is not the same as a missing one: every option rejects it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from core.argument_parser import parse_arguments
from core.config import SETTINGS
from core.config.setting import Setting
from core.errors import UsageError

HOME = {"HOME": "/nowhere"}


def _refused(row: Setting) -> Iterator[list[str]]:
    """Every way to give this option an empty value that means nothing."""
    for flag in row.flags if row.kind is not bool else ():
        ways = [[flag, ""], [f"{flag}="], [flag, " "], [flag, "\t\n"]]
        if row.kind is list and row.split:
            ways.append([flag, " , ,"])
        if row.kind is dict:
            ways += [[flag, "name="], [flag, "name= "]]
        yield from (words for words in ways if not _means_something(row, words))


def _means_something(row: Setting, words: list[str]) -> bool:
    value = words[-1].partition("=")[2] if "=" in words[-1] else words[-1]
    if row.value_if_bare is not None and len(words) == 2:
        return True     # the flag needs no value: the empty word is the question
    if row.kind is dict and "name=" not in words[-1]:
        return False
    return row.blank == "empty" or row.blank == "spaces" and value != ""


@pytest.mark.parametrize("row", [row for row in SETTINGS if any(_refused(row))],
                         ids=lambda row: row.name)
def test_an_empty_value_is_refused(row: Setting) -> None:
    for words in _refused(row):
        with pytest.raises(UsageError) as caught:
            parse_arguments([*words, "question"], HOME)
        assert row.flags[-1] in caught.value.message and caught.value.exit_code == 2, words


def test_where_an_empty_value_means_something_it_is_kept() -> None:
    assert parse_arguments(["--system", "", "q"],
                           HOME | {"STREAM_CHAT_SYSTEM": "a pirate"}).system == ""
    assert parse_arguments(["--option", "suffix=", "q"], HOME).option == {"suffix": ""}
    assert parse_arguments(["--stop", "\n", "q"], HOME).stop == ("\n",)
    assert {row.name for row in SETTINGS if row.blank} == {"system", "option", "stop"}


@pytest.mark.parametrize("words", [
    ["--set-key", ""], ["--export-session", ""], ["--delete-session", "", "--yes"], ["--pull", ""],
    ["--modelfile="],
    ["--think", ""], ["--system", "x", ""], [""], ["", " "], ["--", ""]])
def test_nothing_is_asked_instead(program: list[str], environment: dict[str, str],
                                  words: list[str]) -> None:
    """The text on standard input is not sent, not saved and not shown."""
    done = subprocess.run([*program, "-p", "demo", *words], env=environment, capture_output=True,
                          text=True, timeout=60,
                          input="a secret")
    assert done.returncode == 2 and done.stdout == "" and "secret" not in done.stderr
    assert 1 <= len(done.stderr.splitlines()) <= 3
