"""The conversation as it was before each summary,
so that a summary can be taken back without the store.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.messages import Message


class Summaries:
    def __init__(self) -> None:
        self._before: list[tuple[list[Message], list[int]]] = []

    def note(self, messages: Sequence[Message], identities: Sequence[int]) -> None:
        """A summary is about to replace some of these."""
        self._before.append((list(messages), list(identities)))

    def clear(self) -> None:
        self._before.clear()

    def with_these(self, wanted: Sequence[int]) -> dict[int, Message] | None:
        """The last conversation, by ID, that had all of these messages."""
        for messages, identities in reversed(self._before):
            if set(wanted) <= set(identities):
                return dict(zip(identities, messages))
        return None

    def everything(self, messages: Sequence[Message],
                   identities: Sequence[int]) -> dict[int, Message]:
        """All messages by ID, today's and those that were summarised,
        each summary at the place of what it stands for.
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
