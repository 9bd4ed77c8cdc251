"""Pasted text at the prompt: a long paste is folded to one sign that stands for its whole text.
"""

from __future__ import annotations

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput

from core.safe_text import safe_text, without_surrogates

FOLDED_FROM = 13       # lines
FIRST = 0xF0000        # private-use characters: one for each folded paste of a prompt
MOST = 0xF000


class Pastes:
    """The texts pasted since the prompt began."""

    def __init__(self) -> None:
        self._folded: dict[str, str] = {}
        self.texts: list[str] = []

    def clear(self) -> None:
        self._folded.clear()
        self.texts.clear()

    def take(self, pasted: str) -> str:
        """What to insert for a paste: its text, or a sign for it."""
        text = clean(pasted)
        self.texts.append(text)
        return self.fold(text)

    def repeats(self, pasted: str, before: str) -> bool:
        """Whether the sign before the cursor stands for the same text, which is then unfolded."""
        return before in self._folded and self._folded[before] == clean(pasted)

    def unfolded(self, pasted: str) -> str:
        return clean(pasted)

    def fold(self, text: str) -> str:
        if count_lines(text) < FOLDED_FROM or len(self._folded) == MOST:
            return text
        sign = chr(FIRST + len(self._folded))
        self._folded[sign] = text
        return sign

    def full(self, text: str) -> str:
        """The text with every folded paste replaced by its content."""
        for sign, pasted in self._folded.items():
            text = text.replace(sign, pasted)
        return text

    def are_in(self, text: str) -> bool:
        """Whether a text contains a folded paste."""
        return any(sign in text for sign in self._folded)

    def label(self, sign: str) -> str | None:
        """How a sign is shown; None for other characters."""
        text = self._folded.get(sign)
        return None if text is None else f"[{count_lines(text):,} lines pasted]"


def count_lines(text: str) -> int:
    """A line end at the end begins no further line."""
    return text.count("\n") + (not text.endswith("\n"))


def clean(pasted: str) -> str:
    """Pasted text with normal line ends, and without the private-use characters that stand for
    pastes.
    """
    text = without_surrogates(pasted).replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii():
        return text
    return "".join("\ufffd" if FIRST <= ord(sign) < FIRST + MOST else sign for sign in text)


class ShownCharacters(Processor):
    """Shows each sign as its label, and what steers a terminal or is not seen (a completed file
    name may contain it, or a paste) as its code point.
    """

    def __init__(self, pastes: Pastes) -> None:
        self._pastes = pastes

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        fragments: StyleAndTextTuples = []
        places = [0]
        for style, text, *_ in transformation_input.fragments:
            for sign in text:
                label = self._pastes.label(sign)
                # prompt_toolkit has marks of its own for ASCII's control characters
                shown = label or (sign if sign.isascii() else safe_text(sign))
                fragments.append((style if label is None else "class:paste", shown))
                places.append(places[-1] + len(shown))

        def to_display(place: int) -> int:
            return places[min(place, len(places) - 1)] + max(0, place - len(places) + 1)

        def to_source(place: int) -> int:
            return max((number for number, start in enumerate(places) if start <= place), default=0)
        return Transformation(fragments, to_display, to_source)
