"""Remembers the conversation before each summary, so that a summary can be undone without a store.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.messages import Message


class Summaries:
    def __init__(self) -> None:
        self._before: list[tuple[list[Message], list[int]]] = []

    def note(self, messages: Sequence[Message], identities: Sequence[int]) -> None:
        """Record the conversation before a summary replaces some of its messages."""
        self._before.append((list(messages), list(identities)))

    def clear(self) -> None:
        self._before.clear()

    def with_these(self, wanted: Sequence[int]) -> dict[int, Message] | None:
        """Return the latest recorded conversation, by ID, that contains all of these messages."""
        for messages, identities in reversed(self._before):
            if set(wanted) <= set(identities):
                return dict(zip(identities, messages))
        return None

    def everything(self, messages: Sequence[Message],
                   identities: Sequence[int]) -> dict[int, Message]:
        """Return all messages by ID, including summarised ones, with each summary in the position
        of the messages it replaces.
        """
        order: list[int] = []
        known: dict[int, Message] = {}
        for those, named in (*self._before, (messages, identities)):
            place = 0
            for identity, message in zip(named, those):
                place = order.index(identity) if identity in known else place
                order[place:place] = [] if identity in known else [identity]
                known[identity] = message
                place += 1
        return {identity: known[identity] for identity in order}
