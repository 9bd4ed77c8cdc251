"""How large the terminal is; `shutil` knows it too, and loads three compressors first."""

from __future__ import annotations

import os
import sys


def terminal_size(columns: int = 80, lines: int = 24) -> tuple[int, int]:
    """Columns and lines: COLUMNS and LINES of the environment, else the terminal's own, else what is given."""
    wanted = _number("COLUMNS"), _number("LINES")
    try:
        size = (0, 0) if all(wanted) or sys.__stdout__ is None else os.get_terminal_size(sys.__stdout__.fileno())
    except (OSError, ValueError):      # closed, or no terminal
        size = (0, 0)
    return wanted[0] or size[0] or columns, wanted[1] or size[1] or lines


def _number(name: str) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else 0
