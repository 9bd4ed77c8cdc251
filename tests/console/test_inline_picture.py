"""Pictures in the terminal, only if it is known to support them."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import pytest
from PIL import Image as Pillow

from core.console.inline_picture import Cells, picture_sequence, protocol
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
    ({"TERM": "foot"}, "sixel"), ({"TERM": "foot-extra"}, "sixel"), ({"TERM": "mlterm"}, "sixel"),
    ({"TERM": "xterm-256color", "KONSOLE_VERSION": "240801"}, "sixel"),
    ({"TERM": "xterm-256color", "KONSOLE_VERSION": "210400"}, ""),
    ({"TERM": "xterm-256color", "KONSOLE_VERSION": "new"}, ""), ({"TERM": "contour"}, "sixel"),
    ({"LC_TERMINAL": "iTerm2", "TERM": "xterm"}, "iterm2"), ({}, ""),
    ({"TERM": "xterm-256color"}, ""),
    ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, ""), ({"TERM_PROGRAM": "vscode"}, ""),
    (KITTY | {"TMUX": "x"}, ""),
    (ITERM | {"TERM": "screen-256color"}, ""), (KITTY | {"STY": "x"}, ""), ({"TERM": "linux"}, "")])
def test_which_terminals_draw(environment: Environment, found: str) -> None:
    assert protocol(environment) == found


def test_what_was_chosen_or_reported_decides() -> None:
    unknown = {"TERM": "xterm-256color"}
    assert protocol(unknown, "sixel") == "sixel" and protocol(KITTY, "iterm2") == "iterm2"
    assert protocol(unknown, reports_sixel=True) == "sixel"
    assert protocol(KITTY, reports_sixel=True) == "kitty"
    assert protocol(unknown | {"TMUX": "x"}, "sixel", reports_sixel=True) == ""


def test_kitty_gets_chunks_and_is_to_answer_nothing() -> None:
    data = PNG[:16] + (100).to_bytes(4, "big") + (90).to_bytes(4, "big") + bytes(9000)
    parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", picture_sequence(image(data), "kitty"))
    assert base64.b64decode("".join(piece for _, piece in parts)) == data
    assert parts[0][0] == "a=T,f=100,q=2,r=5,m=1" and parts[-1][0] == "q=2,m=0"
    assert all(len(piece) <= 4096 and "q=2" in head for head, piece in parts)


def test_iterm2_gets_one_piece() -> None:
    sequence = picture_sequence(image(PNG), "iterm2")
    assert re.fullmatch(
        r"\x1b\]1337;File=inline=1;size=\d+;height=1;preserveAspectRatio=1:[A-Za-z0-9+/=]+\x07",
        sequence)


@pytest.mark.processes
@pytest.mark.parametrize("data", ["", "\x1b]0;x\x07", "AAAA\x1b\\", "A" * 4000, "R0lGODlh"])
def test_what_cannot_be_drawn_is_not_sent(data: str) -> None:
    for how in ("kitty", "sixel"):
        assert picture_sequence(Image("image/png", data, "x"), how) == ""


def photo(kind: str = "JPEG", size: tuple[int, int] = (1200, 600), mode: str = "RGB") -> Image:
    """Its left half is red, its right half blue."""
    drawn = Pillow.new("RGB", size, "blue")
    drawn.paste("red", (0, 0, size[0] // 2, size[1]))
    file = io.BytesIO()
    drawn.convert(mode).save(file, kind)
    return Image(f"image/{kind.lower()}", base64.b64encode(file.getvalue()).decode(), "p")


@pytest.mark.processes
def test_kitty_gets_every_picture_as_png() -> None:
    sequence = picture_sequence(photo(), "kitty", Cells(80, 10, 20))
    parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", sequence)
    drawn = Pillow.open(io.BytesIO(base64.b64decode("".join(piece for _, piece in parts))))
    assert drawn.format == "PNG" and drawn.size == (800, 400) and "r=8" in parts[0][0]


def test_a_wide_picture_is_no_wider_than_the_screen() -> None:
    wide = photo("PNG", (4000, 160))
    assert "c=40,m=" in picture_sequence(wide, "kitty", Cells(40, 10, 20))
    assert ";width=40;" in picture_sequence(wide, "iterm2", Cells(40, 10, 20))


def decoded(sequence: str) -> dict[tuple[int, int], tuple[int, ...]]:
    """The pixels that a SIXEL sequence sets, in percent of red, green and blue."""
    found = re.fullmatch(r'\x1bP0;1;0q"1;1;(\d+);(\d+)(.*)\x1b\\', sequence)
    assert found is not None
    pixels: dict[tuple[int, int], tuple[int, ...]] = {}
    colours: dict[int, tuple[int, ...]] = {}
    row = column = number = 0
    for token in re.findall(r"#\d+(?:;2;\d+;\d+;\d+)?|!\d+[?-~]|[?-~]|[$-]", found[3]):
        if token[0] == "#":
            number, *rest = (int(part) for part in token[1:].split(";"))
            if rest:
                colours[number] = tuple(rest[1:])
        elif token in "$-":
            column, row = 0, row + 6 * (token == "-")
        else:
            times = int(token[1:-1]) if token[0] == "!" else 1
            bits = ord(token[-1]) - 63
            for column in range(column, column + times):
                pixels |= {(column, row + bit): colours[number]
                           for bit in range(6) if bits >> bit & 1}
            column += 1
    width, height = int(found[1]), int(found[2])
    assert all(0 <= x < width and 0 <= y < height for x, y in pixels)
    return pixels


@pytest.mark.processes
def test_sixel_shows_the_picture() -> None:
    pixels = decoded(picture_sequence(photo(), "sixel", Cells(20, 10, 20)))
    assert len(pixels) == 200 * 100          # 20 columns of 10 pixels, and in proportion
    assert pixels[5, 50] == (100, 0, 0) and pixels[195, 99] == (0, 0, 100)
    high = decoded(picture_sequence(photo(size=(100, 900)), "sixel", Cells(80, 10, 20)))
    assert max(y for _, y in high) == 8 * 20 - 1
    small = decoded(picture_sequence(photo("GIF", (7, 5)), "sixel"))
    assert len(small) == 35


@pytest.mark.processes
def test_sixel_leaves_transparent_pixels_alone() -> None:
    clear = Pillow.new("RGBA", (30, 20), (0, 0, 0, 0))
    clear.paste((0, 255, 0, 255), (10, 5, 20, 15))
    file = io.BytesIO()
    clear.save(file, "PNG")
    pixels = decoded(picture_sequence(image(file.getvalue()), "sixel"))
    assert pixels == {(x, y): (0, 100, 0) for x in range(10, 20) for y in range(5, 15)}


@pytest.mark.parametrize(("own", "flag", "drawn"), [
    (KITTY, "--show-pictures", True), (KITTY, "--no-show-pictures", False),
    ({"TERM": "xterm-256color"}, "--show-pictures", False),
    (KITTY | {"ACCESSIBLE": "1"}, "--show-pictures", False),
    ({"TERM": "foot"}, "--show-pictures", True),
    ({"TERM": "xterm-256color"}, "--picture-protocol=kitty", True)])
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
            assert (b"\x1b_G" in chat.raw or b"\x1bP0;1;0q" in chat.raw) is drawn
            chat.send(CTRL_C)
            chat.send(CTRL_D)
