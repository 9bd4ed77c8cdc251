"""-h, --help and --help TOPIC, also in an installed copy without docs/."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.argument_parser import help_text, parse_arguments, short_help
from core.commands import all_commands
from core.config import SETTINGS
from core.config.setting import Setting
from core.config.pages import page_names, read_page
from tests.conftest import ROOT
from tests.pseudo_terminal import Terminal

Environment = dict[str, str]


def run(program: list[str], environment: Environment,
        *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*program, *words], env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(("words", "topic"), [
    (["-h"], "short"), (["--help"], "all"), (["-h", "tools"], "tools"),
    (["--help", "sessions"], "sessions"),
    (["--help=web"], "web"), (["--help", "--model"], "--model"),
    (["-m", "x", "--help", "--no-save"], "--no-save"),
    (["--help", "--nonsense"], "all"), (["hello", "-h"], "short")])
def test_what_is_asked_for(words: list[str], topic: str) -> None:
    assert parse_arguments(words, {}).help == topic


def test_short_help_fits_on_a_screen_and_names_real_options() -> None:
    for width in (60, 80, 110):
        assert all(len(line) <= max(width, 105) for line in short_help(width).splitlines())
    assert short_help(100).count("\n") < 36
    known = {flag for row in SETTINGS for flag in row.flags}
    assert set(re.findall(r"(?<!\S)--[a-z][a-z-]+(?= )", short_help(100))) <= known | {"--help"}


@pytest.mark.parametrize("page", page_names())
def test_every_page_is_a_topic(program: list[str], environment: Environment, page: str) -> None:
    done = run(program, environment, "--help", page)
    assert (done.returncode == 0 and read_page(page).strip() in done.stdout
            and ".md)" not in read_page(page))


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.name)
def test_every_option_is_a_topic(row: Setting) -> None:
    from core.command_line.topics import topic_text
    settings = parse_arguments([], {})
    for flag in row.flags:
        text = topic_text(flag, settings, 80)
        assert flag.lstrip("-") in text and all(name in text for name in row.env)


def test_commands_words_and_mistakes(program: list[str], environment: Environment) -> None:
    assert "Copy the last answer" in run(program, environment, "--help", "/copy").stdout
    assert "--help privacy" in run(program, environment, "--help", "proxy").stdout
    assert "--max-cost" in run(program, environment, "--help", "dollars").stdout
    for topic in ("seesions", "/nosuch", "qqqqqq"):
        done = run(program, environment, "--help", topic)
        assert (done.returncode == 2 and done.stdout == ""
                and len(done.stderr.splitlines()) == 2), done
    assert "Did you mean --help sessions?" in run(program, environment, "--help", "seesions").stderr


def test_help_that_a_message_names_exists() -> None:
    """No message names a file of docs/, which only a clone has; all topics in messages exist."""
    for path in sorted((ROOT / "core").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        outside = re.sub(r'(?s)""".*?"""|#[^\n]*', "", text)
        assert not re.search(r"\bdocs/[\w-]+\.md", outside), f"{path} names a page by its file"
        for topic in re.findall(r"(?<=--help )[a-z][\w-]*", outside):
            known = {*page_names(), "topics", "lists",
                     "proxy"} | {word for row in SETTINGS for word in row.group.lower().split()}
            assert topic in known, f"{path} names --help {topic}"


def test_an_installed_copy_carries_the_pages(environment: Environment, tmp_path: Path) -> None:
    """The pages are installed where pyproject.toml says."""
    assert '"share/doc/stream-chat" = ["docs/*.md"' in (ROOT / "pyproject.toml").read_text()
    for number, site in enumerate(("lib/python3.11/site-packages", ".")):
        prefix = tmp_path / f"prefix{number}"
        shutil.copytree(ROOT / "core", prefix / site / "core",
                        ignore=shutil.ignore_patterns("*.pyc.*"))
        for name in ("db.py", "stream_chat.py"):
            shutil.copy(ROOT / name, prefix / site / name)
        shutil.copytree(ROOT / "docs", prefix / "share" / "doc" / "stream-chat")
        done = run([sys.executable, str(prefix / site / "stream_chat.py")], environment, "--help",
                   "first-steps")
        assert "# First steps" in done.stdout, done.stderr


def test_a_terminal_gets_a_page_in_its_pager(program: list[str], environment: Environment,
                                             tmp_path: Path) -> None:
    """A page is rendered; it is printed if it fits on the screen or the pager does not work."""
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\necho BEGIN; cat; echo END\n")
    pager.chmod(0o755)
    for named, paged in ((str(pager), True), ("/no/such", False), ("cat", False), ("", False),
                         ("sh -c 'exit 3'", False)):
        with Terminal([*program, "--help", "first-steps"], environment | {"PAGER": named},
                      columns=80, lines=24) as chat:
            assert chat.exit_status() == 0
            shown = chat.text()
        assert ("First steps" in shown and "## 1." not in shown
                and "larger models that run here." in shown)
        assert ("BEGIN" in shown and "END" in shown) == paged, shown
    with Terminal([*program, "-h"], environment | {"PAGER": str(pager)}, columns=80,
                  lines=40) as chat:
        assert chat.exit_status() == 0 and "BEGIN" not in chat.text()


def test_in_a_chat(program: list[str], environment: Environment) -> None:
    with Terminal([*program, "-p", "demo"], environment, columns=80, lines=40) as chat:
        assert "/help page sessions" in chat.ask("/help sessions", "/sessions")
        assert "What leaves this computer" in chat.ask("/help privacy", "What leaves this computer")
        assert "first-steps" in chat.ask("/help pages", "/help NAME shows a page")
    assert {"sessions", "context", "tools"} <= set(all_commands()) & set(page_names())


def test_all_options_are_still_there() -> None:
    assert all(row.flags[-1] in help_text() or f"--[no-]{row.flags[-1][2:]}" in help_text()
               for row in SETTINGS)
