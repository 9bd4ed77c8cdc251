"""Marks messages as pinned, or as a summary of older ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from core.dataclass import replace
from core.errors import UsageError
from core.messages import Message, Text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.window.compaction import Plan

OWN = "stream_chat"      # our entry in a part's `extra`
ASKED = "(Earlier part of this conversation, {count} messages, summarised to save room.)"


def summary_messages(plan: Plan, reply: Message, ids: Sequence[int]) -> tuple[Message, Message]:
    """Return the pair of messages (user, assistant) that replaces the old turns.

    `ids` are the stored identities of plan.hidden, which the pair records. Raises UsageError when
    the reply is not a complete summary; then nothing may be hidden.
    """
    if reply.finish != "stop" or not reply.text.strip():
        what = ("The summary was cut off at its length limit" if reply.finish == "length"
                else "The model did not write a summary")
        raise UsageError(f"{what}; the conversation is unchanged.",
                         "Try /compact again, or another model.")
    note = Text(ASKED.format(count=len(plan.hidden)), {OWN: {"compacted": list(ids)}})
    return (Message("user", (note,)),
            Message("assistant", (Text(reply.text.strip()),), reply.model, reply.usage, "stop"))


Entry = TypeVar("Entry")


def replace_places(entries: Sequence[Entry], hidden: Sequence[int],
                   added: Sequence[Entry]) -> list[Entry]:
    """Return the entries with `added` in place of the last hidden one. Works for messages and for
    IDs.
    """
    gone = set(hidden)
    result: list[Entry] = []
    for place, entry in enumerate(entries):
        if place not in gone:
            result.append(entry)
        elif place == hidden[-1]:
            result += added
    return result


def compacted_ids(message: Message) -> tuple[int, ...]:
    """Return the IDs of the messages that this summary replaces; empty for any other message."""
    for part in message.parts:
        own: Any = (part.extra or {}).get(OWN) if isinstance(part, Text) else None
        if isinstance(own, dict) and own.get("compacted"):
            return tuple(own["compacted"])
    return ()


def is_pinned(message: Message) -> bool:
    return any(part.extra is not None and (part.extra.get(OWN) or {}).get("pinned")
               for part in message.parts if isinstance(part, Text))


def pinned_places(messages: Sequence[Message]) -> tuple[int, ...]:
    """Return the indexes of the pinned messages, which are never summarised or left out."""
    return tuple(place for place, message in enumerate(messages) if is_pinned(message))


def pin(message: Message, *, on: bool = True) -> Message:
    """Return the message with or without our mark on its first text. Raises UsageError for a
    message without text.
    """
    place = next((place for place, part in enumerate(message.parts) if isinstance(part, Text)),
                 None)
    if place is None:
        raise UsageError("A message without text cannot be pinned.")
    words = message.parts[place]
    assert isinstance(words, Text)
    own = {name: value for name, value in ((words.extra or {}).get(OWN) or {}).items()
           if name != "pinned"}
    extra = {**{name: value for name, value in (words.extra or {}).items() if name != OWN},
             **({OWN: own | ({"pinned": True} if on else {})} if own or on else {})}
    parts = (*message.parts[:place], replace(words, extra=extra or None),
             *message.parts[place + 1:])
    return replace(message, parts=parts)


def find_summary(messages: Sequence[Message]) -> int | None:
    """Return the index of the newest summary's first message, the one that /uncompact undoes."""
    return next((place for place in reversed(range(len(messages)))
                 if compacted_ids(messages[place])), None)
