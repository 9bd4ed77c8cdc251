"""Separates inline reasoning (<think>...</think> at the start of an answer) from the answer."""

from __future__ import annotations

from core.events import TextDelta, ThinkingDelta

OPENING = "<think>"
CLOSING = "</think>"


class InlineThinking:
    """Converts pieces of text into text and thinking deltas, independent of how the text is cut.

    Only a tag at the start counts; later ones are part of the answer. With `opened` the answer
    begins inside the reasoning (some templates put the opening tag into the prompt). Line ends next
    to the tags are dropped.
    """

    def __init__(self, *, opened: bool = False) -> None:
        self._state = "thinking" if opened else "start"
        self._held = ""
        self._after_tag = opened

    def feed(self, text: str) -> list[TextDelta | ThinkingDelta]:
        if self._state == "text" and not self._after_tag:
            return [TextDelta(text)] if text else []
        self._held += text
        deltas: list[TextDelta | ThinkingDelta] = []
        if self._state == "start":
            self._start()
        if self._state == "thinking":
            self._think(deltas)
        if self._state == "text":
            self._answer(deltas)
        return deltas

    def flush(self) -> list[TextDelta | ThinkingDelta]:
        """Return the text held back for a possible tag. Call it once, at the end of the answer."""
        held, self._held = self._held, ""
        if not held or self._after_tag and not held.strip("\n"):
            return []
        return [ThinkingDelta(held) if self._state == "thinking" else TextDelta(held)]

    def _start(self) -> None:
        begun = self._held.lstrip()
        if begun.startswith(OPENING):
            self._state, self._held, self._after_tag = "thinking", begun[len(OPENING):], True
        elif not OPENING.startswith(begun):
            self._state = "text"

    def _think(self, deltas: list[TextDelta | ThinkingDelta]) -> None:
        self._drop_line_ends()
        inside, closing, rest = self._held.partition(CLOSING)
        if closing:
            inside = inside.rstrip("\n")
            self._state, self._held, self._after_tag = "text", rest, True
        else:
            inside, self._held = _hold_back(inside)
        if inside:
            deltas.append(ThinkingDelta(inside))

    def _answer(self, deltas: list[TextDelta | ThinkingDelta]) -> None:
        self._drop_line_ends()
        if self._held:
            deltas.append(TextDelta(self._held))
            self._held = ""

    def _drop_line_ends(self) -> None:
        if self._after_tag:
            self._held = self._held.lstrip("\n")
            self._after_tag = not self._held


def _hold_back(text: str) -> tuple[str, str]:
    """Split off an end of the text that may begin the closing tag, with the line ends before it."""
    keep = len(text)
    for size in range(min(len(CLOSING) - 1, len(text)), 0, -1):
        if CLOSING.startswith(text[-size:]):
            keep = len(text) - size
            break
    keep = len(text[:keep].rstrip("\n"))
    return text[:keep], text[keep:]
