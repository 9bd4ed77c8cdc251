"""Text that a database cannot store is encoded, and read back unchanged."""

from __future__ import annotations

from hypothesis import strategies as st

from core.store.text import ESCAPE, from_database, to_database
from tests.any_machine import given

ODD = st.sampled_from(["\0", "\ud83d", "\ude00", "\udfff", ESCAPE, f"{ESCAPE}0000", "0041", "é",
                       "😀", "plain", "A"])


@given(st.lists(ODD | st.text(max_size=4), max_size=8).map("".join))
def test_every_text_comes_back(text: str) -> None:
    stored = to_database(text)
    assert from_database(stored) == text
    assert "\0" not in stored and stored.encode().decode() == stored


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0" + ESCAPE)))
def test_text_that_needs_nothing_stays_as_it_is(text: str) -> None:
    assert to_database(text) == text == from_database(text)


def test_the_form_is_four_digits_after_a_mark() -> None:
    assert to_database("a\0b\ud83d") == f"a{ESCAPE}0000b{ESCAPE}D83D"
    assert to_database("a\0") == f"a{ESCAPE}0000" and from_database("") == ""
