"""What a store holds, as plain values."""

from __future__ import annotations

from collections import namedtuple

from core.store.identity import short_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, NamedTuple

    from core.messages import Message

    State = Literal["streaming", "complete", "interrupted", "truncated", "failed"]
    Shelf = Literal["open", "archived", "trash"]

    class SessionRow(NamedTuple):
        """A session as lists show it.

        `name` is for people, `id` is its identity; times are seconds since 1970; `parent` is
        the identity of the session that it was branched from. `tags` are words with a space
        between them; `shelf` is where the session is kept. `member` is who shared it with
        you, empty for your own.
        """

        id: str
        name: str
        title: str
        model: str
        created: float
        updated: float
        message_count: int
        parent: str | None = None
        pinned: int = 0
        shelf: Shelf = "open"
        tags: str = ""
        member: str = ""

        @property
        def short_name(self) -> str:
            """What messages call it."""
            return short_name(self.name)

    class CallRow(NamedTuple):
        """The numbers of one model call; None where they are not known.

        `first` and `seconds` are the times to the first content and in all, `speed` is tokens per
        second, `cost` dollars, `error` an error's kind.
        """

        created: float
        session: str
        provider: str
        model: str
        host: str
        first: float | None
        seconds: float
        input_tokens: int | None
        output_tokens: int | None
        cached_tokens: int | None
        speed: float | None
        cost: float | None
        retries: int
        fallbacks: int
        finish: str | None
        error: str | None
else:
    # The same without `typing`, which takes 6 ms to import. A tuple, because 10,000 of them
    # are made for one list.
    class SessionRow(namedtuple("SessionRow", "id name title model created updated message_count "
                                "parent pinned shelf tags member",
                                defaults=(None, 0, "open", "", ""))):
        __slots__ = ()

        @property
        def short_name(self):
            return short_name(self.name)
    CallRow = namedtuple("CallRow", "created session provider model host first seconds "
                                    "input_tokens output_tokens cached_tokens speed cost retries "
                         "fallbacks finish error")


class StoredMessage:
    """A message and what the store knows of it. Replaced replies stay, with `active` false.

    `parent` is the identity of the message before it in its branch: 0 for none, None where an
    earlier version did not write it down (core/sessions/tree.py). `unreadable` says why not all of
    the row could be read; then `message` holds what could, and the row is kept.
    """

    __slots__ = ("id", "message", "state", "active", "created", "unreadable", "parent")

    def __init__(self, id: int, message: Message, state: State, active: bool, created: float,
                 unreadable: str = "",
                 parent: int | None = None) -> None:
        self.id, self.message, self.state, self.active, self.created = (id, message, state, active,
                                                                        created)
        self.unreadable, self.parent = unreadable, parent


class Chunk:
    """One frame of a reply: `kind` is text or thinking, `extra` JSON."""

    __slots__ = ("kind", "part", "text", "extra")

    def __init__(self, kind: str, part: int, text: str, extra: str | None = None) -> None:
        self.kind, self.part, self.text, self.extra = kind, part, text, extra


class Unfinished:
    """A message that a program which has ended left half-written."""

    __slots__ = ("session_id", "session_name", "stored", "chunks")

    def __init__(self, session_id: str, session_name: str, stored: StoredMessage,
                 chunks: list[Chunk]) -> None:
        self.session_id, self.session_name, self.stored, self.chunks = (session_id, session_name,
                                                                        stored, chunks)


class OpenReply:
    """A reply that streams: its frames from number `start` on."""

    __slots__ = ("id", "model", "start", "chunks")

    def __init__(self, id: int, model: str, start: int, chunks: list[Chunk]) -> None:
        self.id, self.model, self.start, self.chunks = id, model, start, chunks
