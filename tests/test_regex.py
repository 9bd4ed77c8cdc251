"""A pattern that is compiled at first use matches like one compiled at once."""

from __future__ import annotations

import re

import pytest

from core.regex import regex

TEXT = "one 1, two 22; Three 333"


@pytest.mark.parametrize("method, arguments", [
    ("match", (TEXT,)), ("fullmatch", (TEXT,)), ("search", (TEXT, 4)), ("findall", (TEXT,)),
    ("split", (TEXT, 1)),
    ("sub", ("-", TEXT)), ("subn", ("-", TEXT)),
])
def test_methods(method: str, arguments: tuple[object, ...]) -> None:
    late, early = (regex(r"(?P<word>[a-z]+) (\d+)", re.IGNORECASE),
                   re.compile(r"(?P<word>[a-z]+) (\d+)", re.IGNORECASE))
    for _ in range(2):     # the first use compiles
        found, expected = (getattr(pattern, method)(*arguments) for pattern in (late, early))
        if isinstance(expected, re.Match):
            assert (found.span(), found.groupdict()) == (expected.span(), expected.groupdict())
        else:
            assert found == expected
    assert [match.span() for match in late.finditer(TEXT)] == [match.span()
                                                               for match in early.finditer(TEXT)]
    assert (late.pattern, late.flags, late.groups, late.groupindex) == (early.pattern, early.flags,
                                                                        2, {"word": 1})


def test_a_wrong_pattern_is_told_at_the_first_use() -> None:
    wrong = regex("(")
    with pytest.raises(re.error):
        wrong.match("")


def test_what_a_pattern_does_not_have() -> None:
    with pytest.raises(AttributeError):
        regex("a").nothing  # type: ignore[attr-defined]
