"""Draws a picture in the terminal itself, in those known to support it: kitty, Ghostty, iTerm2 and
WezTerm.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Literal

from core.messages import Image

Protocol = Literal["kitty", "iterm2", ""]
ROWS = 8                # most rows of a picture on the screen
ROW = 20                # assumed height of a row, in pixels
MOST = 4 << 20          # characters of base64: a larger picture is not drawn
CHUNK = 4096            # characters in a chunk of kitty's protocol


def protocol(environment: Mapping[str, str]) -> Protocol:
    """The protocol by which this terminal draws pictures; "" if unknown, and in tmux and screen,
    which do not pass it on.
    """
    name, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if environment.get("TMUX") or environment.get("STY") or name.startswith(("tmux", "screen")):
        return ""
    if name in ("xterm-kitty", "xterm-ghostty"):
        return "kitty"
    return ("iterm2" if program in ("iTerm.app", "WezTerm")
            or environment.get("LC_TERMINAL") == "iTerm2" else "")


def picture_sequence(picture: Image, environment: Mapping[str, str]) -> str:
    """The sequence that draws the picture; "" if it cannot be drawn. Only its base64 is foreign
    data.
    """
    how = protocol(environment)
    if not how or len(picture.data) > MOST:
        return ""
    try:
        data = base64.b64decode(picture.data, validate=True)
    except (binascii.Error, ValueError):
        return ""
    rows = _rows(data)
    if how == "iterm2":
        size = f"size={len(data)};height={rows};preserveAspectRatio=1"
        return f"\x1b]1337;File=inline=1;{size}:{picture.data}\x07"
    return "".join(_chunks(picture.data, rows)) if data.startswith(b"\x89PNG\r\n\x1a\n") else ""


def _rows(data: bytes) -> int:
    """The rows that a PNG's height needs, so that a small one is not enlarged; other formats are
    not measured.
    """
    height = (int.from_bytes(data[20:24], "big") if data.startswith(b"\x89PNG\r\n\x1a\n")
              else ROWS * ROW)
    return max(1, min(ROWS, -(-height // ROW)))


def _chunks(data: str, rows: int) -> Iterator[str]:
    """kitty's graphics protocol; q=2 stops the terminal from answering, which would be read as
    typed text.
    """
    for start in range(0, len(data), CHUNK):
        more = int(start + CHUNK < len(data))
        head = f"a=T,f=100,q=2,r={rows},m={more}" if start == 0 else f"q=2,m={more}"
        yield f"\x1b_G{head};{data[start:start + CHUNK]}\x1b\\"
