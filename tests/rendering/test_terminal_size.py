"""The size of the terminal is what the standard library finds."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

from core.rendering.terminal_size import terminal_size


@pytest.mark.parametrize("columns", ["", "0", "120", "-1", "x", "12\u00b3"])
@pytest.mark.parametrize("lines", ["", "50"])
def test_as_the_standard_library(columns: str, lines: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", lines)
    expected = shutil.get_terminal_size((80, 24))
    assert terminal_size() == (expected.columns if expected.columns > 0 else 80, expected.lines)


def test_a_real_terminal_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl
    import struct
    import termios
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("LINES", raising=False)
    leader, follower = os.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr(sys, "__stdout__", terminal)
        assert terminal_size() == (101, 33)
    os.close(leader)
    assert terminal_size(70, 20) == (70, 20)        # closed
