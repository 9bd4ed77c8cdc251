"""Every option, command, page and file in a message of the program exists: advice works as it is
printed.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from core.argument_parser import parse_arguments
from core.command_line.topics import topic_text
from core.commands import find_command
from core.config import SETTINGS
from core.errors import UsageError
from tests.conftest import NOTHING_LISTENS, ROOT

FLAGS = {form: row for row in SETTINGS for flag in row.flags for form in (flag, f"--no-{flag[2:]}")}
# Options of other programs, and the command of the chat that is an example of one's own.
FOREIGN = {"--python": "uv"}
EXAMPLES = {"/review"}
# Text that is not a message: styles of a page, the widget of a shell.
NOT_MESSAGES = {"core/sessions/html_page.py"}
VALUE = re.compile(r"(--[a-z][a-z-]+) ([0-9][0-9.]*[km]?|on|off|last|json|true|false)(?![\w{])")


def messages() -> Iterator[tuple[str, str]]:
    """(place, text) of all text in the program that may be shown; inserted values are NUL."""
    for path in sorted((ROOT / "core").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name not in NOT_MESSAGES:
            for line, text in texts_of(ast.parse(path.read_text(encoding="utf-8"))):
                if " " in text.strip():
                    yield f"{name}:{line}", text


@cache
def all_messages() -> tuple[tuple[str, str], ...]:
    return tuple(messages())


def texts_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    spared = {id(body[0].value) for node in ast.walk(tree)
              if isinstance(body := getattr(node, "body", None), list) and body
              and isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            spared |= set(map(id, node.values))
            yield node.lineno, "".join(str(value.value) if isinstance(value, ast.Constant) else "\0"
                                       for value in node.values)
        elif (isinstance(node, ast.Constant) and isinstance(node.value, str)
              and id(node) not in spared):
            yield node.lineno, node.value


def named(pattern: str) -> dict[str, str]:
    """The names of this form in messages, and the first place of each."""
    found: dict[str, str] = {}
    for where, text in all_messages():
        for word in re.findall(pattern, text):
            found.setdefault(word, where)
    return found


def test_options_exist() -> None:
    words = named(r"(?<![\w\-{])--[a-z][a-z-]*[a-z](?!-?\0)")
    assert len(words) > 50
    assert {word: where for word, where in words.items()
            if word not in FLAGS and word not in FOREIGN} == {}


def test_values_that_are_shown_with_an_option_are_taken() -> None:
    shown = {pair: where for where, text in all_messages()
             for pair in VALUE.findall(text) if pair[0] in FLAGS}
    assert len(shown) >= 3
    for (flag, value), where in shown.items():
        try:
            parse_arguments([flag, value] if FLAGS[flag].kind is not bool else [flag, "word"], {})
        except UsageError as error:
            pytest.fail(f"{where}: {flag} {value}: {error.message}")


def test_commands_of_the_chat_exist() -> None:
    words = named(r"(?:(?<=[\s(`'\"])|^)/[a-z][a-z-]*[a-z](?![\w/.:\0-])")
    assert len(words) > 40
    assert {word: where for word, where in words.items()
            if find_command(word[1:]) is None and word not in EXAMPLES} == {}


def test_topics_of_help_exist() -> None:
    settings = parse_arguments([], {})
    words = named(r"--help ([a-z][a-z-]+[a-z])(?!\0)")
    assert len(words) > 5
    for word, where in words.items():
        assert topic_text(word, settings, 80), f"{where}: --help {word}"


def test_targets_of_make_and_files_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word, where in named(r"`make ([a-z]+)`").items():
        assert re.search(rf"^{word}:", makefile, re.MULTILINE), f"{where}: make {word}"
    for word, where in named(r"(?<![\w/])(?:docs/[\w-]+\.md|requirements[\w-]*\.txt)").items():
        assert (ROOT / word).is_file(), f"{where}: {word}"
    extras = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for word, where in named(r"stream-chat\[([\w-]+)\]").items():
        assert re.search(rf"^{word} = ", extras, re.MULTILINE), f"{where}: the extra {word}"


# ---- followed, as they are printed

# What fails, a pattern for the advice in its message, and what following it is: {0} and {1} are
# what the pattern finds.
FOLLOWED: dict[str, tuple[str, str, str]] = {
    "a file is there": ("--export-session last -o out.md", r"replace it with (--force)",
                        "--export-session last -o out.md {0}"),
    "an option is misspelt": ("--modle demo/demo hi", r"Did you mean (--\w+)\?",
                              "{0} demo/demo hi"),
    "a provider is misspelt": ("-p demoo hi", r"Did you mean (\w+)\?", "-p {0} hi"),
    "providers are listed": ("-p nosuch hi", r"(--list-providers)", "{0}"),
    "a format is unknown": ("--export-session last -f mdd", r"one of: .*\b(markdown)\b",
                            "--export-session last -f {0}"),
    "an ending is unknown": ("--export-session last -o x.pdf", r"(--format) ?",
                             "--export-session last -o x.pdf {0} markdown"),
    "a session is unknown": ("--session nosuch hi", r"(--list-sessions)", "{0}"),
    "a topic is unknown": ("--help nosuchtopic", r"(--help topics)", "{0}"),
    "a session was deleted": ("--delete-session last --yes", r"(--undelete \S+) brings", "{0}"),
    "a number is unreadable": ("--num-ctx x -p demo hi", r"such as (\d+) or (\w+)",
                               "--num-ctx {1} -p demo hi"),
    "a span is unreadable": ("--prune 30", r"Write (\w+), ", "--prune {0} --yes"),
    "a key is missing": ("-p groq hi", r"(--set-key \w+)", "{0}"),
    "an agent is unknown": ("--as nosuch hi", r"\((--help \w+)\)", "{0}"),
    "nothing is set up": ("hi", r"(--provider demo)", "{0} hi"),
}


@pytest.mark.processes
@pytest.mark.parametrize("case", FOLLOWED)
def test_advice_is_followed(case: str, program: list[str], environment: dict[str, str],
                            tmp_path: Path) -> None:
    wrong, advice, right = FOLLOWED[case]

    def run(words: str) -> subprocess.CompletedProcess[str]:
        given = ({name: value for name, value in environment.items() if name != "OLLAMA_HOST"}
                 | {"OLLAMA_HOST": NOTHING_LISTENS})
        return subprocess.run([*program, *words.split()], env=given, cwd=tmp_path,
                              capture_output=True, text=True,
                              encoding="utf-8", input="sk-of-a-test-0123456789\n"
                              if "--set-key" in words else "")
    run("-p demo hello")
    (tmp_path / "out.md").write_text("something else")
    failed = run(wrong)
    found = re.search(advice, failed.stdout + failed.stderr)
    assert found is not None, failed.stderr
    assert failed.stderr.count("\n") <= 3 or case == "nothing is set up"
    followed = run(right.format(*found.groups()))
    assert followed.returncode == 0 and "error:" not in followed.stderr, followed.stderr
