"""The rows of a store as plain values."""

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
        """A session as lists show it. `name` is shown to users, `id` is its identity; times are
        seconds since 1970; `parent` is the identity of the session that it was branched from.
        `tags` are separated by spaces; `shelf` is open, archive or trash. `member` is who shared it
        with you; empty for your own sessions.
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
            """The short name that messages use."""
            return short_name(self.name)

    class CallRow(NamedTuple):
        """The statistics of one model call; None where unknown.

        `first` is the time to the first content and `seconds` the total time, both in seconds;
        `speed` is in tokens per second, `cost` in dollars; `error` is the kind of an error.
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
    # Without `typing`, which takes 6 ms to import. A tuple, because one list can hold 10,000 of
    # them.
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
    """A message as stored. Replaced replies are kept, with `active` false.

    `parent` is the identity of the message before it in its branch: 0 for none, None where an
    earlier version did not record it (core/sessions/tree.py). If the row could not be read
    completely, `unreadable` says why, and `message` holds what could be read.
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
    """A message that was still streaming when its program ended."""

    __slots__ = ("session_id", "session_name", "stored", "chunks")

    def __init__(self, session_id: str, session_name: str, stored: StoredMessage,
                 chunks: list[Chunk]) -> None:
        self.session_id, self.session_name, self.stored, self.chunks = (session_id, session_name,
                                                                        stored, chunks)


class OpenReply:
    """A streaming reply: its frames from number `start` on."""

    __slots__ = ("id", "model", "start", "chunks")

    def __init__(self, id: int, model: str, start: int, chunks: list[Chunk]) -> None:
        self.id, self.model, self.start, self.chunks = id, model, start, chunks
