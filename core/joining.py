"""Finishing a reply that broke off: how the model is asked to go on, and how the pieces are put together without a seam."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from core.events import Delta, Finished, TextDelta, ToolCallDelta
from core.messages import Message, Part, Text, user_message

SHOWN = 200         # characters of the broken text that the instruction repeats
OVERLAP = 400       # characters at the joint that are compared
LEAST = 8           # a shorter match is chance
BROKEN = ("truncated", "error", "interrupted", "length")


def continuation(broken: Message) -> Message:
    """What the model is told after its own unfinished text. Sent, never stored."""
    tail = broken.text[-SHOWN:]
    return user_message(
        "Your last answer was cut off by a technical fault. Go on exactly where it stopped, in the middle of the word if need "
        f"be. Repeat nothing, and do not mention the interruption. It ended with:\n\n{tail}")


class Joint:
    """Fits the text that goes on to the text before it: what a model repeats at the start is dropped, nothing else.

    Holds text back until it is clear whether it repeats the end of what came before (or all of it, from the beginning).
    """

    def __init__(self, before: str) -> None:
        self._before = before
        self._held = ""
        self._decided = not before

    def fit(self, delta: Delta) -> Iterator[Delta]:
        if self._decided:
            yield delta
        elif isinstance(delta, TextDelta):
            self._held += delta.text
            if not self._may_repeat():
                yield from self.rest()
        else:
            if isinstance(delta, (ToolCallDelta, Finished)):
                yield from self.rest()
            yield delta

    def rest(self, *, broken: bool = False) -> Iterator[TextDelta]:
        """Decide now, with what has come. When this piece broke off as well, a beginning that came again is a repetition."""
        if not self._decided:
            self._decided = True
            restarted = broken and len(self._held) >= LEAST and self._before.startswith(self._held)
            fresh = "" if restarted else self._held[self._repeated():]
            if fresh:
                yield TextDelta(fresh)

    def _may_repeat(self) -> bool:
        """Could more text turn what is held into a repetition, or a longer one?"""
        if self._before.startswith(self._held):
            return True
        end = self._before[-OVERLAP:]
        return len(self._held) < len(end) and any(
            end.startswith(self._held, start) for start in range(len(end) - len(self._held) + 1))

    def _repeated(self) -> int:
        """How many characters of the held text stand already at the end (or, after a restart, from the start) of what came."""
        if self._held.startswith(self._before) and len(self._before) >= LEAST:
            return len(self._before)
        for size in range(min(len(self._held), OVERLAP, len(self._before)), LEAST - 1, -1):
            if self._before.endswith(self._held[:size]):
                return size
        return 0


def joined(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The conversation as it is sent: a broken reply and the one that finished it are one message again."""
    result: list[Message] = []
    for message in messages:
        last = result[-1] if result else None
        if last is not None and last.role == message.role == "assistant" and last.finish in BROKEN and not last.tool_calls:
            result[-1] = replace(message, parts=_run_together((*last.parts, *message.parts)))
        else:
            result.append(message)
    return tuple(result)


def _run_together(parts: Sequence[Part]) -> tuple[Part, ...]:
    merged: list[Part] = []
    for part in parts:
        last = merged[-1] if merged else None
        if isinstance(last, Text) and isinstance(part, Text) and not last.extra and not part.extra:
            merged[-1] = Text(last.text + part.text)
        else:
            merged.append(part)
    return tuple(merged)


def open_fence(text: str) -> str:
    """The opening line of a code fence that `text` leaves open, or nothing: what goes on after it is still code."""
    opened = ""
    for line in text.split("\n"):
        bare = line.lstrip()
        if opened and bare.startswith(opened[:3]) and not bare.strip("`~ "):
            opened = ""
        elif not opened and bare.startswith(("```", "~~~")):
            opened = bare
    return opened
