"""Finds the pieces of texts that are relevant to a question (BM25 of pieces, files and names)."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice

from core.context.headings import Hits
from core.context.pieces import Span, marks_of, spans_of
from core.context.ranking import share_of_tests, term_score
from core.context.terms import Term, find, find_others, in_name, lowered
from core.dataclass import dataclass

NAME = 1.4          # weight of a word in the path, relative to one in the text
FILE = 0.7          # share of the whole file's score that is added to a piece's score
MOST_HITS = 5_000   # occurrences of one word in one text that are counted
# factor for each piece of the same text that was already taken; and if meaning counts too
AGAIN, AGAIN_NEAR = 0.96, 1.0
COVERED = 0.5       # part of a piece's score that depends on the share of the question it covers
MEANING = 0.45      # weight of meaning if texts are compared by it; words have the rest
SHARPER = 3.0       # exponent of the score by words beside meaning: the best of them stand out more


@dataclass(slots=True)
class Spot:
    """A piece of a text, by its position, with its relevance to the question."""

    name: str
    span: Span
    score: float = 0.0


@dataclass(slots=True)
class _Text:
    name: str
    size: int
    in_name: list[float]
    counts: list[float]                       # occurrences of each term in the whole text
    # the pieces in which a term occurs: counts, and weights in the headings above
    pieces: list[tuple[Span, list[float], Sequence[float]]]
    words: list[str]                          # words of the question that occur unchanged


class Search:
    """Searches texts: add() them, then call spots(). Only positions and counts are kept."""

    def __init__(self, terms: Sequence[Term]) -> None:
        self.terms = tuple(terms)
        self._texts: list[_Text] = []
        self._pieces, self._size = 0, 0

    def add(self, name: str, kind: str, text: str) -> None:
        """Add one text to search in."""
        marks = marks_of(name, kind, text)
        spans = spans_of(name, kind, text, marks)
        self._pieces += len(spans)
        self._size += len(text)
        hits, small, words = Hits(text, marks.headings, spans, len(self.terms)), lowered(text), []
        for number, term in enumerate(self.terms):
            own = list(islice(find(term, text, small), MOST_HITS))
            if own or any(value for _, value in find(term, name, lowered(name))):
                words.append(term.word)
            for place, value in chain(own, islice(find_others(term, text, small), MOST_HITS)):
                hits.add(number, place, value)
        named = in_name(self.terms, name)
        if any(named) and spans:
            hits.rows.setdefault(0, [0.0] * len(self.terms))
        if hits.rows:
            self._texts.append(_text_of(name, len(text), named, hits, spans, words))

    def matched(self) -> dict[str, list[str]]:
        """The words of the question that occur in each text or in its name."""
        return {text.name: text.words for text in self._texts}

    def spots(self) -> list[Spot]:
        """All pieces that contain a word of the question, in the text or in the name, best first.
        """
        if not self._texts:
            return []
        rarity = self._rarity()
        average = self._size / max(1, self._pieces)
        whole = self._size / len(self._texts)
        stems = [term.stem for term in self.terms]
        found = []
        for text in self._texts:
            above = NAME * sum(weight * value
                               for weight, value in zip(rarity, text.in_name, strict=True))
            above += FILE * term_score(text.counts, rarity, text.size / whole)
            share = share_of_tests(text.name, stems)
            for span, own, above_it in text.pieces:
                counts = [*map(sum, zip(own, above_it, strict=True))] if above_it else own
                score = above + term_score(counts, rarity, (span[1] - span[0]) / average)
                covered = _covered(rarity, counts, text.in_name)
                found.append(Spot(text.name, span,
                                  score * share * (1 - COVERED + COVERED * covered)))
        found.sort(key=_by_score)
        return found

    def _rarity(self) -> list[float]:
        total, rarity = self._pieces, []
        for number, term in enumerate(self.terms):
            hits = sum(1 for text in self._texts for _, counts, _ in text.pieces if counts[number])
            rarity.append(term.weight * math.log(1 + (total - hits + 0.5) / (hits + 0.5)))
        return rarity


def _text_of(name: str, size: int, named: list[float], hits: Hits, spans: Sequence[Span],
             words: list[str]) -> _Text:
    counts = [sum(column) for column in zip(*hits.rows.values(), strict=True)]
    above = hits.above()
    nothing: Sequence[float] = ()
    pieces = [(spans[place], row, above.get(place, nothing))
              for place, row in sorted(hits.rows.items())]
    return _Text(name, size, named, counts, pieces, words)


def _covered(rarity: Sequence[float], counts: Sequence[float], named: Sequence[float]) -> float:
    """The share of the question's words in a piece or its name, weighted by rarity."""
    held = sum(weight for weight, count, name in zip(rarity, counts, named, strict=True)
               if count or name)
    return held / (sum(rarity) or 1.0)


def _by_score(spot: Spot) -> float:
    return -spot.score


def diverse(spots: Sequence[Spot], again: float = AGAIN) -> Iterator[Spot]:
    """The spots, best first; the score of each further piece of a text is multiplied by `again`."""
    given: dict[str, int] = {}
    waiting = [(-spot.score, number, 0) for number, spot in enumerate(spots)]
    heapq.heapify(waiting)
    while waiting:
        score, number, known = heapq.heappop(waiting)
        count = given.get(spots[number].name, 0)
        if count != known:
            heapq.heappush(waiting, (-spots[number].score * again ** count, number, count))
            continue
        given[spots[number].name] = count + 1
        yield spots[number]


def fuse_spots(spots: Sequence[Spot], similar: Mapping[tuple[str, Span], float]) -> list[Spot]:
    """The spots by words and meaning combined: a weighted sum of both scores, relative to the best.

    `similar` may contain additional places; those above the median similarity are added.
    """
    most = max((spot.score for spot in spots), default=0.0) or 1.0
    by_words = {(spot.name, spot.span): (spot.score / most) ** SHARPER for spot in spots}
    middle = sum(similar.values()) / len(similar) if similar else 0.0
    above = {place: value - middle for place, value in similar.items() if value > middle}
    nearest = max(above.values(), default=1.0)
    joined = [Spot(*place, (1 - MEANING) * by_words.get(place, 0.0)
                   + MEANING * above.get(place, 0.0) / nearest)
              for place in {**by_words, **above}]
    return sorted(joined, key=_by_score)
