"""Detects replies that would not end: endlessly repetitive ones and excessively long ones."""

from __future__ import annotations

from core.chat.repetition import Repetition
from core.events import Delta, Finished, TextDelta, ThinkingDelta, ToolCallDelta

MOST_CHARACTERS = 3_000_000   # reasoning, answer and tool arguments of one turn
MOST_CALLS = 500              # tool calls in one turn


class Endless:
    """Watches a turn's text. `reason` says why it must be stopped ("": it need not); `advice` says
    how to let it run.
    """

    def __init__(self, *, repetition: bool) -> None:
        self.reason = self.advice = ""
        self._repetition = repetition
        # one each for the answer, the reasoning and the arguments of tool calls
        self._watches: dict[type, Repetition] = {}
        self._characters = 0
        self._calls: set[tuple[int, int]] = set()
        self._piece = 0

    def begin(self) -> None:
        """Start another piece or reply: repetition is measured again, length is added up."""
        self._watches, self._piece = {}, self._piece + 1

    def take(self, delta: Delta) -> None:
        """Examine a delta. A reply that has ended is never stopped, however repetitive it is."""
        match delta:
            case TextDelta(text=text) | ThinkingDelta(text=text):
                self._written(type(delta), text)
            case ToolCallDelta(index=index, name=name, arguments=text):
                self._calls.add((self._piece, index))
                self._written(type(delta), name + text)
            case Finished():
                self.reason = ""

    def _written(self, kind: type, text: str) -> None:
        self._characters += len(text)
        if self._characters > MOST_CHARACTERS:
            self.reason = (self.reason or f"wrote more than {MOST_CHARACTERS:,} characters in "
                           "one turn")
        elif len(self._calls) > MOST_CALLS:
            self.reason = self.reason or f"called tools more than {MOST_CALLS} times in one turn"
        elif self._repetition:
            self._look(kind, text)

    def _look(self, kind: type, text: str) -> None:
        watch = self._watches.setdefault(kind, Repetition())
        watch.feed(text)
        if watch.reason and not self.reason:
            self.reason, self.advice = watch.reason, "`--no-stop-repetition` lets every reply run."
