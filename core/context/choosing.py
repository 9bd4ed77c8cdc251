"""Chooses the pieces of the loaded items that are relevant to a question, if not all fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from heapq import nlargest

from core.context.embedding import digest_of
from core.context.files import read_image
from core.context.filling import SMALLEST, Choice, Filling
from core.context.form import MOST_NAMED, OPENING, Piece
from core.context.items import Fault, Item
from core.context.opening import UNGUARDED, Guard
from core.context.pictures import Pictures, asks_for_pictures, pictures_share
from core.context.pieces import Span, cut, marks_of, spans_of
from core.context.ranking import Counted, as_bytes, bm25, count_words, name_scores
from core.context.reading import SEARCHED_OF_ONE, Reader, fault_of
from core.context.search import AGAIN, AGAIN_NEAR, Search, Spot, fuse_spots
from core.context.shown import AlreadyShown
from core.context.synonyms import with_synonyms
from core.context.terms import Term, terms_of_all
from core.errors import ContextError
from core.window.tokens import IMAGE_TOKENS, TokenEstimator, bytes_to_tokens

# bytes searched for the words of a question; files beyond that are ranked by their names alone
SCAN_BYTES = 32 << 20
SCAN_FILES = 4_000
CLOSE_BYTES = 12 << 20     # bytes of the most relevant files, which are searched piece by piece
COMPARED_OF_ONE = 200      # pieces of one item that are compared by meaning
NAMES = 30                 # the names of left-out items may take one part in so many of the room
STICKY = 0.3               # share of the best score that items of the last request get as a bonus


class Chooser:
    """Chooses in steps: iterate over rank() and then take(), which yield between files so that
    they can be observed and stopped.

    Between them, the order may be changed by similarity of meaning: candidates() and reorder().
    """

    def __init__(self, estimator: TokenEstimator, model: str = "",
                 guard: Guard = UNGUARDED) -> None:
        self.estimator = estimator
        self.model = model
        self._guard = guard
        self.reader = Reader(estimator, model, guard)
        self._spots: list[Spot] = []
        self._again = AGAIN
        self._compared: dict[tuple[str, Span], str] = {}      # digests of the texts there
        self._previous: set[str] = set()
        self._matched: dict[str, list[str]] = {}
        self._shown = AlreadyShown()
        self._pictures = Pictures((), 0)

    def rank(self, items: Sequence[Item], question: str, room: int, choice: Choice,
             order: list[Item], *,
             vision: bool = True, earlier: Sequence[str] = (),
             shown: AlreadyShown | None = None) -> Iterator[int]:
        """Fill `order` with the items, most relevant first; if everything fits, fill `choice` now.

        Yields the number of items examined. `earlier` are the previous questions, oldest first,
        which count less. What is already `shown` is not chosen again. `room` is in tokens.
        """
        self._shown = shown = shown or AlreadyShown()
        terms = with_synonyms(terms_of_all((*earlier, question)))
        self.reader.begin()
        self.reader.model = self.model
        self._spots, self._compared, self._matched, self._again = [], {}, {}, AGAIN
        for item in items:
            item.why = ""
        choice.tokens = self.estimator.text(OPENING, self.model) + 40 if items else 0
        texts, asked = [item for item in items if item.kind != "image"], asks_for_pictures(terms)
        self._pictures = Pictures([item for item in items if item.kind == "image"
                                   and not shown.has(item)],
                                  pictures_share(room, asked=asked) if texts else room,
                                  vision=vision)
        yield from self._take_images(self._pictures.named(terms), room, choice)
        if not texts or asked:
            yield from self._take_pictures(room, choice)
        self._previous = {item.name for item in texts if item.included}
        absent = [item for item in texts if not shown.has_whole(item)] if shown else texts
        if self._may_fit(absent, room - choice.tokens):
            yield from self._take_all(absent, room, choice)
        if choice.done:
            yield from self._take_pictures(room, choice)
        shown.mark(items)
        if not choice.done:
            choice.names_room = min(self._names_cost(texts), room // NAMES)
            choice.tokens += choice.names_room
            yield from self._rank(texts, terms, choice, order)

    def take(self, order: Sequence[Item], room: int, choice: Choice) -> Iterator[int]:
        """Fill `choice` with what fits into `room` tokens, in this order."""
        if not choice.done:
            if not self._spots and not choice.images:   # no text has to do with the question
                yield from self._take_pictures(room, choice)
            yield from Filling(self.reader, order, room, choice, self._shown).fill(
                self._spots, self._again)
            self._explain(order)
            yield from self._take_pictures(room, choice)
        self.reader.forget({piece.name for piece in choice.pieces})
        choice.done = True

    def _explain(self, items: Sequence[Item]) -> None:
        """Set each item's `why`: the reason why it is included or not."""
        every = bool(self._shown)
        for item in items:
            if not every and not item.included and not self._matched.get(item.name):
                continue      # most items of a large folder
            words = self._matched.get(item.name)
            reason = ("you named it" if item.named else f"has {', '.join(words)}" if words
                      else "no word of the question")
            before = ("sent with an earlier question" if self._shown.has(item) and not item.why
                      else item.why)
            item.why = "; ".join(filter(None, (before, reason if item.included or words else "")))

    def candidates(self, order: Sequence[Item], pieces: list[Piece], most: int) -> Iterator[int]:
        """Fill `pieces` with at most about `most` candidates for comparison by meaning: the best by
        words, then those of the first items.
        """
        by_name = {item.name: item for item in order}
        first: dict[str, list[Span]] = {}
        for spot in self._spots[:most // 2]:
            first.setdefault(spot.name, []).append(spot.span)
        left = SCAN_BYTES
        for number, name in enumerate(dict.fromkeys((*first, *by_name))):
            item = by_name[name]
            if len(pieces) >= most or left <= 0:
                return
            if self.reader.is_slow(item):
                continue
            text = self.reader.passing(item)[:SEARCHED_OF_ONE]
            left -= len(text) + 4_096
            spans = spans_of(name, item.kind, text, marks_of(name, item.kind, text))
            wanted = list(dict.fromkeys((*first.get(name, ()), *spans)))[:COMPARED_OF_ONE]
            for span, piece in zip(sorted(wanted), cut(name, item.kind, text, sorted(wanted)),
                                   strict=True):
                pieces.append(piece)
                self._compared[name, span] = digest_of(piece.text)
            yield number

    def reorder(self, order: Sequence[Item], similar: Mapping[str, float]) -> list[Item]:
        """The items by words and meaning combined; `similar` maps digest_of(piece.text) to the
        similarity.
        """
        near = {place: similar[digest]
                for place, digest in self._compared.items() if digest in similar}
        self._spots, self._again = fuse_spots(self._spots, near), AGAIN_NEAR
        return self._by_spots(order)

    def _by_spots(self, items: Sequence[Item]) -> list[Item]:
        """The items, those with the best pieces first."""
        best: dict[str, int] = {}
        for place, spot in enumerate(self._spots):
            best.setdefault(spot.name, place)
        if not best:
            return list(items)
        found = sorted((item for item in items if item.name in best),
                       key=lambda item: best[item.name])
        return found + [item for item in items if item.name not in best]

    def _names_cost(self, items: Sequence[Item]) -> int:
        """The most tokens that the names of left-out items may take."""
        longest = nlargest(MOST_NAMED, (item.name for item in items), key=len)
        return self.estimator.text(", ".join(longest), self.model) + SMALLEST

    def named(self, names: Sequence[str], room: int) -> int:
        """How many of the first of these names fit into `room` tokens with the words around."""
        number, left = 0, room - SMALLEST
        for name in names[:MOST_NAMED]:
            left -= self.estimator.text(f"{name}, ", self.model)
            if left < 0:
                break
            number += 1
        return number

    def _take_pictures(self, room: int, choice: Choice) -> Iterator[int]:
        """Take pictures that were not named, up to their share of the room."""
        most = min(room, choice.tokens + self._pictures.share)
        yield from self._take_images(self._pictures.others(), most, choice)

    def _take_images(self, items: Sequence[Item], most: int, choice: Choice) -> Iterator[int]:
        """Take pictures while the choice has at most `most` tokens."""
        for item in items:
            item.tokens, item.included = IMAGE_TOKENS, ""
            if not self._pictures.vision:
                choice.faults.append(Fault(item.name, "this model cannot see pictures"))
            elif choice.tokens + item.tokens > most:
                choice.left_out.append(item)
            else:
                self._take_image(item, choice)
            yield len(choice.images)

    def _take_image(self, item: Item, choice: Choice) -> None:
        try:
            choice.images.append(item.image or read_image(item, self._guard))
        except ContextError as problem:
            choice.faults.append(fault_of(item, problem))
            return
        item.included = "whole"
        choice.tokens += item.tokens

    def _may_fit(self, items: Sequence[Item], room: int) -> bool:
        total = 0
        for item in items:
            total += item.tokens or bytes_to_tokens(item.bytes)
            if total > room * 1.5:
                return False
        return True

    def _take_all(self, items: Sequence[Item], room: int, choice: Choice) -> Iterator[int]:
        """Take everything if all of it fits."""
        pieces: list[Piece] = []
        faults: list[Fault] = []
        used = choice.tokens
        for number, item in enumerate(items, 1):
            piece = self.reader.whole(item, faults)
            if piece is not None:
                pieces.append(piece)
                used += item.tokens
            if used > room:
                return
            yield number
        names = {piece.name for piece in pieces}
        for item in items:
            item.included = "whole" if item.name in names else ""
            item.why = "everything fits"
        choice.pieces, choice.tokens, choice.searched, choice.done = pieces, used, len(pieces), True
        choice.faults += faults

    def _rank(self, items: Sequence[Item], terms: Sequence[Term], choice: Choice,
              order: list[Item]) -> Iterator[int]:
        """Order the items by relevance, and find the relevant pieces of the best ones."""
        scores: list[float] = []
        likely: list[int] = []
        yield from self._score(items, terms, choice, scores, likely)
        order += [items[place] for place in _best_first(_by_depth(items), scores)]
        search, left = Search(terms), CLOSE_BYTES
        likely.sort(key=scores.__getitem__, reverse=True)
        for number, place in enumerate(likely):
            item = items[place]
            if left <= 0 or not terms:
                break
            text = self.reader.passing(item)
            search.add(item.name, item.kind, text)
            left -= len(text) + 4_096
            yield number
        self._spots, self._matched = self._with_bonus(search.spots()), search.matched()
        order[:] = self._by_spots(order)

    def _with_bonus(self, spots: list[Spot]) -> list[Spot]:
        bonus = STICKY * max((spot.score for spot in spots), default=0.0)
        for spot in spots:
            spot.score += bonus * (spot.name in self._previous)
        return sorted(spots, key=lambda spot: -spot.score)

    def _score(self, items: Sequence[Item], terms: Sequence[Term], choice: Choice,
               scores: list[float],
               likely: list[int]) -> Iterator[int]:
        """Fill `scores` with approximate scores of all items, and `likely` with the indices of
        those that contain a word of the question.
        """
        words = [term.stem for term in terms]
        scores += name_scores([item.name for item in items], words)
        for place, item in enumerate(items):
            if item.named:
                scores[place] += 1
        wanted, left = as_bytes(words), SCAN_BYTES if words else 0
        places: list[int] = []
        counted: list[Counted] = []
        for place in _best_first(_by_depth(items), scores):
            if left <= 0 or len(places) >= SCAN_FILES:
                break
            data = self.reader.sample(items[place])
            if data is None:
                continue
            left -= len(data) + 4_096
            places.append(place)
            counted.append(Counted(count_words(data, wanted), len(data) or 1))
            if any(counted[-1].counts) or scores[place] >= 1 or len(data) >= SEARCHED_OF_ONE:
                likely.append(place)
            yield len(places)
        found = bm25(counted, len(words))
        bonus = STICKY * max(found, default=0.0)
        for place, score in zip(places, found, strict=True):
            scores[place] += score
        for place, item in enumerate(items if self._previous else ()):
            scores[place] += bonus * (item.name in self._previous)
        choice.searched, choice.by_name = len(places), len(items) - len(places)


def _by_depth(items: Sequence[Item]) -> list[int]:
    """The indices of the items, those near the top of the folder first."""
    depths = [item.name.count("/") for item in items]
    return sorted(range(len(items)), key=depths.__getitem__)


def _best_first(places: Sequence[int], scores: Sequence[float]) -> list[int]:
    """These indices by score; equal ones keep their order. Most items of a large folder have none,
    and are not sorted.
    """
    found = sorted((place for place in places if scores[place]), key=scores.__getitem__,
                   reverse=True)
    return found + [place for place in places if not scores[place]]
