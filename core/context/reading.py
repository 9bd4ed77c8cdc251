"""Reads the texts of items while context is chosen, and caches those that were chosen."""

from __future__ import annotations

import os
import time
from collections.abc import Collection

from core.context.files import read_text
from core.context.form import Piece, whole_piece, write_piece
from core.context.items import Fault, Item
from core.context.opening import UNGUARDED, Guard, read_beginning
from core.dataclass import replace
from core.errors import ContextError
from core.tools.limited_process import LimitedProcess
from core.window.tokens import TokenEstimator

SEARCHED_OF_ONE = 2 << 20  # bytes of one file that are searched
MOST_CONVERTING = 5.0      # seconds for documents of folders, in one prompt
COUNTED_CHARACTERS = 1 << 20     # characters whose tokens are counted; the rest is extrapolated
KEPT_CHARACTERS = 4 << 20  # characters of texts that are cached between prompts


class Reader:
    """Reads and caches texts. Call begin() before each prompt."""

    def __init__(self, estimator: TokenEstimator, model: str = "",
                 guard: Guard = UNGUARDED) -> None:
        self.estimator, self.model, self.guard = estimator, model, guard
        self.documents: LimitedProcess | None = None      # converts documents of folders
        self._texts: dict[str, tuple[int, str]] = {}
        self._converting = 0.0

    def begin(self) -> None:
        self._converting = 0.0

    def is_slow(self, item: Item) -> bool:
        """Whether to skip this document for now: the time for conversion in this prompt is used up.
        """
        return item.kind == "document" and item.text is None and self._converting > MOST_CONVERTING

    def text(self, item: Item) -> str:
        """The whole text. Raises ContextError."""
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
            item.text = text   # conversion is slow, so its result is kept until the next refresh
        else:
            self._texts[item.name] = (item.stamp, text)
        return text

    def passing(self, item: Item) -> str:
        """The whole text without caching it; "" if it cannot be read, which is reported when it is
        chosen.
        """
        known = item.name in self._texts
        try:
            return self.text(item)
        except ContextError:
            return ""
        finally:
            if not known:
                self._texts.pop(item.name, None)

    def sample(self, item: Item) -> bytes | None:
        """The beginning of the text as bytes to search; empty if it cannot be read, which is
        reported when it is chosen. None for a document that is skipped for now.
        """
        if item.text is not None:
            return item.text[:SEARCHED_OF_ONE].encode("utf-8", "surrogatepass")
        if item.kind == "document":
            return (None if self.is_slow(item)
                    else self.passing(item)[:SEARCHED_OF_ONE].encode("utf-8", "surrogatepass"))
        try:
            data = read_beginning(item, self.guard, SEARCHED_OF_ONE)
        except (OSError, ContextError):
            return b""
        return b"" if b"\0" in data[:1_024] else data

    def whole(self, item: Item, faults: list[Fault]) -> Piece | None:
        """The whole item as a piece with its tokens counted; on failure, add a fault and return
        None.
        """
        try:
            text = self.text(item)
        except ContextError as problem:
            faults.append(fault_of(item, problem))
            item.included = ""
            return None
        piece = whole_piece(item.name, item.kind, text, item.note)
        item.tokens = self._tokens_of(piece)
        return piece

    def _tokens_of(self, piece: Piece) -> int:
        """The tokens of a piece; a long text is estimated from its beginning, since numbering
        millions of lines takes seconds, blocks everything else and needs much memory.
        """
        share = min(1.0, COUNTED_CHARACTERS / max(1, len(piece.text)))
        if share == 1.0:
            return self.estimator.text(write_piece(piece), self.model)
        beginning = replace(piece, text=piece.text[:COUNTED_CHARACTERS])
        return round(self.estimator.text(write_piece(beginning), self.model) / share)

    def cost(self, piece: Piece) -> int:
        return self.estimator.text(write_piece(piece), self.model) + 1

    def forget(self, names: Collection[str]) -> None:
        """Drop cached texts except those of these items, and all beyond KEPT_CHARACTERS."""
        left = KEPT_CHARACTERS
        for name in list(self._texts):
            left -= len(self._texts[name][1])
            if name not in names or left < 0:
                del self._texts[name]


def fault_of(item: Item, problem: ContextError) -> Fault:
    return Fault(item.name, problem.message.removeprefix(f"{item.name}: "), problem.hint)
