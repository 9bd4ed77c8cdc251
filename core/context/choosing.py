"""What of the loaded items goes into a prompt when not everything fits: whole files by relevance, then pieces of the others."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nlargest

from core.context.files import UNGUARDED, read_image, read_text
from core.context.form import MOST_NAMED, OPENING, Piece, whole_piece, write_piece
from core.context.items import Fault, Item
from core.context.nearness import NOT_NEAR, Nearness
from core.context.opening import Guard, open_item
from core.context.ranking import (Counted, as_bytes, best_pieces, bm25, count_words, fused, join_pieces, name_score, split_pieces,
                                  words_of)
from core.errors import ContextError
from core.messages import Image
from core.tools.limited_process import LimitedProcess
from core.window.tokens import IMAGE_TOKENS, TokenEstimator, bytes_to_tokens

SCAN_BYTES = 32 << 20      # read while looking for the words of a question; files beyond are ranked by name alone
SCAN_FILES = 4_000
SEARCHED_OF_ONE = 2 << 20  # of one file
MOST_COMPARED = 2_000      # pieces that are compared by their meaning, for one question
COMPARED_OF_ONE = 200      # of one item
SMALLEST = 60              # tokens; with less room left nothing more is tried
MOST_MISSES = 200          # files in a row that do not fit; then the room counts as full
PIECE_SHARE = 0.34         # of the room that is left: the most that pieces of one item take
STICKY = 0.3               # of the best score: what was in stays in unless something clearly better comes
MOST_CONVERTING = 5.0      # seconds for documents of folders, in one prompt
KEPT_CHARACTERS = 4 << 20  # of texts that are remembered between prompts


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
        self.guard = guard
        self.model = model
        self.documents: LimitedProcess | None = None      # reads those of folders
        self._texts: dict[str, tuple[int, str]] = {}
        self._converting = 0.0
        self._scores: dict[str, float] = {}
        self._near = NOT_NEAR

    def rank(self, items: Sequence[Item], question: str, room: int, choice: Choice, order: list[Item], *,
             vision: bool = True) -> Iterator[int]:
        """Fill `order`, the most relevant first; when everything fits, fill `choice` at once. Yields how many were looked at."""
        self._converting, self._near = 0.0, NOT_NEAR
        choice.tokens = self.estimator.text(OPENING, self.model) + 40 if items else 0
        texts = [item for item in items if item.kind != "image"]
        yield from self._take_images(items, room, choice, vision=vision)
        previous = {item.name for item in texts if item.included}
        if self._may_fit(texts, room - choice.tokens):
            yield from self._take_all(texts, room, choice)
        if not choice.done:
            choice.tokens += min(self._names_cost(texts), room // 10)
            yield from self._rank(texts, words_of(question), previous, choice, order)

    def take(self, order: Sequence[Item], question: str, room: int, choice: Choice) -> Iterator[int]:
        """Fill `choice` with what fits, in this order."""
        if not choice.done:
            yield from self._take(order, words_of(question), room, choice)
        self._forget(choice)
        choice.done = True

    def candidates(self, order: Sequence[Item], question: str, pieces: list[Piece]) -> Iterator[int]:
        """Fill `pieces` with what is worth comparing by meaning: those of the first items, of large ones the best."""
        words, left = words_of(question), SCAN_BYTES
        for number, item in enumerate(order):
            if len(pieces) >= MOST_COMPARED or left <= 0:
                return
            if item.kind == "document" and item.text is None and self._converting > MOST_CONVERTING:
                continue
            try:
                text = self._text(item)[:SEARCHED_OF_ONE]
            except ContextError:
                continue    # told when it is taken
            left -= len(text) + 4_096
            parts = split_pieces(item.name, item.kind, text)
            if len(parts) > COMPARED_OF_ONE:
                parts = list(dict.fromkeys([*best_pieces(parts, words), *parts]))[:COMPARED_OF_ONE]
            pieces += parts[:MOST_COMPARED - len(pieces)]
            yield number

    def reorder(self, order: Sequence[Item], pieces: Sequence[Piece], similar: Mapping[str, float]) -> list[Item]:
        """The order by words and by meaning together; `similar` is by digest_of(piece.text)."""
        self._near = Nearness(pieces, similar)
        nearest = [self._near.of_item(item.name) for item in order]
        scores = fused([self._scores[item.name] for item in order], nearest)
        return [order[place] for place in sorted(range(len(order)), key=lambda place: (-scores[place], -nearest[place]))]

    def _names_cost(self, items: Sequence[Item]) -> int:
        """The most that naming what is left out takes."""
        longest = nlargest(MOST_NAMED, (item.name for item in items), key=len)
        return self.estimator.text(", ".join(longest), self.model) + SMALLEST

    def _take_images(self, items: Sequence[Item], room: int, choice: Choice, *, vision: bool) -> Iterator[int]:
        for item in items:
            if item.kind != "image":
                continue
            item.tokens, item.included = IMAGE_TOKENS, ""
            if not vision:
                choice.faults.append(Fault(item.name, "this model sees no pictures"))
            elif choice.tokens + item.tokens > room:
                choice.left_out.append(item)
            else:
                self._take_image(item, choice)
            yield len(choice.images)

    def _take_image(self, item: Item, choice: Choice) -> None:
        try:
            choice.images.append(read_image(item, self.guard))
        except ContextError as problem:
            choice.faults.append(_fault(item, problem))
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
            piece = self._whole(item, faults)
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

    def _whole(self, item: Item, faults: list[Fault]) -> Piece | None:
        """The whole item as a piece with its tokens counted, or a fault and None."""
        try:
            text = self._text(item)
        except ContextError as problem:
            faults.append(_fault(item, problem))
            item.included = ""
            return None
        piece = whole_piece(item.name, item.kind, text, item.note)
        item.tokens = self.estimator.text(write_piece(piece), self.model)
        return piece

    def _text(self, item: Item) -> str:
        if item.text is not None:
            return item.text
        try:
            stamp = os.stat(item.path).st_mtime_ns
        except OSError:
            stamp = -1
        kept = self._texts.get(item.name)
        if kept is not None and kept[0] == stamp:
            return kept[1]
        started = time.monotonic()
        text = read_text(item, self.guard, self.documents)
        if item.kind == "document":
            self._converting += time.monotonic() - started
            item.text = text   # converting takes long, so it is done once, until the next refresh
        else:
            self._texts[item.name] = (item.stamp, text)
        return text

    def _forget(self, choice: Choice) -> None:
        """Keep only the texts that are in the prompt, and not more than some megabytes of them."""
        names = {piece.name for piece in choice.pieces}
        left = KEPT_CHARACTERS
        for name in list(self._texts):
            left -= len(self._texts[name][1])
            if name not in names or left < 0:
                del self._texts[name]

    def _rank(self, items: Sequence[Item], words: list[str], previous: set[str], choice: Choice,
              order: list[Item]) -> Iterator[int]:
        """Order the items by what they have to do with the question. Those that look likely by name are searched first."""
        named = [name_score(item.name, words) + item.named for item in items]
        by_prior = sorted(range(len(items)), key=lambda place: items[place].name.count("/"))
        likely = sorted(by_prior, key=lambda place: -named[place])
        wanted = as_bytes(words)
        places: list[int] = []
        counted: list[Counted] = []
        left = SCAN_BYTES if words else 0
        for place in likely:
            if left <= 0 or len(places) >= SCAN_FILES:
                break
            data = self._sample(items[place])
            if data is None:
                continue
            left -= len(data) + 4_096
            places.append(place)
            counted.append(Counted(count_words(data, wanted), len(data) or 1))
            yield len(places)
        scores = named
        found = bm25(counted, len(words))
        for place, score in zip(places, found, strict=True):
            scores[place] += score
        bonus = STICKY * max(found, default=0.0)
        for place in [place for place, item in enumerate(items) if item.name in previous]:
            scores[place] += bonus
        self._scores = {item.name: score for item, score in zip(items, scores, strict=True)}
        choice.searched, choice.by_name = len(places), len(items) - len(places)
        order += [items[place] for place in sorted(by_prior, key=lambda place: -scores[place])]

    def _sample(self, item: Item) -> bytes | None:
        """The beginning of an item as bytes, to be searched; empty when it cannot be read (that is told when it is taken).

        None for a document when converting has taken long enough in this prompt.
        """
        if item.text is not None:
            return item.text[:SEARCHED_OF_ONE].encode("utf-8", "surrogatepass")
        if item.kind == "document":
            if self._converting > MOST_CONVERTING:
                return None
            faults: list[Fault] = []
            piece = self._whole(item, faults)
            return piece.text[:SEARCHED_OF_ONE].encode("utf-8", "surrogatepass") if piece else b""
        try:
            with open_item(item, self.guard) as file:
                # A read of a given size makes room for all of it: 100 us more for each small file.
                large = os.fstat(file.fileno()).st_size > SEARCHED_OF_ONE
                data = file.read(SEARCHED_OF_ONE) if large else file.readall()
        except (OSError, ContextError):
            return b""
        return b"" if b"\0" in data[:1_024] else data

    def _take(self, order: Sequence[Item], words: list[str], room: int, choice: Choice) -> Iterator[int]:
        misses = 0
        for number, item in enumerate(order):
            item.included = ""
            left = room - choice.tokens
            if left < SMALLEST or misses >= MOST_MISSES:
                choice.left_out.append(item)
                continue
            if not self._take_one(item, words, left, choice):
                misses += 1
            else:
                misses = 0
            yield number
        if order and not choice.pieces and not choice.images:
            self._take_beginnings(order, room, choice)

    def _take_beginnings(self, order: Sequence[Item], room: int, choice: Choice) -> None:
        """When nothing fits whole and no word of the question occurs, the beginning of the first item is better than nothing."""
        for item in order[:MOST_MISSES]:
            piece = self._whole(item, [])
            taken = self._best_of(piece, [], room - choice.tokens, named=True) if piece else []
            if taken:
                choice.left_out.remove(item)
                self._add_pieces(item, taken, choice)
                return

    def _take_one(self, item: Item, words: list[str], left: int, choice: Choice) -> bool:
        """Take the item whole if it fits, else its best pieces; say whether anything of it was taken."""
        far_too_large = bytes_to_tokens(item.bytes) > left * 3 and not (
            name_score(item.name, words) or self._near.is_near(item.name))
        too_slow = item.kind == "document" and self._converting > MOST_CONVERTING
        if item.text is None and not item.named and (far_too_large or too_slow):
            choice.left_out.append(item)
            return False
        piece = self._whole(item, choice.faults)
        if piece is None:
            return False
        if item.tokens <= left:
            item.included = "whole"
            choice.pieces.append(piece)
            choice.tokens += item.tokens
            return True
        taken = self._best_of(piece, words, left, named=item.named)
        if not taken:
            choice.left_out.append(item)
            return False
        self._add_pieces(item, taken, choice)
        return True

    def _add_pieces(self, item: Item, taken: list[Piece], choice: Choice) -> None:
        item.included = "pieces"
        choice.pieces += taken
        choice.tokens += sum(self._cost(part) for part in taken)

    def _best_of(self, piece: Piece, words: list[str], left: int, *, named: bool) -> list[Piece]:
        """The best pieces that fit; of something that the person named, its beginning when no word occurs in it."""
        pieces = split_pieces(piece.name, piece.kind, piece.text)
        ordered = self._near.best_pieces(pieces, words) or (pieces if named else [])
        room = left if named else max(SMALLEST * 4, int(left * PIECE_SHARE))
        taken: list[Piece] = []
        used = 0
        for part in ordered:
            cost = self._cost(part)
            if used + cost <= min(room, left):
                taken.append(part)
                used += cost
            elif used > room * 0.8:
                break
        return join_pieces(taken)

    def _cost(self, piece: Piece) -> int:
        return self.estimator.text(write_piece(piece), self.model) + 1


def _fault(item: Item, problem: ContextError) -> Fault:
    return Fault(item.name, problem.message.removeprefix(f"{item.name}: "))
