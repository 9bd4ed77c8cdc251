"""Full-text ranking in memory: which files, and which of their lines, have to do with a question (BM25)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.context.form import Piece

K1, B = 1.2, 0.75          # the usual constants of BM25
FUSION = 60                # the usual constant of reciprocal rank fusion
PIECE_LINES = 60
PIECE_CHARACTERS = 4_000
README = 0.01
NAME_WEIGHT = 3.0          # a word in the path says more than one in the text


def words_of(text: str) -> list[str]:
    """What a question is about: its words, lower-case, without those that say nothing; parts of names count too."""
    found: dict[str, None] = {}
    for word in re.findall(r"[^\W_]+(?:[_.][^\W_]+)*", text):
        for part in (word, *re.split(r"[_.]|(?<=[a-z0-9])(?=[A-Z])", word)):
            lowered = part.casefold()
            if len(lowered) > 1 and lowered not in STOP_WORDS:
                found[lowered] = None
    return list(found)


STOP_WORDS = frozenset(
    "a about an and any are as at be but by can could do does for from get give had has have he her his how i if in into is it its "
    "just like make me more my no not of on one or our out please say she should show so some tell than that the their them then "
    "there these they this to us use used was we were what when where which who why will with would you your "
    "der die das und ist wie wo was ein eine zu von mit auf für im in den dem nicht".split())


def count_words(data: bytes, words: Sequence[bytes]) -> tuple[int, ...]:
    """How often each word occurs, in any case. Bytes, because this runs over every file: about 1 GB a second and word."""
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
    return [_score(text, rarity, average) for text in texts]


def _score(text: Counted, rarity: Sequence[float], average: float) -> float:
    norm = K1 * (1 - B + B * text.length / average)
    return sum(weight * count * (K1 + 1) / (count + norm) for weight, count in zip(rarity, text.counts, strict=True) if count)


def fused(*rankings: Sequence[float]) -> list[float]:
    """Several scores of the same things as one: reciprocal rank fusion. Equal scores have the same rank."""
    total = [0.0] * len(rankings[0])
    for scores in rankings:
        ordered = sorted(scores, reverse=True)
        ranks: dict[float, int] = {}
        for rank, score in enumerate(ordered, 1):
            ranks.setdefault(score, rank)
        total = [before + 1 / (FUSION + ranks[score]) for before, score in zip(total, scores, strict=True)]
    return total


def name_score(name: str, words: Sequence[str]) -> float:
    """How much of the question is in a path: whole words count, parts of words half. A README beats what says nothing."""
    lowered = name.casefold()
    readme = README if "readme" in lowered else 0.0
    inside = [word for word in words if word in lowered]
    if not inside:
        return readme
    parts = set(re.split(r"[^\w]+|_", lowered))
    return readme + NAME_WEIGHT * sum(1.0 if word in parts or lowered.endswith(word) else 0.5 for word in inside)


def split_pieces(name: str, kind: str, text: str) -> list[Piece]:
    """Cut a text into pieces of about a screen, between lines, at an empty line where there is one near the end."""
    lines = [_shortened(line) for line in text.split("\n")]
    if lines and not lines[-1]:
        lines.pop()
    pieces, start = [], 0
    while start < len(lines):
        end = _piece_end(lines, start)
        pieces.append(Piece(name, kind, "\n".join(lines[start:end]), start + 1, end, len(lines)))
        start = end
    return pieces


def _shortened(line: str) -> str:
    """A line that is no larger than a piece: data is often written in one line of megabytes."""
    if len(line) <= PIECE_CHARACTERS:
        return line
    return f"{line[:PIECE_CHARACTERS]} [\u2026 {len(line) - PIECE_CHARACTERS:,} more characters]"


def _piece_end(lines: Sequence[str], start: int) -> int:
    size, end = 0, start
    while end < len(lines) and end - start < PIECE_LINES and (size < PIECE_CHARACTERS or end == start):
        size += len(lines[end]) + 1
        end += 1
    if end < len(lines):
        for place in range(end - 1, start + (end - start) // 2, -1):
            if not lines[place].strip():
                return place + 1
    return end


def piece_scores(pieces: Sequence[Piece], words: Sequence[str]) -> list[float]:
    wanted = as_bytes(words)
    counted = [Counted(count_words(piece.text.encode("utf-8", "surrogatepass"), wanted), len(piece.text)) for piece in pieces]
    return bm25(counted, len(words))


def best_pieces(pieces: Sequence[Piece], words: Sequence[str]) -> list[Piece]:
    """Those in which words of the question occur, the best first; ties in order of lines."""
    scores = piece_scores(pieces, words)
    order = sorted(range(len(pieces)), key=lambda place: (-scores[place], place))
    return [pieces[place] for place in order if scores[place] > 0]


def join_pieces(pieces: Sequence[Piece]) -> list[Piece]:
    """Neighbours become one piece."""
    joined: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: piece.first):
        last = joined[-1] if joined else None
        if last is not None and last.last + 1 == piece.first:
            joined[-1] = Piece(last.name, last.kind, last.text + "\n" + piece.text, last.first, piece.last, last.lines, last.note)
        else:
            joined.append(piece)
    return joined
