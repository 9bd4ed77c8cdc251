"""Escaping text for screens, tested with generated text."""

from __future__ import annotations

import random
import unicodedata

import pytest

from core.safe_text import safe_line, safe_text, without_surrogates

DANGEROUS = [*(chr(code) for code in range(0x20) if chr(code) not in "\n\t"),
             *map(chr, range(0x7F, 0xA0)), "\ufeff",
             *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A)),
             *map(chr, range(0xE0000, 0xE0080)),
             *map(chr, range(0xD800, 0xE000)), "\u2028", "\u2029", "\u200e", "\u200f", "\u061c"]


def hostile(rng: random.Random) -> str:
    parts = ["word ", "\x1b[2J", "\x1b]52;c;QQ==\x07", "é", "流式", "👩‍🚀", "\n", "\t"]
    return "".join(rng.choice(parts) if rng.random() < .5 else rng.choice(DANGEROUS)
                   for _ in range(rng.randint(1, 30)))


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_only_visible_characters_pass(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        text = hostile(rng)
        safe = safe_text(text)
        assert not set(safe) & set(DANGEROUS), (seed, text)
        safe.encode()
        cut = rng.randint(0, len(text))
        assert safe_text(text[:cut]) + safe_text(text[cut:]) == safe == safe_text(safe)
        assert "\n" not in safe_line(text) and len(safe_line(text, 10)) <= 10


def test_each_control_has_its_picture_and_each_hidden_character_its_number() -> None:
    assert safe_text("".join(map(chr, range(0x20)))) == "".join(
        chr(code) if code in (9, 10) else chr(0x2400 + code) for code in range(0x20))
    assert safe_text("\x7f\x9b\u202e\U000e0041") == "\u2421<U+009B><U+202E><U+E0041>"


def test_what_can_be_seen_is_never_changed() -> None:
    visible = "".join(filter(str.isprintable, map(chr, range(0x110000))))
    assert safe_text(visible + "\x1b") == visible + "\u241b"


def test_what_no_encoding_holds_becomes_one_mark() -> None:
    assert [without_surrogates(text)
            for text in ("plain", "é", "\ud83d\ude00", "a\ud83d", "\ude00b")] == [
        "plain", "é", "😀", "a\ufffd", "\ufffdb"]


@pytest.mark.parametrize("limit, shown", [(0, "abc"), (1, "…"), (2, "a…"), (3, "abc"), (4, "abc")])
def test_a_line_is_as_long_as_its_limit(limit: int, shown: str) -> None:
    assert safe_line("abc", limit) == shown and safe_line("a\nb\tc") == "a\u2424b c"


# Of the characters that have no picture of their own, these belong to the words of a script.
OF_SCRIPTS = {"\n", "\t", "\u00ad", "\u200b", "\u200c", "\u200d", "\u06dd", "\u070f", "\u0890",
              "\u0891", "\u08e2",
              "\U000110bd", "\U000110cd", *map(chr, range(0x600, 0x606)),
              *map(chr, range(0x13430, 0x13440))}


def test_of_all_of_unicode_nothing_that_steers_or_hides_passes() -> None:
    hidden = ("Cc", "Cs", "Zl", "Zp", "Cf")
    passed = {char for char in map(chr, range(0x110000))
              if unicodedata.category(char) in hidden and safe_text(char) == char}
    assert passed <= OF_SCRIPTS
