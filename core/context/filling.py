"""Fills the room of a prompt: the best pieces first, then those around them, then other items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from core.context.form import Piece
from core.context.items import Fault, Item
from core.context.outline import outline_of, outline_piece, outline_room
from core.context.pieces import LineNumbers, Span, cut, join_spans, marks_of, spans_of
from core.context.reading import Reader, fault_of
from core.context.search import Spot, diverse
from core.context.shown import AlreadyShown
from core.dataclass import dataclass, field
from core.errors import ContextError
from core.messages import Image
from core.window.tokens import bytes_to_tokens

SMALLEST = 60              # tokens of room with which nothing more is tried
MOST_MISSES = 200          # consecutive items that do not fit, after which the room counts as full
# share of the remaining room: a file up to this size is included completely instead of in part
SMALL_FILE = 0.12
MOST_OVER = 1.6            # times the remaining room: larger files are not read
MOST_OUTLINED = 12         # files that are outlined
BEST_SHARE = 0.9           # share of the room for the best pieces; the rest is for those around


@dataclass(slots=True)
class Choice:
    """The chosen context.

    `searched` and `by_name` are the numbers of items ranked by their text and by their name only.
    `names_room` are the tokens kept for the names of what is left out.
    """

    pieces: list[Piece] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)
    left_out: list[Item] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    tokens: int = 0
    names_room: int = 0
    searched: int = 0
    by_name: int = 0
    done: bool = False


class Filling:
    """Fills one choice: the best pieces, the pieces around them, then the remaining items, while
    there is room.

    What is already shown counts towards the room, so that a follow-up question adds only what is
    more relevant than that.
    """

    def __init__(self, reader: Reader, order: Sequence[Item], room: int, choice: Choice,
                 shown: AlreadyShown) -> None:
        self._reader, self._order, self._room, self._choice, self._shown = (reader, order, room,
                                                                            choice, shown)
        self._items = {item.name: item for item in order}
        self._spans: dict[str, list[Span]] = {}       # the chosen parts of each item
        self._numbers: dict[str, LineNumbers] = {}
        self._faulty: set[str] = set()

    def fill(self, spots: Sequence[Spot], again: float) -> Iterator[int]:
        """Fill the choice, see diverse(); yields between steps."""
        for item in self._order:
            item.included = ""
        self._shown.mark(self._order)
        outlines = 0 if self._shown else outline_room(self._left)
        self._room -= outlines
        yield from self._take_spots(spots, again)
        yield from self._take_around()
        yield from self._take_rest()
        self._write()
        self._outline(spots, outlines)

    @property
    def _left(self) -> int:
        return self._room - self._choice.tokens

    def _outline(self, spots: Sequence[Spot], room: int) -> None:
        """Add outlines of the files that are included in part, and of the next most relevant."""
        found = dict.fromkeys(spot.name for spot in spots) if room else {}
        missing = [self._items[name]
                   for name in (*self._spans, *(name for name in found if name not in self._spans))]
        missing = [item for item in missing
                   if item.kind == "file" and item.included != "whole"][:MOST_OUTLINED]
        piece = outline_piece((outline_of(item.name, item.kind, self._reader.passing(item))
                               for item in missing), room,
                              self._reader.cost)
        if piece is not None:
            self._choice.pieces.append(piece)
            self._choice.tokens += self._reader.cost(piece)

    def _take_spots(self, spots: Sequence[Spot], again: float) -> Iterator[int]:
        misses, most = 0, self._choice.tokens + self._left * BEST_SHARE
        for number, spot in enumerate(diverse(spots, again)):
            if self._choice.tokens >= most or self._left < SMALLEST or misses >= MOST_MISSES:
                return
            item = self._items[spot.name]
            seen = item.included == "whole" and not self._shown.has_whole(item)
            if seen or item.name in self._faulty or self._reader.is_slow(item):
                continue
            misses = 0 if self._take_spot(item, spot.span) else misses + 1
            yield number

    def _take_spot(self, item: Item, span: Span) -> bool:
        small = bytes_to_tokens(item.bytes) <= self._left * SMALL_FILE
        if small and item.name not in self._spans and not self._shown.has(item):
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
        if item.name not in self._numbers:
            self._numbers[item.name] = LineNumbers(text)
        pieces = cut(item.name, item.kind, text, [span], item.note, self._numbers[item.name])
        cost = sum(map(self._reader.cost, pieces))
        if any(start == span[1] or end == span[0] for start, end in spans):
            bare = Piece(item.name, item.kind, "", 1, 1, 2, item.note)
            cost -= self._reader.cost(bare) - 1     # it is joined to its neighbour
        if cost > self._left:
            return False
        self._choice.tokens += cost
        if not all(map(self._shown.covers, pieces)):
            self._spans[item.name] = [*spans, span]
            item.included = "pieces"
        return True

    def _take_around(self) -> Iterator[int]:
        """Take the pieces next to the chosen ones, best items first; of named items all that fit.
        """
        for number, (name, spans) in enumerate(list(self._spans.items())):
            item = self._items[name]
            text, fills = self._reader.text(item), item.named and not self._shown.has(item)
            every = spans_of(name, item.kind, text, marks_of(name, item.kind, text))
            taken = [place for place, span in enumerate(every) if span in spans]
            far = {place: min((abs(place - other) for other in taken), default=0)
                   for place in range(len(every)) if every[place] not in spans}
            misses = 0
            for place in sorted(far, key=far.__getitem__):
                if misses >= MOST_MISSES or not fills and far[place] > 1:
                    break
                if self._left < SMALLEST:
                    return
                misses = 0 if self._add(item, text, every[place]) else misses + 1
            yield number

    def _take_rest(self) -> Iterator[int]:
        misses = 0
        last_named = max((place for place, item in enumerate(self._order) if item.named),
                         default=-1)
        for number, item in enumerate(self._order):
            if misses >= MOST_MISSES and number > last_named:
                self._leave_out(islice(self._order, number, None))
                break
            if item.included or item.name in self._faulty:
                continue
            full = self._left < SMALLEST or misses >= MOST_MISSES and not item.named
            if full or not item.named and (bool(self._shown) or self._is_too_large(item)):
                self._choice.left_out.append(item)
                misses += 1
                continue
            if self._take_whole(item) or item.named and self._take_beginning(item):
                misses = 0
            elif item.name not in self._faulty:
                self._choice.left_out.append(item)
                misses += 1
            yield number
        nothing = not self._choice.pieces and not self._spans and not self._choice.images
        if self._order and nothing and not self._shown:
            self._take_any()

    def _leave_out(self, items: Iterable[Item]) -> None:
        """Leave out all of these that are not included."""
        self._choice.left_out += [item for item in items
                                  if not item.included and item.name not in self._faulty]

    def _is_too_large(self, item: Item) -> bool:
        """Whether an item is too large for the remaining room to be worth reading."""
        return item.text is None and (bytes_to_tokens(item.bytes) > self._left * MOST_OVER
                                      or self._reader.is_slow(item))

    def _take_any(self) -> None:
        """Take the beginning of the first item if no item fits and no word of the question occurs.
        """
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
        """Write the chosen parts to the choice; adjacent ones are joined."""
        for name, spans in self._spans.items():
            item, text = self._items[name], self._reader.text(self._items[name])
            pieces = cut(name, item.kind, text, join_spans(spans, text), item.note,
                         self._numbers[name])
            if "\n".join(piece.text for piece in pieces) == text.removesuffix("\n"):
                item.included = "whole"
            item.why = "lines " + ", ".join(dict.fromkeys(piece.place for piece in pieces))
            self._choice.pieces += pieces
