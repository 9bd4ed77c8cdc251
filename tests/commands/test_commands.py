"""Slash commands: one function each, found by name, alias or prefix; a new one needs no other file.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from core.chat.conversation import Chat
from core.commands import (
    ELSEWHERE, Leave, Outcome, Say, all_commands, command, find_command, run_command)
from core.commands.help import OFTEN, overview
from core.config import Settings
from core.dataclass import replace
from core.errors import UsageError
from core.model_manager import Providers, Target
from core.rendering.listing import table_lines
from core.rendering.table import Table
from core.session_manager import Session
from core.tool_executor import Toolbox
from core.tools import make_tool


@pytest.fixture
def chat() -> Chat:
    settings = Settings({"provider": "demo"}, environment={"HOME": "/nowhere"})
    return Chat(settings, Session(None), Providers(settings), Target("demo", "demo"),
                open_session=lambda name: Session(None))


def run(chat: Chat, line: str) -> Outcome:
    return asyncio.run(run_command(chat, line))


def test_every_command_says_what_it_does(chat: Chat) -> None:
    names = all_commands()
    assert {"help", "model", "new", "retry", "session", "drop", "system", "exit"} <= set(names)
    shown = run(chat, "/help")
    assert isinstance(shown, Table)
    words = [word for _, listed in shown.rows for word in listed.split()]
    assert all(f"/{name}" in words for name in names)
    every = run(chat, "/help all")
    assert isinstance(every, Table) and len(every.rows) == len(names)
    about = run(chat, "/help summarise")
    assert isinstance(about, Table) and ("/compact",
                                         names["compact"].help.splitlines()[0]) in about.rows
    assert len(about.rows) < len(names) and isinstance(run(chat, "/help keys"), Table)
    with pytest.raises(UsageError, match="No command has anything to do with zebra"):
        run(chat, "/help zebra")
    for name, entry in names.items():
        assert entry.help.strip() and entry.help[0].isupper(), name
        assert (find_command(name) is entry
                and all(find_command(alias) is entry for alias in entry.aliases))
        explained = run(chat, f"/help {name}")
        assert isinstance(explained, str) and f"/{name}" in explained


@pytest.mark.parametrize(("word", "found"), [
    ("picture", ["/paste", "@file"]), ("typo", ["/edit"]), ("copy", ["/copy"]),
    ("find", ["/search"]), ("temperature", ["/set"]), ("switch", ["/model"]),
    ("attach a picture", ["/paste", "@file"]), ("image", ["/paste", "@file"]),
    ("fix a typo", ["/edit"]), ("switch the model", ["/model"]), ("how do I copy code", ["/copy"]),
    ("last week's chat", ["/search"]), ("change temperature", ["/set"]),
    ("template", ["/prompts"]), ("save", ["/save"]), ("persona", ["/as"]), ("editor", [
        "Ctrl-X Ctrl-E"]), ("clear", ["/new", "Ctrl-L"]), ("ctrl-r", ["Up, Ctrl-R"])])
def test_help_finds_what_an_everyday_word_means(chat: Chat, word: str, found: list[str]) -> None:
    shown = run(chat, f"/help {word}")
    text = (str(shown.rows) + shown.note if isinstance(shown, Table) else str(shown))
    assert all(name in text for name in found), text


@pytest.mark.parametrize("properties", [None, True, 5, "text", [], ["a"], {}, {"a": None, "b": 1}])
def test_a_tool_is_described_whatever_the_form_of_its_schema(chat: Chat,
                                                             properties: object) -> None:
    def far(a: str) -> str:
        """Ask a server."""
        return a
    made = replace(make_tool(far), parameters={"type": "object", "properties": properties})
    chat.toolbox = Toolbox([made])
    taken = "a, b" if properties == {"a": None, "b": 1} else "nothing"
    assert f"It takes: {taken}\n\nAsk a server." in str(run(chat, "/tools far"))


def test_the_overview_fits_a_small_screen_and_begins_with_what_users_do_most() -> None:
    rows = overview([])
    lines = [*table_lines(("", ""), [list(row) for row in rows], 79)]
    assert len(lines) <= 18, "with the line of /help, the note and the prompt: 24"
    often = " ".join(said for _, said in rows[:len(OFTEN) + 1])
    for task in ("@chart.png", "/edit", "/copy code", "/search", "/set temperature 0.2", "/model",
                 "/prompts", "/save", "/fork", "/resume"):
        assert task in often, task


@pytest.mark.parametrize(("names", "said"), [
    (["review"], "/review; /prompts explains"),
    ([f"t{number}" for number in range(9)],
     "/t0, /t1, /t2, /t3, /t4, /t5 and 3 more; /prompts explains")])
def test_the_overview_names_your_templates(names: list[str], said: str) -> None:
    assert ("Templates", said) in overview(names)


@pytest.mark.parametrize(("line", "said"), [
    ("/temperature 0.3", "/set temperature 0.3?"), ("/temp", "/set temperature 0.2?"),
    ("/image a.png", "@PATH"), ("/attach x", "@PATH"),
    ("/find x", "/search"), ("/templates", "/prompts"), ("/clone", "/fork")])
def test_a_command_of_another_name_is_suggested(chat: Chat, line: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        run(chat, line)
    assert said in caught.value.hint


def test_words_of_other_programs_lead_to_commands() -> None:
    assert {line.split()[0] for line in ELSEWHERE.values()} <= set(all_commands()), "whole names"
    assert not set(ELSEWHERE) & set(all_commands())


@pytest.mark.processes
def test_their_order_is_that_of_their_modules_whichever_was_loaded_first() -> None:
    first = "import core.commands.window, core.commands.tools; "
    names = "from core.commands import all_commands; print(*all_commands())"
    run = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
           for code in (names, first + names)]
    assert run[0].stdout == run[1].stdout and run[0].stdout.split()


def test_beginnings_and_mistakes(chat: Chat) -> None:
    assert isinstance(run(chat, "/ex"), Leave) and isinstance(run(chat, "/EXIT"), Leave)
    for line, words in (("/exti", "Did you mean /exit"), ("/zzz", "/help lists"),
                        ("/", "/help lists")):
        with pytest.raises(UsageError) as raised:
            run(chat, line)
        assert words in raised.value.hint


def test_the_beginning_of_a_template_is_enough(chat: Chat, tmp_path: Path) -> None:
    folder = tmp_path / ".config" / "stream-chat" / "prompts"
    folder.mkdir(parents=True)
    for name in ("review", "outline", "outlaw"):
        (folder / f"{name}.md").write_text(f"{name}: {{{{input}}}}")
    chat.settings = Settings({"provider": "demo"}, environment={"HOME": str(tmp_path)})
    assert run(chat, "/rev this") == run(chat, "/review this") == Say("review: this")
    assert run(chat, "/REVI this") == Say("review: this")
    for line, words in (("/outl x", "It may be /outlaw or /outline."),    # two templates
                        ("/reveiw x", "Did you mean /review?")):
        with pytest.raises(UsageError) as raised:
            run(chat, line)
        assert words in raised.value.hint, raised.value.hint


def test_words_after_a_command_that_takes_none_are_refused(chat: Chat) -> None:
    for line in ("/undo now", "/drop 5", "/new nonsense", "/compact all"):
        with pytest.raises(UsageError, match="takes nothing after it") as raised:
            run(chat, line)
        assert f"{line.split()[0]} alone: " in raised.value.hint


def test_an_unknown_provider_or_format_is_told(chat: Chat) -> None:
    with pytest.raises(UsageError, match="There is no provider named 'nope'") as raised:
        run(chat, "/models nope")
    assert raised.value.hint.startswith("--list-providers (/providers in a chat)")
    with pytest.raises(UsageError) as raised:
        run(chat, "/models opnai")
    assert raised.value.hint.startswith("Did you mean openai?")
    for line, words in (("/export pdf x.pdf", "no format 'pdf'. Available: json, jsonl"),
                        ("/export json", "and a file"),
                        ("/export", "a format")):
        with pytest.raises(UsageError, match=words):
            run(chat, line)


def test_the_system_prompt(chat: Chat) -> None:
    run(chat, "/system be brief")
    assert chat.system == "be brief" and chat.request().system == "be brief"
    assert run(chat, "/system") == "System prompt: be brief"
    run(chat, "/system off")
    assert chat.system is None


def test_a_new_command_is_one_function(chat: Chat) -> None:
    @command("wave", usage="NAME")
    async def greet_all(chat: Chat, argument: str) -> Outcome:
        """Greet."""
        return f"hello {argument}"
    try:
        assert run(chat, "/greet-all you") == run(chat, "/wave you") == "hello you"
    finally:
        del all_commands()["greet-all"]


def test_count_before_anything_is_sent(chat: Chat, tmp_path: Path) -> None:
    assert (run(chat, "/count") == "The conversation so far has \u2248 0 tokens (estimated, "
            "\u00b10).")
    with_text = run(chat, "/count why is the sky blue?")
    assert (isinstance(with_text, str)
            and with_text.startswith("With this message, the next request has \u2248"))
    (tmp_path / "notes.md").write_text("tides " * 1_000)
    table = run(chat, f"/count {tmp_path}/notes.md")
    assert (isinstance(table, Table) and table.rows[0][0].endswith("notes.md")
            and "estimated" in table.rows[0][1])
    used = run(chat, "/usage")
    assert isinstance(used, str) and "The conversation has \u2248 0 tokens" in used
