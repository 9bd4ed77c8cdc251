"""The progress line: after a delay, one line that is overwritten and finally removed."""

from __future__ import annotations

import io

from core.console.progress_line import ProgressLine


class Clock:
    """A clock that the test sets, in seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nothing_is_shown_of_what_is_quick() -> None:
    out, clock = io.StringIO(), Clock()
    line = ProgressLine(out, clock=clock)
    for number in range(100):
        line("reading .", number)
        clock.now += 0.0099
    line.clear()
    assert out.getvalue() == ""


def test_one_line_that_goes_away() -> None:
    out, clock = io.StringIO(), Clock()
    line = ProgressLine(out, clock=clock)
    line("reading .", 1_233)
    clock.now += 1.5
    line("reading \x1b]0;evil\x07", 1_234)
    clock.now += 0.05
    line("reading .", 1_235)     # too soon after the one before to be shown
    line.clear()
    line.clear()
    assert (out.getvalue().count("\r") == 2 and out.getvalue().endswith("\r\x1b[K")
            and "\n" not in out.getvalue())
    assert (": 1,234, 2 s" in out.getvalue() and "\x1b]" not in out.getvalue()
            and "1,235" not in out.getvalue())


def test_the_next_work_has_a_second_of_its_own() -> None:
    out, clock = io.StringIO(), Clock()
    line = ProgressLine(out, clock=clock)
    line("reading .", 1)
    clock.now += 2.0
    line("reading .", 2)
    line.clear()
    shown = out.getvalue()
    line("reading .", 3)
    clock.now += 0.5
    line("reading .", 4)
    assert out.getvalue() == shown


def test_nothing_where_lines_cannot_be_written_over() -> None:
    out, clock = io.StringIO(), Clock()
    line = ProgressLine(out, able=False, clock=clock)
    line("reading .", 1)
    clock.now += 5.0
    line("reading .", 2)
    assert out.getvalue() == ""
