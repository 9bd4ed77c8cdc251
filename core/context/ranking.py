"""Ranks whole texts by the words in them and in their names (BM25), to find those worth searching.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from core.dataclass import dataclass
from core.regex import regex

K1, B = 1.2, 0.75          # the usual constants of BM25
TESTS = 0.7                # factor for the score of a test
_TESTS = regex(r"(?:^|/)(?:tests?|testing|__tests__)/|(?:^|/)test_[^/]*$|[._](?:test|spec)\.",
               re.IGNORECASE)
README = 0.01
NAME_WEIGHT = 3.0          # weight of a word in the path


def count_words(data: bytes, words: Sequence[bytes]) -> tuple[int, ...]:
    """The number of occurrences of each word, ignoring case.

    Works on bytes, since it runs over every file: about 1 GB per second and word.
    """
    lowered = data.lower()
    return tuple(lowered.count(word) for word in words)


def as_bytes(words: Sequence[str]) -> list[bytes]:
    return [word.encode("utf-8", "surrogatepass") for word in words]


@dataclass(slots=True)
class Counted:
    """The number of occurrences of each word of the question in one text of this length."""

    counts: tuple[int, ...]
    length: int


def bm25(texts: Sequence[Counted], words: int) -> list[float]:
    """The score of each text; 0 if no word occurs."""
    if not texts or not words:
        return [0.0] * len(texts)
    total = len(texts)
    average = sum(text.length for text in texts) / total or 1.0
    found = [sum(1 for text in texts if text.counts[number]) for number in range(words)]
    rarity = [math.log(1 + (total - hits + 0.5) / (hits + 0.5)) for hits in found]
    return [term_score(text.counts, rarity, text.length / average) for text in texts]


def term_score(counts: Sequence[float], rarity: Sequence[float], length: float) -> float:
    """The BM25 score of one text; `length` is relative to the average."""
    norm = K1 * (1 - B + B * length)
    return sum(weight * count * (K1 + 1) / (count + norm)
               for weight, count in zip(rarity, counts, strict=True) if count)


def share_of_tests(name: str, words: Sequence[str]) -> float:
    """The factor for a text's score: lower for a test, unless the question is about tests.

    A test repeats the words of the code it tests but does not explain it.
    """
    asked = any(word.startswith("test") for word in words)
    return TESTS if not asked and _TESTS.search(name) else 1.0


def name_scores(names: Sequence[str], words: Sequence[str]) -> list[float]:
    """For each path, the number of the question's words in it; parts of words count half. A README
    scores slightly above files without any.
    """
    scores = [0.0] * len(names)
    for place in _places_with((*words, "readme"), names):
        scores[place] = _name_score(names[place].casefold(), words)
    return scores


def _places_with(words: Sequence[str], names: Sequence[str]) -> set[int]:
    """The indices of the names that contain one of the words; all names are searched together."""
    text = "\n".join(names).casefold()
    if text.count("\n") != len(names) - 1:
        return set(range(len(names)))
    found: set[int] = set()
    for word in words:
        number, begin, place = 0, 0, text.find(word)
        while place >= 0:
            number += text.count("\n", begin, place)
            found.add(number)
            begin = place
            end = text.find("\n", place)
            place = text.find(word, end) if end >= 0 else -1
    return found


def _name_score(lowered: str, words: Sequence[str]) -> float:
    readme = README if "readme" in lowered else 0.0
    inside = [word for word in words if word in lowered]
    if not inside:
        return readme
    parts = set(re.split(r"[^\w]+|_", lowered))
    return readme + NAME_WEIGHT * sum(1.0 if word in parts or lowered.endswith(word) else 0.5
                                      for word in inside)
