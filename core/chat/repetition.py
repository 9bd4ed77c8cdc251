"""Detects a reply that repeats itself endlessly."""

from __future__ import annotations

from core.regex import regex


EVERY = 500  # new characters between two checks
SELDOM = 6_000  # the same for inexact repetitions, which take longer to find
EXACT = 3_000  # characters of one short passage repeated exactly that count as endless
NEAR = 20_000  # the same for passages that differ in numbers, spaces and capitals only
SHORT = 240  # characters of a short passage: mostly a sentence or two
LONG_EXACT = 200_000  # characters of a longer passage repeated: it may be wanted (code, forms)
COPIES = 10  # least number of copies of a passage
LONGEST = 2_000  # characters of the longest passage that is searched for
WINDOW = LONG_EXACT
PROBE = 64  # characters whose previous occurrence suggests the length of the passage
TRIES = 8  # number of lengths that are tried
SENTENCES = 60  # this many sentences ...
FEW = 6  # ... with at most so many different ones are a repetition, in any order
SHOWN = 40  # characters of the passage that the reason quotes

_NUMBER = regex(r"\d+")
_SPACE = regex(r"\s+")
_SENTENCE = regex(r"[.!?;:\n|]+")
_ROW = regex(r"(?:[^,;|\t]*[,;|\t]){2}.*")  # a line with columns
_WORDS = regex(r"[^\W\d_]{2}")


class Repetition:
    """Watches a growing text. `reason` says what is repeated; "" while nothing is.

    Only the end of the text counts: a repetition that has stopped is not endless.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._tail = ""
        self._pieces: list[str] = []
        self._new = self._newer = 0

    def feed(self, text: str) -> None:
        """Add text, and check for repetition whenever enough is new."""
        self._pieces.append(text)
        self._new += len(text)
        if self._new < EVERY or self.reason:
            return
        self._tail = (self._tail + "".join(self._pieces))[-WINDOW:]
        self._newer, self._new, self._pieces = self._newer + self._new, 0, []
        passage = repeated(self._tail, EXACT)
        if passage:
            self.reason = f"repeats {_quoted(passage)} endlessly"
        elif self._newer >= SELDOM and len(self._tail) >= NEAR:
            self._newer = 0
            self.reason = (
                "repeats the same few sentences endlessly" if _nearly(self._tail[-NEAR:]) else ""
            )


def _nearly(text: str) -> bool:
    """Whether the text repeats a passage or a few sentences, ignoring numbers, spaces and case.

    Table rows that differ in their numbers are data, and there may be many of them.
    """
    plain = _NUMBER.sub("0", text).lower()
    passage = repeated(
        _SPACE.sub(" ", plain), NEAR // 2
    )  # rows of spaces and long numbers became short
    if not passage:
        return _few_sentences(plain)
    lines = plain.split("\n")
    are_rows = len(lines) > COPIES and _ROW.fullmatch(lines[1]) is not None
    return _WORDS.search(passage) is not None and not are_rows


def repeated(text: str, least: int) -> str:
    """The passage whose copies fill at least the last `least` characters of the text, or ""."""
    end = len(text) - 1
    for _ in range(TRIES):
        place = text.rfind(text[-PROBE:], max(0, len(text) - PROBE - LONGEST), end)
        if place < 0:
            return ""
        length = len(text) - PROBE - place
        size = max(least if length <= SHORT else LONG_EXACT, COPIES * length)
        if len(text) >= size and text[-size:-length] == text[length - size:]:
            return text[-length:]
        end = place + PROBE - 1
    return ""


def _few_sentences(text: str) -> bool:
    """Whether the text consists of few different sentences, in any order."""
    sentences = [
        part for part in map(str.strip, _SENTENCE.split(text)[1:-1]) if _WORDS.search(part)
    ]
    many = len(sentences) >= SENTENCES and sum(map(len, sentences)) > len(text) // 2
    return many and len(set(sentences)) <= FEW


def _quoted(passage: str) -> str:
    words = " ".join(passage.split())
    if not words:
        return "blank space"
    return f'"{words}"' if len(words) <= SHOWN else f'"{words[:SHOWN]}…"'
