"""Which of many files are worth searching closely:
whole texts by the words in them and in their names (BM25).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from core.dataclass import dataclass
from core.regex import regex

K1, B = 1.2, 0.75          # the usual constants of BM25
TESTS = 0.7                # of its score, for a text that tests others
_TESTS = regex(r"(?:^|/)(?:tests?|testing|__tests__)/|(?:^|/)test_[^/]*$|[._](?:test|spec)\.",
               re.IGNORECASE)
README = 0.01
NAME_WEIGHT = 3.0          # a word in the path says more than one in the text


def count_words(data: bytes, words: Sequence[bytes]) -> tuple[int, ...]:
    """How often each word occurs, in any case.

    Bytes, because this runs over every file: about 1 GB a second and word.
    """
    lowered = data.lower()
    return tuple(lowered.count(word) for word in words)


def as_bytes(words: Sequence[str]) -> list[bytes]:
    return [word.encode("utf-8", "surrogatepass") for word in words]


@dataclass(slots=True)
class Counted:
    """How often each word of the question occurs in one text of this length."""

    counts: tuple[int, ...]
    length: int


def bm25(texts: Sequence[Counted], words: int) -> list[float]:
    """A score for each text; 0 where no word occurs."""
    if not texts or not words:
        return [0.0] * len(texts)
    total = len(texts)
    average = sum(text.length for text in texts) / total or 1.0
    found = [sum(1 for text in texts if text.counts[number]) for number in range(words)]
    rarity = [math.log(1 + (total - hits + 0.5) / (hits + 0.5)) for hits in found]
    return [term_score(text.counts, rarity, text.length / average) for text in texts]


def term_score(counts: Sequence[float], rarity: Sequence[float], length: float) -> float:
    """BM25 of one text; `length` is in averages."""
    norm = K1 * (1 - B + B * length)
    return sum(weight * count * (K1 + 1) / (count + norm)
               for weight, count in zip(rarity, counts, strict=True) if count)


def share_of_tests(name: str, words: Sequence[str]) -> float:
    """What the score of a text counts: less for a test, unless the question is about tests.

    A test repeats the words of what it tests, and does not explain it.
    """
    asked = any(word.startswith("test") for word in words)
    return TESTS if not asked and _TESTS.search(name) else 1.0


def name_score(name: str, words: Sequence[str]) -> float:
    """How much of the question is in a path: whole words count, parts of words half.

    A README beats what says nothing.
    """
    lowered = name.casefold()
    readme = README if "readme" in lowered else 0.0
    inside = [word for word in words if word in lowered]
    if not inside:
        return readme
    parts = set(re.split(r"[^\w]+|_", lowered))
    return readme + NAME_WEIGHT * sum(1.0 if word in parts or lowered.endswith(word) else 0.5
                                      for word in inside)
