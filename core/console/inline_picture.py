"""Draws a picture in a terminal that supports it: by kitty's protocol, by iTerm2's, or as SIXEL."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator, Mapping
from typing import Literal, TextIO

from core.dataclass import dataclass
from core.errors import ToolError
from core.messages import Image, image_type
from core.pictures.redraw import Wanted, redrawn
from core.pictures.sixel import sixel
from core.rendering.picture_facts import picture_size

Protocol = Literal["kitty", "iterm2", "sixel", ""]
CHOSEN: Mapping[str, Protocol] = {"kitty": "kitty", "iterm2": "iterm2", "sixel": "sixel"}
ROWS = 8                # most rows of a picture on the screen
MOST = 4 << 20          # characters of base64: a larger picture is made smaller to be drawn
CHUNK = 4096            # characters in a chunk of kitty's protocol
SHOWN = ("image/png", "image/jpeg", "image/gif")      # by every terminal that has iTerm2's protocol
SIXEL_TERMS = ("foot", "mlterm", "contour", "yaft", "xterm-sixel")
KONSOLE_SIXEL = 22_04_00       # the first version of Konsole that draws SIXEL


@dataclass(frozen=True, slots=True)
class Cells:
    """The size of the terminal in columns, and of a cell in pixels."""

    columns: int = 80
    width: float = 10
    height: float = 20


def protocol(environment: Mapping[str, str], chosen: str = "auto", *,
             reports_sixel: bool = False) -> Protocol:
    """The protocol by which this terminal draws pictures: the chosen one, otherwise by its name, or
    SIXEL if it reported that. "" if unknown, and in tmux and screen, which do not pass it on.
    """
    name, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if environment.get("TMUX") or environment.get("STY") or name.startswith(("tmux", "screen")):
        return ""
    if chosen in CHOSEN:
        return CHOSEN[chosen]
    if name in ("xterm-kitty", "xterm-ghostty"):
        return "kitty"
    if program in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm2"
    konsole = environment.get("KONSOLE_VERSION", "")
    new_konsole = konsole.isdecimal() and int(konsole) >= KONSOLE_SIXEL
    return "sixel" if reports_sixel or new_konsole or name.startswith(SIXEL_TERMS) else ""


def cells_of(out: TextIO) -> Cells:
    """The size of the terminal; the usual one of a cell where the terminal does not report it."""
    usual = Cells()
    try:
        import fcntl
        import termios
        answer = fcntl.ioctl(out.fileno(), termios.TIOCGWINSZ, bytes(8))
    except (ImportError, OSError, ValueError):
        return usual
    rows, columns, wide, high = struct.unpack("HHHH", answer)
    if not (rows and columns):
        return usual
    if not (wide and high):
        return Cells(columns)
    return Cells(columns, wide / columns, high / rows)


def picture_sequence(picture: Image, how: Protocol, cells: Cells = Cells()) -> str:
    """The sequence that draws the picture; "" if it cannot be drawn. Of foreign data it contains
    only base64 and colours.
    """
    try:
        data = base64.b64decode(picture.data, validate=True)
    except (binascii.Error, ValueError):
        return ""
    try:
        match how:
            case "kitty":
                return _kitty(picture, data, cells)
            case "iterm2":
                return _iterm2(picture, data, cells)
            case "sixel":
                return sixel(data, int(cells.columns * cells.width), int(ROWS * cells.height))
    except ToolError:       # damaged, or the package that draws is not installed
        pass
    return ""


def _kitty(picture: Image, data: bytes, cells: Cells) -> str:
    if image_type(data) != "image/png" or len(picture.data) > MOST:
        picture = _smaller(picture, cells, "PNG")
        data = base64.b64decode(picture.data)
    rows, columns = _room(data, cells)
    return "".join(_chunks(picture.data, f"c={columns}" if columns else f"r={rows}"))


def _iterm2(picture: Image, data: bytes, cells: Cells) -> str:
    if image_type(data) not in SHOWN or len(picture.data) > MOST:
        picture = _smaller(picture, cells, "JPEG")
        data = base64.b64decode(picture.data)
    rows, columns = _room(data, cells)
    room = f"width={columns}" if columns else f"height={rows}"
    size = f"size={len(data)};{room};preserveAspectRatio=1"
    return f"\x1b]1337;File=inline=1;{size}:{picture.data}\x07"


def _smaller(picture: Image, cells: Cells, kind: str) -> Image:
    """The picture with about the pixels that are shown of it. Raises ToolError."""
    side = max(int(ROWS * cells.height), int(cells.columns * cells.width))
    return redrawn(picture, Wanted(MOST * 3 // 4, side, formats=(kind,))).image


def _room(data: bytes, cells: Cells) -> tuple[int, int]:
    """(rows, columns) that the picture takes, so that a small one is not enlarged; the columns are
    0 if the height decides, otherwise the picture would be wider than the screen.
    """
    width, height = picture_size(data) or (0, 0)
    if not height:
        return ROWS, 0
    rows = max(1, min(ROWS, -(-height // int(cells.height))))
    shown = rows * cells.height * width / height / cells.width
    return rows, 0 if shown <= cells.columns else cells.columns


def _chunks(data: str, room: str) -> Iterator[str]:
    """kitty's graphics protocol; q=2 stops the terminal from answering, which would be read as
    typed text.
    """
    for start in range(0, len(data), CHUNK):
        more = int(start + CHUNK < len(data))
        head = f"a=T,f=100,q=2,{room},m={more}" if start == 0 else f"q=2,m={more}"
        yield f"\x1b_G{head};{data[start:start + CHUNK]}\x1b\\"
