"""A search query is parsed as words, phrases and filters."""

from __future__ import annotations

import time

import pytest

from core.errors import UsageError
from core.messages import user_message
from core.store.query import Term, parse_query
from core.store.words import MOST_BYTES, message_words

HOUR = 3_600
UNITS = {"h": HOUR, "d": 24 * HOUR, "w": 7 * 24 * HOUR, "m": 30 * 24 * HOUR, "y": 365 * 24 * HOUR}


@pytest.mark.parametrize("unit", UNITS)
def test_an_age_is_a_moment(unit: str) -> None:
    for name in ("after", "before"):
        earliest = time.time() - 3 * UNITS[unit]
        found = getattr(parse_query(f"{name}:3{unit.upper()}"), name)
        assert earliest <= found <= time.time() - 3 * UNITS[unit]


@pytest.mark.parametrize(("text", "parts"), [
    ("2026-03-02", (2026, 3, 2)), ("2026-03", (2026, 3, 1)), ("2026", (2026, 1, 1))])
def test_a_date_begins_at_midnight_here(text: str, parts: tuple[int, int, int]) -> None:
    found = parse_query(f"before:{text}").before
    assert found == time.mktime((*parts, 0, 0, 0, 0, 1, -1))


@pytest.mark.parametrize("text", ["soon", "3x", "2026-13-01", "123456d"])
def test_what_is_not_a_date_is_refused_with_a_way_to_write_one(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_query(f"after:{text}")
    assert text in caught.value.message and "after:30d" in caught.value.hint


@pytest.mark.parametrize(("text", "filters", "empty"), [
    ("", False, True), ("apple", False, False), ("-apple", False, True), ("in:title", False, True),
    ("model:llama", True, True), ("provider:groq", True, True), ("tag:home", True, True),
    ("after:2026", True, True), ("before:2026 apple", True, False)])
def test_filters_are_told_from_words(text: str, filters: bool, empty: bool) -> None:
    query = parse_query(text)
    assert (query.filters, query.empty) == (filters, empty)


@pytest.mark.parametrize(("text", "begins"), [("ap", True), ("a", False), ("apple pi", True),
                                              ("apple ", False), ("apple.", False),
                                              ('"apple pie"', False)])
def test_the_last_word_may_still_be_typed(text: str, begins: bool) -> None:
    assert parse_query(text, complete_last=True).wanted[-1].begins is begins
    assert parse_query(text).wanted[-1].begins is False
    assert parse_query("app*").wanted == (Term(("app",), True),)


def test_words_of_a_message_are_bounded_at_a_word() -> None:
    short = "a" * 9 + " "
    for size in (MOST_BYTES // 4 - 10, MOST_BYTES // 4 + 10, MOST_BYTES * 2):
        text = short * (size // 10)
        said, tools = message_words(user_message(text))
        assert tools == "" and set(said.split(" ")) == {"a" * 9}
        whole = len(text.strip()) * 4 <= MOST_BYTES
        least = len(text.strip()) if whole else min(len(text.strip()), MOST_BYTES // 2) - 10
        assert least <= len(said) <= (len(text) if whole else MOST_BYTES // 2)
