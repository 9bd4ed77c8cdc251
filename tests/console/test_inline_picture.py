"""Pictures in the terminal, only if it is known to support them."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from core.console.inline_picture import picture_sequence, protocol
from core.messages import Image
from tests.fake_server import FakeOllama
from tests.pseudo_terminal import CTRL_C, CTRL_D, Terminal

Environment = dict[str, str]
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==")
KITTY, ITERM = {"TERM": "xterm-kitty"}, {"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}


def image(data: bytes) -> Image:
    return Image("image/png", base64.b64encode(data).decode(), "x.png")


@pytest.mark.parametrize(("environment", "found"), [
    (KITTY, "kitty"), ({"TERM": "xterm-ghostty"}, "kitty"), (ITERM, "iterm2"),
    ({"TERM_PROGRAM": "WezTerm"}, "iterm2"),
    ({"LC_TERMINAL": "iTerm2", "TERM": "xterm"}, "iterm2"), ({}, ""),
    ({"TERM": "xterm-256color"}, ""),
    ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, ""), ({"TERM_PROGRAM": "vscode"}, ""),
    (KITTY | {"TMUX": "x"}, ""),
    (ITERM | {"TERM": "screen-256color"}, ""), (KITTY | {"STY": "x"}, ""), ({"TERM": "linux"}, "")])
def test_which_terminals_draw(environment: Environment, found: str) -> None:
    assert protocol(environment) == found


def test_kitty_gets_chunks_and_is_to_answer_nothing() -> None:
    data = PNG[:16] + (100).to_bytes(4, "big") + (90).to_bytes(4, "big") + bytes(9000)
    parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", picture_sequence(image(data), KITTY))
    assert base64.b64decode("".join(piece for _, piece in parts)) == data
    assert parts[0][0] == "a=T,f=100,q=2,r=5,m=1" and parts[-1][0] == "q=2,m=0"
    assert all(len(piece) <= 4096 and "q=2" in head for head, piece in parts)


def test_iterm2_gets_one_piece() -> None:
    sequence = picture_sequence(image(PNG), ITERM)
    assert re.fullmatch(
        r"\x1b\]1337;File=inline=1;size=\d+;height=1;preserveAspectRatio=1:[A-Za-z0-9+/=]+\x07",
        sequence)


@pytest.mark.parametrize("data", ["", "\x1b]0;x\x07", "AAAA\x1b\\", "A" * (5 << 20), "R0lGODlh"])
def test_what_cannot_be_drawn_is_not_sent(data: str) -> None:
    assert picture_sequence(Image("image/png", data, "x"), KITTY) == ""


@pytest.mark.parametrize(("own", "flag", "drawn"), [
    (KITTY, "--show-pictures", True), (KITTY, "--no-show-pictures", False),
    ({"TERM": "xterm-256color"}, "--show-pictures", False),
    (KITTY | {"ACCESSIBLE": "1"}, "--show-pictures", False)])
def test_a_dropped_picture(
        own: Environment, flag: str, drawn: bool, program: list[str], environment: Environment,
        tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(PNG)
    with FakeOllama(models=("words-5",)) as server:
        with Terminal([*program, "-m", "words-5", flag],
                      environment | {"OLLAMA_HOST": server.url} | own) as chat:
            chat.wait(r"^(You:|\u203a)")
            if "ACCESSIBLE" not in own:
                chat.wait_prompt()
            chat.send(f"\x1b[200~{tmp_path}/x.png\x1b[201~" if "ACCESSIBLE" not in own
                      else f"{tmp_path}/x.png")
            chat.wait("x.png")
            chat.send("\r")
            chat.wait("w4")
            assert (b"\x1b_G" in chat.raw) is drawn
            chat.send(CTRL_C)
            chat.send(CTRL_D)
