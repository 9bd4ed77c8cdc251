"""What of the loaded items goes into a prompt when not everything fits: the pieces that have to do with the question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nlargest

from core.context.embedding import digest_of
from core.context.files import UNGUARDED, read_image
from core.context.form import MOST_NAMED, OPENING, Piece
from core.context.items import Fault, Item
from core.context.opening import Guard
from core.context.pieces import Span, cut, join_spans, marks_of, spans_of
from core.context.ranking import Counted, as_bytes, bm25, count_words, name_score
from core.context.reading import SEARCHED_OF_ONE, Reader, fault_of
from core.context.search import Search, Spot, diverse, fuse_spots
from core.context.terms import Term, in_name, terms_of_all
from core.errors import ContextError
from core.messages import Image
from core.window.tokens import IMAGE_TOKENS, TokenEstimator, bytes_to_tokens

SCAN_BYTES = 32 << 20      # read while looking for the words of a question; files beyond are ranked by name alone
SCAN_FILES = 4_000
CLOSE_BYTES = 12 << 20     # of the likeliest files, searched closely, piece by piece
MOST_COMPARED = 2_000      # pieces that are compared by their meaning, for one question
COMPARED_OF_ONE = 200      # of one item
SMALLEST = 60              # tokens; with less room left nothing more is tried
MOST_MISSES = 200          # files or pieces in a row that do not fit; then the room counts as full
SMALL_FILE = 0.12          # of the room that is left: a file up to this goes in whole where a piece of it would
STICKY = 0.3               # of the best score: what was in stays in unless something clearly better comes
PICTURE_ROOM = 200         # tokens around the first picture
BEST_SHARE = 0.8           # of the room: for the best pieces; then for what is around them


@dataclass(slots=True)
class Choice:
    """What was chosen. `searched` and `by_name` say how many items were ranked by their text and by their name alone."""

    pieces: list[Piece] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)
    left_out: list[Item] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    tokens: int = 0
    searched: int = 0
    by_name: int = 0
    done: bool = False


class Chooser:
    """Chooses step by step: iterate over rank() and then take(), which yield between files, to be watched and stopped.

    Between them the order may be changed by what is known of meaning: see candidates() and reorder().
    """

    def __init__(self, estimator: TokenEstimator, model: str = "", guard: Guard = UNGUARDED) -> None:
        self.estimator = estimator
        self.model = model
        self._guard = guard
        self.reader = Reader(estimator, model, guard)
        self._spots: list[Spot] = []
        self._compared: dict[tuple[str, Span], str] = {}      # the digests of the texts there
        self._previous: set[str] = set()

    def rank(self, items: Sequence[Item], question: str, room: int, choice: Choice, order: list[Item], *,
             vision: bool = True, earlier: Sequence[str] = ()) -> Iterator[int]:
        """Fill `order`, the most relevant first; when everything fits, fill `choice` at once. Yields how many were looked at.

        `earlier` are the questions before this one, the oldest first: they count too, but less.
        """
        terms = terms_of_all((*earlier, question))
        self.reader.begin()
        self.reader.model = self.model
        self._spots, self._compared = [], {}
        choice.tokens = self.estimator.text(OPENING, self.model) + 40 if items else 0
        texts = [item for item in items if item.kind != "image"]
        most = _pictures_share(room) if texts else room
        yield from self._take_images(_pictures(items, terms), most, room, choice, vision=vision)
        self._previous = {item.name for item in texts if item.included}
        if self._may_fit(texts, room - choice.tokens):
            yield from self._take_all(texts, room, choice)
        if not choice.done:
            choice.tokens += min(self._names_cost(texts), room // 10)
            yield from self._rank(texts, terms, choice, order)

    def take(self, order: Sequence[Item], room: int, choice: Choice) -> Iterator[int]:
        """Fill `choice` with what fits, in this order."""
        if not choice.done:
            yield from _Filling(self.reader, order, room, choice).fill(self._spots)
        self.reader.forget({piece.name for piece in choice.pieces})
        choice.done = True

    def candidates(self, order: Sequence[Item], pieces: list[Piece]) -> Iterator[int]:
        """Fill `pieces` with what is worth comparing by meaning: the best by words, then those of the first items."""
        by_name = {item.name: item for item in order}
        first: dict[str, list[Span]] = {}
        for spot in self._spots[:MOST_COMPARED // 2]:
            first.setdefault(spot.name, []).append(spot.span)
        left = SCAN_BYTES
        for number, name in enumerate(dict.fromkeys((*first, *by_name))):
            item = by_name[name]
            if len(pieces) >= MOST_COMPARED or left <= 0:
                return
            if self.reader.is_slow(item):
                continue
            text = self.reader.passing(item)[:SEARCHED_OF_ONE]
            left -= len(text) + 4_096
            spans = spans_of(name, item.kind, text, marks_of(name, item.kind, text))
            wanted = list(dict.fromkeys((*first.get(name, ()), *spans)))[:COMPARED_OF_ONE]
            for span, piece in zip(sorted(wanted), cut(name, item.kind, text, sorted(wanted)), strict=True):
                pieces.append(piece)
                self._compared[name, span] = digest_of(piece.text)
            yield number

    def reorder(self, order: Sequence[Item], similar: Mapping[str, float]) -> list[Item]:
        """The order by words and by meaning together; `similar` is by digest_of(piece.text)."""
        near = {place: similar[digest] for place, digest in self._compared.items() if digest in similar}
        self._spots = fuse_spots(self._spots, near)
        return self._by_spots(order)

    def _by_spots(self, items: Sequence[Item]) -> list[Item]:
        """Those with the best pieces first."""
        best: dict[str, int] = {}
        for place, spot in enumerate(self._spots):
            best.setdefault(spot.name, place)
        return sorted(items, key=lambda item: best.get(item.name, len(self._spots)))

    def _names_cost(self, items: Sequence[Item]) -> int:
        """The most that naming what is left out takes."""
        longest = nlargest(MOST_NAMED, (item.name for item in items), key=len)
        return self.estimator.text(", ".join(longest), self.model) + SMALLEST

    def _take_images(self, items: Sequence[tuple[Item, bool]], most: int, room: int, choice: Choice, *,
                     vision: bool) -> Iterator[int]:
        """Take pictures; those that are not wanted by name up to `most` tokens, the others up to the room."""
        for item, wanted in items:
            item.tokens, item.included = IMAGE_TOKENS, ""
            if not vision:
                choice.faults.append(Fault(item.name, "this model sees no pictures"))
            elif choice.tokens + item.tokens > (room if wanted else most):
                choice.left_out.append(item)
            else:
                self._take_image(item, choice)
            yield len(choice.images)

    def _take_image(self, item: Item, choice: Choice) -> None:
        try:
            choice.images.append(read_image(item, self._guard))
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
        """Take everything, if it fits as it is."""
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
        choice.pieces, choice.tokens, choice.searched, choice.done = pieces, used, len(pieces), True
        choice.faults += faults

    def _rank(self, items: Sequence[Item], terms: Sequence[Term], choice: Choice, order: list[Item]) -> Iterator[int]:
        """Order the items by what they have to do with the question, and find the spots in the likeliest."""
        scores: list[float] = []
        likely: list[int] = []
        yield from self._score(items, terms, choice, scores, likely)
        order += [items[place] for place in sorted(_by_depth(items), key=lambda place: -scores[place])]
        search, left = Search(terms), CLOSE_BYTES
        for number, place in enumerate(sorted(likely, key=lambda place: -scores[place])):
            item = items[place]
            if left <= 0 or not terms:
                break
            text = self.reader.passing(item)
            search.add(item.name, item.kind, text)
            left -= len(text) + 4_096
            yield number
        self._spots = self._with_bonus(search.spots())
        order[:] = self._by_spots(order)

    def _with_bonus(self, spots: list[Spot]) -> list[Spot]:
        bonus = STICKY * max((spot.score for spot in spots), default=0.0)
        for spot in spots:
            spot.score += bonus * (spot.name in self._previous)
        return sorted(spots, key=lambda spot: -spot.score)

    def _score(self, items: Sequence[Item], terms: Sequence[Term], choice: Choice, scores: list[float],
               likely: list[int]) -> Iterator[int]:
        """Fill `scores` of all items, roughly, and `likely` with the places of those in which a word occurs."""
        words = [term.stem for term in terms]
        scores += [name_score(item.name, words) + item.named for item in items]
        wanted, left = as_bytes(words), SCAN_BYTES if words else 0
        places: list[int] = []
        counted: list[Counted] = []
        for place in sorted(_by_depth(items), key=lambda place: -scores[place]):
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
        for place, item in enumerate(items):
            scores[place] += bonus * (item.name in self._previous)
        choice.searched, choice.by_name = len(places), len(items) - len(places)


def _pictures(items: Sequence[Item], terms: Sequence[Term]) -> list[tuple[Item, bool]]:
    """The pictures, and whether the user named each one or the question does; these come first."""
    found = [(item, item.named or any(in_name(terms, item.name))) for item in items if item.kind == "image"]
    return sorted(found, key=lambda pair: not pair[1])


def _pictures_share(room: int) -> int:
    """What pictures may take where there are texts: a quarter, but one picture where that leaves half of the room."""
    return max(room // 4, min(IMAGE_TOKENS + PICTURE_ROOM, room // 2))


def _by_depth(items: Sequence[Item]) -> list[int]:
    """The places of the items, those near the top of the folder first."""
    return sorted(range(len(items)), key=lambda place: items[place].name.count("/"))


class _Filling:
    """Fills one choice: the best pieces, what is around them, then the items that are left, while there is room."""

    def __init__(self, reader: Reader, order: Sequence[Item], room: int, choice: Choice) -> None:
        self._reader, self._order, self._room, self._choice = reader, order, room, choice
        self._items = {item.name: item for item in order}
        self._spans: dict[str, list[Span]] = {}       # what is taken of an item, in part
        self._faulty: set[str] = set()

    def fill(self, spots: Sequence[Spot]) -> Iterator[int]:
        for item in self._order:
            item.included = ""
        yield from self._take_spots(spots)
        yield from self._take_around()
        yield from self._take_rest()
        self._write()

    @property
    def _left(self) -> int:
        return self._room - self._choice.tokens

    def _take_spots(self, spots: Sequence[Spot]) -> Iterator[int]:
        misses, most = 0, self._choice.tokens + self._left * BEST_SHARE
        for number, spot in enumerate(diverse(spots)):
            if self._choice.tokens >= most or self._left < SMALLEST or misses >= MOST_MISSES:
                return
            item = self._items[spot.name]
            if item.included == "whole" or item.name in self._faulty or self._reader.is_slow(item):
                continue
            misses = 0 if self._take_spot(item, spot.span) else misses + 1
            yield number

    def _take_spot(self, item: Item, span: Span) -> bool:
        if item.name not in self._spans and bytes_to_tokens(item.bytes) <= self._left * SMALL_FILE:
            return self._take_whole(item)
        try:
            text = self._reader.text(item)
        except ContextError as problem:
            self._fault(item, problem)
            return False
        return self._add(item, text, span)

    def _add(self, item: Item, text: str, span: Span) -> bool:
        spans = self._spans.get(item.name, [])
        if span in spans:
            return False
        cost = sum(map(self._reader.cost, cut(item.name, item.kind, text, [span], item.note)))
        if cost > self._left:
            return False
        self._spans[item.name] = [*spans, span]
        self._choice.tokens += cost
        item.included = "pieces"
        return True

    def _take_around(self) -> Iterator[int]:
        """The pieces beside those that are taken, of the best items first; of named items all that fits."""
        for number, (name, spans) in enumerate(list(self._spans.items())):
            item = self._items[name]
            text = self._reader.text(item)
            every = spans_of(name, item.kind, text, marks_of(name, item.kind, text))
            taken = [place for place, span in enumerate(every) if span in spans]
            near = sorted(range(len(every)), key=lambda place: min((abs(place - other) for other in taken), default=0))
            for place in near:
                if not item.named and min((abs(place - other) for other in taken), default=0) > 1:
                    break
                if self._left < SMALLEST:
                    return
                self._add(item, text, every[place])
            yield number

    def _take_rest(self) -> Iterator[int]:
        misses = 0
        for number, item in enumerate(self._order):
            if item.included or item.name in self._faulty:
                continue
            too_large = bytes_to_tokens(item.bytes) > self._left * 3 or self._reader.is_slow(item)
            if self._left < SMALLEST or misses >= MOST_MISSES or not item.named and item.text is None and too_large:
                self._choice.left_out.append(item)
                continue
            if self._take_whole(item) or item.named and self._take_beginning(item):
                misses = 0
            elif item.name not in self._faulty:
                self._choice.left_out.append(item)
                misses += 1
            yield number
        if self._order and not self._choice.pieces and not self._spans and not self._choice.images:
            self._take_any()

    def _take_any(self) -> None:
        """When nothing fits whole and no word of the question occurs, the beginning of the first item is better than nothing."""
        for item in self._order[:MOST_MISSES]:
            if item.name not in self._faulty and self._take_beginning(item):
                self._choice.left_out.remove(item)
                return

    def _take_beginning(self, item: Item) -> bool:
        try:
            text = self._reader.text(item)
        except ContextError:
            return False
        for span in spans_of(item.name, item.kind, text, marks_of(item.name, item.kind, text)):
            if not self._add(item, text, span):
                break
        return item.included == "pieces"

    def _take_whole(self, item: Item) -> bool:
        faults: list[Fault] = []
        piece = self._reader.whole(item, faults)
        self._choice.faults += faults
        if piece is None:
            self._faulty.add(item.name)
            return False
        if item.tokens > self._left:
            return False
        item.included = "whole"
        self._choice.pieces.append(piece)
        self._choice.tokens += item.tokens
        return True

    def _fault(self, item: Item, problem: ContextError) -> None:
        self._faulty.add(item.name)
        self._choice.faults.append(fault_of(item, problem))

    def _write(self) -> None:
        """The pieces of what is taken in part; neighbours become one."""
        for name, spans in self._spans.items():
            item, text = self._items[name], self._reader.text(self._items[name])
            pieces = cut(name, item.kind, text, join_spans(spans, text), item.note)
            if "\n".join(piece.text for piece in pieces) == text.removesuffix("\n"):
                item.included = "whole"
            self._choice.pieces += pieces
