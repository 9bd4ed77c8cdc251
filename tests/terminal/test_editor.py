"""Ctrl-X Ctrl-E edits the prompt's text in the user's editor."""

from __future__ import annotations

from pathlib import Path

from tests.pseudo_terminal import CTRL_C, Terminal

Environment = dict[str, str]
EDIT = "\x18\x05"


def test_the_text_comes_back_to_the_prompt_and_an_editor_that_fails_changes_nothing(
        program: list[str], environment: Environment, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\ngrep -q broken \"$1\" && exit 3\nprintf 'more' >> \"$1\"\n")
    editor.chmod(0o755)
    environment = environment | {"EDITOR": str(editor), "VISUAL": ""}
    with Terminal([*program, "-p", "demo"], environment) as chat:
        chat.wait_prompt()
        chat.send(f"echo once {EDIT}")
        chat.wait("^\u203a echo once more$")
        chat.send("\r")
        chat.wait("^once more$")
        chat.wait_prompt()
        chat.send(f"broken {EDIT}")
        # the path is long, so the line may wrap anywhere
        chat.wait(r"failed\s+with\s+exit\s+code\s+3;\s+the\s+text\s+is\s+unchanged")
        chat.wait("^\u203a broken$")
        chat.send(CTRL_C)
        pasted = "echo " + "\n".join(f"row {number}" for number in range(20))
        chat.send(f"\x1b[200~{pasted}\x1b[201~")
        chat.wait("lines pasted")
        chat.wait("^  Ctrl-X Ctrl-E edits the pasted text \u00b7 paste again to unfold it$")
        chat.send(EDIT)
        chat.wait("^  row 19more$")


def test_an_editor_that_is_not_there_is_named(program: list[str], environment: Environment) -> None:
    environment = environment | {"EDITOR": "no-such-editor", "VISUAL": ""}
    with Terminal([*program, "-p", "demo"], environment) as chat:
        chat.wait_prompt()
        chat.send(f"draft{EDIT}")
        chat.wait("The editor no-such-editor cannot be started: No such file or directory")
        chat.wait("^\u203a draft$")
        chat.send(CTRL_C)
        chat.ask("echo one", "^one$")
        chat.say("/edit")
        chat.wait("The message is at the prompt instead")
        chat.wait("^\u203a /edit echo one$")


def test_a_question_is_changed_at_the_prompt_where_no_editor_is_set(
        program: list[str], environment: Environment) -> None:
    environment = environment | {"EDITOR": "", "VISUAL": ""}
    with Terminal([*program, "-p", "demo"], environment) as chat:
        chat.ask("echo a thraed", "^a thraed$")
        chat.say("/edit")
        chat.wait("^\u203a /edit echo a thraed$")
        chat.send("\x7f" * 5 + "read\r")
        chat.wait("^a tread$")
        chat.ask("echo once", "^once$")
        chat.say("/edit -2")
        chat.wait("^\u203a /edit -2 echo a tread$")


def test_a_question_that_begins_with_a_number_is_not_taken_for_another_question(
        program: list[str], environment: Environment) -> None:
    environment = environment | {"EDITOR": "", "VISUAL": ""}
    with Terminal([*program, "-p", "demo"], environment) as chat:
        chat.ask("5 apples", "This is the demo")
        chat.say("/edit")
        chat.wait("^\u203a /edit -1 5 apples$")
        chat.send(" and pears\r")
        chat.wait("^\u203a /edit -1 5 apples and pears$")
        chat.wait_prompt()
        assert "There is no" not in chat.text()


def test_a_plain_screen_without_an_editor_says_what_to_type(
        program: list[str], environment: Environment) -> None:
    environment = environment | {"EDITOR": "", "VISUAL": "", "ACCESSIBLE": "1"}
    with Terminal([*program, "-p", "demo"], environment) as chat:
        chat.wait("^You:$")
        chat.send("echo words\r")
        chat.wait("^You:$")
        chat.send("/edit\r")
        chat.wait("No editor is set.")
        chat.wait("/edit TEXT")
