"""The line of progress: nothing at once, then one line that is written over and goes away."""

from __future__ import annotations

import io

import pytest

from core.terminal import progress_line
from core.console.progress_line import ProgressLine


def test_nothing_is_shown_of_what_is_quick() -> None:
    out = io.StringIO()
    line = ProgressLine(out)
    for number in range(100):
        line("reading .", number)
    line.clear()
    assert out.getvalue() == ""


def test_one_line_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_line, "PATIENCE", 0.0)
    out = io.StringIO()
    line = ProgressLine(out)
    line("reading \x1b]0;evil\x07", 1_234)
    line("reading .", 1_235)     # too soon after the first to be shown
    line.clear()
    line.clear()
    assert out.getvalue().count("\r") == 2 and out.getvalue().endswith("\r\x1b[K") and "\n" not in out.getvalue()
    assert ": 1,234, 0 s" in out.getvalue() and "\x1b]" not in out.getvalue() and "1,235" not in out.getvalue()


def test_nothing_where_lines_cannot_be_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_line, "PATIENCE", 0.0)
    out = io.StringIO()
    ProgressLine(out, able=False)("reading .", 1)
    assert out.getvalue() == ""
