"""A notification is one sequence that a model's name cannot end, and only for long answers."""

from __future__ import annotations

import pytest

from core.console.notification import LONG, notification


@pytest.mark.parametrize("how, expected", [("bell", "\a"), ("osc9", "\x1b]9;m has answered\x1b\\"),
                                           ("osc777", "\x1b]777;notify;Stream Chat;m has "
                                            "answered\x1b\\"), ("off", "")])
def test_how(how: str, expected: str) -> None:
    assert notification(how, LONG, "m has answered") == expected and notification(how, LONG - 0.1,
                                                                                  "m") == ""


@pytest.mark.parametrize("how", ["osc9", "osc777"])
def test_foreign_words_stay_inside(how: str) -> None:
    made = notification(how, LONG, "a\x07b\x1b\\c;d\n" + "e" * 1000)
    assert (made.count("\x1b") == 2 and "\x07" not in made and made.endswith("\x1b\\")
            and len(made) < 200)
    assert made.count(";") == (1 if how == "osc9" else 3)
