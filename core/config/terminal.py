"""The size of the terminal, by COLUMNS and LINES or as it says itself."""

from __future__ import annotations

import os
import sys


def terminal_size(columns: int, rows: int) -> tuple[int, int]:
    """The terminal's columns and rows, by COLUMNS and LINES or as it says itself; these if neither
    tells.

    Works like shutil.get_terminal_size(), which would load three compressors and `re`.
    """
    given = _number_in("COLUMNS"), _number_in("LINES")
    if all(given):
        return given
    try:
        size = os.get_terminal_size(sys.__stdout__.fileno())     # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):      # closed, or not a terminal
        size = os.terminal_size((columns, rows))
    return given[0] or size.columns or columns, given[1] or size.lines or rows


def _number_in(variable: str) -> int:
    """The variable's positive number; 0 for anything else."""
    try:
        return max(0, int(os.environ.get(variable, "")))
    except ValueError:
        return 0
