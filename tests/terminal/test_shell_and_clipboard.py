"""Shell commands with !, /paste, pictures dropped on the terminal, and /copy through the terminal.
"""

from __future__ import annotations

import base64
import io
import random
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image as Pillow

from core.console.typeahead import Typed
from core.terminal.pictures import dropped_paths, dropped_pictures
from core.terminal.shell import Ran, draft_of, shell_line
from tests.fake_server import FakeOllama
from tests.pseudo_terminal import ENTER, Terminal

Environment = dict[str, str]
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
PASTE = "\x1b[200~{}\x1b[201~"


@pytest.fixture
def ollama(environment: Environment) -> Iterator[FakeOllama]:
    with FakeOllama(models=("echo", "words-5")) as server:
        environment["OLLAMA_HOST"] = server.url
        yield server


@pytest.fixture
def chat(ollama: FakeOllama, program: list[str], environment: Environment,
         tmp_path: Path) -> Iterator[Terminal]:
    with Terminal([*program, "-m", "words-5"], environment, cwd=tmp_path) as terminal:
        yield terminal


@pytest.fixture
def sight(environment: Environment) -> None:
    """The configuration says that the model sees pictures."""
    config = Path(environment["HOME"], ".config", "stream-chat", "config.yaml")
    config.parent.mkdir(parents=True)
    config.write_text("providers:\n  ollama:\n    models:\n      words-5: {vision: true}\n")


def last_asked(server: FakeOllama) -> str:
    said = [message["content"] for message in server.chats[-1].json["messages"]
            if message["role"] == "user"]
    return str(said[-1])


def answer(chat: Terminal, question: str, key: str) -> None:
    chat.wait(question)
    chat.send(key + ENTER)


# ---- !command

def test_a_command_is_asked_about_once_and_its_output_joins_the_next_message(
        chat: Terminal, ollama: FakeOllama) -> None:
    chat.say("!printf 'one\\ntwo\\n'")
    answer(chat, r"Run `printf .* in your shell\? \[y/N\]", "y")
    answer(chat, r"^one\ntwo\n\? Add the 2 lines to your next message", "y")
    chat.wait(r"^  two\n  ```")
    chat.send("what is this?" + ENTER)
    chat.wait("w4")
    assert (last_asked(ollama) == "Output of `printf 'one\\ntwo\\n'`:\n```\none\ntwo\n```\nwhat "
            "is this?")
    chat.say("!exit 3")
    chat.wait(r"^\u00b7 Ended with 3\.\n\u00b7 It printed nothing else\.")
    chat.wait_prompt()
    assert chat.text().count("in your shell?") == 1 and len(ollama.chats) == 1


def test_a_no_runs_nothing(chat: Terminal, tmp_path: Path) -> None:
    chat.say("!touch made")
    answer(chat, r"in your shell\?", "")
    chat.wait("Not run")
    chat.wait_prompt()
    assert not (tmp_path / "made").exists()


def test_what_was_pasted_is_asked_about_each_time(chat: Terminal, tmp_path: Path) -> None:
    chat.say("!true")
    answer(chat, r"in your shell\?", "y")
    chat.wait_prompt()
    chat.send(PASTE.format("!touch made"))
    chat.wait("!touch made")
    chat.send(ENTER)
    answer(chat, r"Run `touch made`", "n")
    chat.wait("Not run")
    assert not (tmp_path / "made").exists()


def test_ctrl_c_stops_a_command_and_all_that_it_started(chat: Terminal, tmp_path: Path) -> None:
    chat.say("!echo begun; (sleep 600; touch late) & wait")
    answer(chat, r"in your shell\?", "y")
    chat.wait("^begun")
    chat.interrupt()
    chat.wait("Stopped.")
    chat.wait_prompt()
    chat.say("!echo again")
    chat.wait(r"^again\n\? Add the line")


def test_output_cannot_move_the_terminal(chat: Terminal) -> None:
    chat.say("!printf '\\033[2Jgone\\007'")
    answer(chat, r"in your shell\?", "y")
    chat.wait("Add the line")
    assert "in your shell?" in chat.text(), "the screen was not cleared"


@pytest.mark.parametrize(("text", "command"), [
    ("!git diff", "git diff"), ("!ls", "ls"), ("! ls", ""), ("!", ""), ("!!", ""), (" !ls", ""),
    ("why!", ""),
    ("!one\ntwo", ""), ("!ls\n", "ls")])
def test_which_lines_are_commands(text: str, command: str) -> None:
    assert shell_line(Typed(text)) == command


def test_output_with_fences_is_one_block() -> None:
    text = draft_of("cat x", Ran("a\n```\nb", 7, 1))
    assert (text == "Output of `cat x` (ended with 1):\n````\na\n```\nb\n[7 characters are left "
            "out here]\n````\n")


# ---- pictures

def test_what_counts_as_dropped(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for number in range(40):
        name = ("".join(chance.choices("ab '\"$&()[]\u00e4\u6f22%#", k=8)).strip()
                + chance.choice([".png", ".JPG", ".webp"]))
        path = tmp_path / name
        path.write_bytes(PNG)
        for text in (str(path), shlex.quote(str(path)), path.as_uri(),
                     f" {shlex.quote(str(path))} "):
            assert dropped_pictures([text]) == [str(path)], text
    (tmp_path / "secret.txt").write_text("x")
    for text in (f"{tmp_path}/secret.txt", "relative.png", f"look at {path}", "", "\n",
                 f"{tmp_path}/missing.png", "'"):
        assert dropped_pictures([text]) == []
    assert dropped_paths(f"{tmp_path}/secret.txt")


def test_a_dropped_picture_goes_with_the_message_and_stays_in_the_session(
        sight: None, chat: Terminal, ollama: FakeOllama, program: list[str],
        environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "my chart.png").write_bytes(PNG)
    chat.wait_prompt()
    chat.send("what is wrong in ")
    chat.send(PASTE.format(shlex.quote(str(tmp_path / "my chart.png"))))
    chat.wait(r"png'")
    chat.send(" here?" + ENTER)
    chat.wait(r"^\+ my chart\.png  1 × 1, 70 bytes")
    chat.wait("w4")
    (tmp_path / "my chart.png").unlink()
    chat.ask("and now?", "w4", 2)
    for asked in ollama.chats[-2:]:
        [picture] = [image for message in asked.json["messages"]
                     for image in message.get("images", ())]
        assert base64.b64decode(picture) == PNG
    with Terminal([*program, "--continue"], environment) as again:
        again.ask("/history", r"^\+ my chart\.png  1 × 1, 70 bytes")


def test_a_scan_is_converted_for_the_model_and_kept_as_it_was(
        sight: None, chat: Terminal, ollama: FakeOllama, tmp_path: Path) -> None:
    scan = tmp_path / "scan.bmp"
    Pillow.new("RGB", (60, 40), "red").save(scan)
    before = scan.read_bytes()
    chat.wait_prompt()
    chat.send(PASTE.format(scan))
    chat.wait("scan.bmp")
    chat.send(ENTER)
    chat.wait(r"scan\.bmp was sent as PNG, 60 × 40")
    chat.wait("w4")
    chat.ask("and now?", "w4", 2)
    assert chat.text().count("was sent as") == 1
    for asked in ollama.chats[-2:]:
        [picture] = [image for message in asked.json["messages"]
                     for image in message.get("images", ())]
        assert Pillow.open(io.BytesIO(base64.b64decode(picture))).format == "PNG"
    chat.ask(f"/export {tmp_path}/out.json", "out.json")
    assert base64.b64encode(before).decode() in (tmp_path / "out.json").read_text()


def test_what_is_no_picture_is_not_sent_as_one(chat: Terminal, ollama: FakeOllama,
                                               tmp_path: Path) -> None:
    (tmp_path / "fake.png").write_text("words")
    chat.wait_prompt()
    chat.send(PASTE.format(tmp_path / "fake.png"))
    chat.wait("fake.png")
    chat.send(ENTER)
    chat.wait("is not a picture, or of an unknown format")
    assert not ollama.chats


# ---- the clipboard

def fake_clipboard(tmp_path: Path, environment: Environment, *, text: str = "",
                   picture: bytes = b"") -> Environment:
    """A wl-paste that has this."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "text").write_text(text)
    (folder / "picture").write_bytes(picture)
    (folder / "wl-paste").write_text(f'#!/bin/sh\ncase "$*" in *image*) cat {folder}/picture;; *) '
                                     f'cat {folder}/text;; esac\n')
    (folder / "wl-paste").chmod(0o755)
    return environment | {"PATH": f"{folder}:{environment['PATH']}", "WAYLAND_DISPLAY": "wayland-0"}


def test_text_of_the_clipboard_begins_the_next_message(
        program: list[str], environment: Environment, ollama: FakeOllama, tmp_path: Path) -> None:
    lines = "".join(f"line {number}\n" for number in range(40))
    with Terminal([*program, "-m", "words-5"],
                  fake_clipboard(tmp_path, environment, text=lines)) as chat:
        chat.say("/paste")
        chat.wait(r"\[40 lines pasted\]")
        chat.send("why?" + ENTER)
        chat.wait("w4")
    assert last_asked(ollama) == f"{lines}why?"


def test_a_picture_of_the_clipboard_goes_with_the_next_message(
        sight: None, program: list[str], environment: Environment, ollama: FakeOllama,
        tmp_path: Path) -> None:
    with Terminal([*program, "-m", "words-5"],
                  fake_clipboard(tmp_path, environment, picture=PNG)) as chat:
        chat.ask("/paste", r"^\+ clipboard\.png  1 × 1, 70 bytes, with your next message")
        chat.ask("what is this?", "w4")
        chat.ask("and nothing new", "w4", 2)
    pictures = [image for message in ollama.chats[-1].json["messages"]
                for image in message.get("images", ())]
    assert list(map(base64.b64decode, pictures)) == [PNG]


def test_a_model_without_sight_gets_the_text_and_that_is_said(
        program: list[str], environment: Environment, ollama: FakeOllama, tmp_path: Path) -> None:
    with Terminal([*program, "-m", "words-5"],
                  fake_clipboard(tmp_path, environment, picture=PNG)) as chat:
        chat.ask("/paste", "with your next message")
        assert "image" in chat.ask("what is this?", "w4")
    assert "left out, this model does not see images" in last_asked(ollama)
    assert "images" not in ollama.chats[-1].json["messages"][-1]


def test_an_empty_clipboard_and_none_at_all(
        program: list[str], environment: Environment, ollama: FakeOllama, tmp_path: Path) -> None:
    with Terminal([*program, "-m", "words-5"], environment | {"PATH": "/nowhere"}) as chat:
        assert "no clipboard program was found" in chat.ask("/paste", "clipboard program")
    with Terminal([*program, "-m", "words-5"], fake_clipboard(tmp_path, environment)) as chat:
        assert "no text and no picture" in chat.ask("/paste", "no text")


def test_the_terminal_copies_when_it_is_asked_to(program: list[str], environment: Environment,
                                                 ollama: FakeOllama) -> None:
    with Terminal([*program, "-m", "words-5", "--clipboard", "osc52"], environment) as chat:
        chat.ask("hello", "w4")
        chat.ask("/copy", r"Copied 1 line through the terminal")
    assert b"\x1b]52;c;" + base64.b64encode(b"w0 w1 w2 w3 w4") in chat.raw
    with Terminal([*program, "-m", "words-5"], environment | {"PATH": "/nowhere"}) as chat:
        chat.ask("hello", "w4")
        assert "/set clipboard" in chat.ask("/copy", "Nothing was copied")
        assert b"\x1b]52;" not in chat.raw
        chat.ask("/set clipboard osc52", "clipboard is osc52")
        chat.ask("/copy", "Copied 1 line through the terminal")
