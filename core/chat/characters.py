"""Joins characters that were split between two deltas (a surrogate pair in two pieces of JSON)."""

from __future__ import annotations

from collections.abc import Iterator

from core.dataclass import replace
from core.events import Delta, TextDelta, ThinkingDelta
from core.safe_text import without_surrogates


class WholeCharacters:
    """Holds back a first half at the end of a delta until the next one; a half that stays alone
    becomes U+FFFD.
    """

    def __init__(self) -> None:
        self._half: TextDelta | ThinkingDelta | None = None

    def feed(self, delta: Delta) -> Iterator[Delta]:
        """The delta with complete characters, preceded by a held half that does not belong to it.
        """
        if not isinstance(delta, (TextDelta, ThinkingDelta)):
            yield from self.rest()
            yield delta
            return
        half = self._half
        if half is not None and (type(half), half.part) != (type(delta), delta.part):
            yield from self.rest()
        elif half is not None:
            delta, self._half = replace(delta, text=half.text + delta.text), None
        if delta.text.isascii():
            yield delta
            return
        text = delta.text
        if "\ud800" <= text[-1] <= "\udbff":
            self._half, text = replace(delta, text=text[-1], extra=None), text[:-1]
        if text or delta.extra:
            yield replace(delta, text=without_surrogates(text))

    def rest(self) -> Iterator[Delta]:
        """What is still held back at the end of the text."""
        half, self._half = self._half, None
        if half is not None:
            yield replace(half, text="\ufffd")
