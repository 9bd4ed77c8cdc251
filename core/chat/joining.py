"""Continues a reply that broke off: how the model is asked, and how the pieces are joined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.dataclass import replace
from core.events import Delta, TextDelta, ThinkingDelta
from core.messages import CONTINUATION, Message, Part, Text, Usage, user_message
from core.regex import regex

SHOWN = 200         # characters of the broken text that the instruction repeats
OVERLAP = 4000      # characters at the joint that are compared
LEAST = 8           # characters; a shorter match is a coincidence, except for a word that was cut
BROKEN = ("truncated", "error", "interrupted", "length", "incomplete")

_NEVER_BROKEN = frozenset(BROKEN).isdisjoint
_CUT_WORD = regex(r"\w{3,}\Z")


def continuation(broken: Message) -> Message:
    """The request to continue, sent after the model's unfinished text but never stored."""
    tail = broken.text[-SHOWN:]
    return user_message(
        f"{CONTINUATION} Go on exactly where it stopped, in the middle of the word if need "
        f"be. Repeat nothing, and do not mention the interruption. It ended with:\n\n{tail}")


class Joint:
    """Joins a continuation to the text before it: drops what the model repeats at its start, and
    nothing else.

    Holds text back until it is clear whether it repeats the end of the previous text (or all of it,
    from the beginning). `before` is the whole answer so far, from all pieces.
    """

    def __init__(self, before: str) -> None:
        self._before = before
        self._end = before[-OVERLAP:]
        self._held: list[TextDelta] = []
        self._text = ""
        self._decided = not before

    def fit(self, delta: Delta) -> Iterator[Delta]:
        """Process a delta of the continuation, and yield what is not a repetition."""
        if self._decided:
            yield delta
        elif isinstance(delta, TextDelta):
            self._held.append(delta)
            self._text += delta.text
            if not self._may_repeat():
                yield from self.rest()
        else:
            if self._text and not isinstance(delta, Usage):
                yield from self.rest()
            yield delta

    def rest(self) -> Iterator[TextDelta]:
        """Decide at the end of the text, and return what was held back.

        Not called for a piece that broke off too: what it held back may be a repetition.
        """
        if self._decided:
            return
        self._decided = True
        drop = repeated(self._before, self._text)
        for delta in self._held:
            kept = delta.text[drop:]
            drop = max(0, drop - len(delta.text))
            if kept or delta.extra:
                yield replace(delta, text=kept)

    def _may_repeat(self) -> bool:
        """Whether more text could turn the held text into a repetition, or a longer one."""
        if self._before.startswith(self._text):
            return True
        bare = self._text.lstrip()
        return len(bare) < len(self._end) and bare in self._end


class SecondReading:
    """Drops the known beginning from an answer that is received a second time.

    If its beginning differs, it is treated like a continuation by the model.
    """

    def __init__(self, before: Message) -> None:
        self._known = {TextDelta: before.text, ThinkingDelta: before.thinking}
        self._joint = Joint(before.text)
        self._same = True

    def fit(self, delta: Delta) -> Iterator[Delta]:
        """Process a delta, and yield what was not known before."""
        if not isinstance(delta, (TextDelta, ThinkingDelta)):
            yield delta
            return
        known, text = self._known[type(delta)], delta.text
        size = min(len(known), len(text))
        self._same = self._same and known[:size] == text[:size]
        if not self._same:
            yield from self._joint.fit(delta)
            return
        self._known[type(delta)] = known[size:]
        if text[size:] or delta.extra:
            yield replace(delta, text=text[size:])

    def rest(self) -> Iterator[TextDelta]:
        return iter(()) if self._same else self._joint.rest()


def repeated(before: str, after: str) -> int:
    """The number of characters at the start of `after` that repeat the end of `before` (or, after
    a restart, all of it from the start).

    A match of one short repeated text (a ruler, an indentation, "ha ha ha") is not counted: the
    answer may simply continue it.
    """
    if after.startswith(before) and not _is_monotonous(before):
        return len(before)
    blank = len(after) - len(after.lstrip())
    for lead in {0, blank}:
        size = _overlap(before, after[lead:])
        if size:
            return lead + size
    word = _CUT_WORD.search(before)
    if word and after.startswith(word[0]) and not word[0].isdigit() and not _is_monotonous(word[0]):
        return len(word[0])
    return 0


def _overlap(before: str, after: str) -> int:
    for size in range(min(len(after), OVERLAP, len(before)), LEAST - 1, -1):
        if before.endswith(after[:size]) and not _is_monotonous(after[:size]):
            return size
    return 0


def _is_monotonous(text: str) -> bool:
    """Whether a text is one short text repeated at least twice, or only white space."""
    return not text.strip() or any(text[period:] == text[:-period]
                                   for period in range(1, len(text) // 2 + 1))


def joined(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The conversation as it is sent: a broken reply and its continuations become one message."""
    if _NEVER_BROKEN([message.finish for message in messages]):
        return tuple(messages)
    result: list[Message] = []
    for message in messages:
        last = result[-1] if result else None
        if (last is not None and last.role == message.role == "assistant" and last.finish in BROKEN
            and not last.tool_calls):
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
