"""Where sessions are kept: the Store, and open_store(), which opens one in SQLite or PostgreSQL.

Listing sessions starts here, so nothing that costs time is imported at module level (measured:
`typing` 6 ms, `dataclasses` 10 ms, sqlite_utils 70 ms; sqlite3 is 4 ms).
"""

from __future__ import annotations

from core.errors import UsageError
from core.store.address import parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from typing import Protocol

    from core.messages import Message
    from core.store.query import Query
    from core.store.rows import (CallRow, Chunk, OpenReply, SessionRow, Shelf, State, StoredMessage,
                                 Unfinished)
    from core.store.sharing import Share
else:
    Protocol = object


class Store(Protocol):
    """Keeps sessions.

    Synchronous; every write is one transaction and may be repeated without effect.

    Methods raise a StoreError when the database does not do its part. `durable`
    writes survive a power cut.
    """

    @property
    def place(self) -> str:
        """For people."""
        ...

    @property
    def url(self) -> str:
        """For open_store(): another connection to the same place. May hold a password."""
        ...

    def create_session(self, session_id: str, title: str, model: str, created: float,
                       first: tuple[int, Message] | None = None, *, name: str = "") -> None:
        """With its first message, if one is given, in one step: a program that is
        killed leaves both or neither.

        `session_id` comes from new_session_id(), `name` is what people see (the ID if empty).
        Raises SessionGone for a session that was deleted.
        """

    def update_session(self, session_id: str, *, title: str | None = None, model: str | None = None,
                       settings: str | None = None, pinned: bool | None = None,
                       tags: str | None = None) -> None: ...

    def shelve_session(self, session_id: str, shelf: Shelf) -> None:
        """Archive a session, put it into the trash, or back among the open ones."""

    def empty_trash(self, before: float) -> int:
        """Delete for good what has been in the trash since before then;
        returns how many sessions.
        """
        ...

    def session_settings(self, session_id: str) -> str:
        """What belongs to the session beside its messages (core/chat/kept.py);
        empty when nothing does.
        """
        ...

    def add_message(self, session_id: str, message_id: int, message: Message, state: State, *,
                    parent: int | None = None, first: Chunk | None = None) -> None:
        """Append a message; `message_id` comes from new_message_id(), `parent` is the
        one before it (0: none), `first` the first frame of one that streams.

        Raises StoreConflict when another one has that ID.
        """

    def append_chunk(self, message_id: int, seq: int, chunk: Chunk, *,
                     durable: bool = False) -> None:
        """Add a frame to a message that is streaming. `seq` counts from 0."""

    def finish_message(self, message_id: int, message: Message, state: State) -> None:
        """Replace what a message holds; its chunks are folded away unless it is still streaming.

        Raises SessionGone when it is not there (any more).
        """

    def hide_messages(self, session_id: str, message_ids: Sequence[int]) -> None:
        """Take messages out of the conversation and keep them stored."""

    def replace_messages(self, session_id: str, hidden: Sequence[int],
                         added: Sequence[tuple[int, Message]]) -> None:
        """Hide messages and put others in the place of the last of them;
        `added` are (new_message_id(), message).
        """

    def restore_messages(self, session_id: str, shown: Sequence[int],
                         hidden: Sequence[int]) -> None:
        """The reverse: show hidden messages again, at their old places, and hide others."""

    def find_messages(self, query: Query, limit: int) -> list[tuple[str, int]]:
        """(session ID, message ID) of the messages that match, the newest first; what is in the
        trash is left out. 0 means no limit.
        """
        ...

    def find_titles(self, query: Query, limit: int) -> list[SessionRow]:
        """The sessions whose titles match, the last used first."""
        ...

    def some_messages(self, message_ids: Sequence[int]) -> list[StoredMessage]:
        """Those with these identities, in any order."""
        ...

    def some_sessions(self, session_ids: Sequence[str]) -> list[SessionRow]:
        """Those with these identities, in any order."""
        ...

    def load_messages(self, session_id: str, *, hidden: bool = False) -> list[StoredMessage]: ...

    def message_ids(self, session_id: str, *, hidden: bool = False) -> list[int]:
        """The identities of what load_messages() returns, in its order."""
        ...

    def newest_messages(self, session_id: str, limit: int, before: int = 0) -> list[StoredMessage]:
        """The last `limit` shown messages before the message `before` (0: of all), in their order;
        0 means no limit.
        """
        ...

    def messages_at(self, session_id: str, first: int, count: int) -> list[StoredMessage]:
        """Shown messages by their places, which count from 0."""
        ...

    def outline(self, session_id: str) -> list[StoredMessage]:
        """All messages, hidden ones too, with the parts of those only that a tree is made by."""
        ...

    def has_hidden(self, session_id: str) -> bool:
        """Whether a session has messages that are not shown."""
        ...

    def replies(self, session_id: str, before: int) -> list[Message]:
        """The model's shown messages before that one: model, usage and finish, without parts."""
        ...

    def count_earlier(self, session_id: str, before: int, texts: Sequence[str]) -> tuple[int, int]:
        """How many messages are shown before that one,
        and how many of those hold one of the texts in their stored parts.
        """
        ...

    def sessions(self, limit: int = 0, words: str = "", *,
                 shelf: Shelf = "open") -> list[SessionRow]:
        """Those on one shelf, the pinned and then the last used first; with `words`, those that
        match them as a query (core/store/query.py) whose last word may go on. 0 means no limit.
        """
        ...

    def count_sessions(self, shelf: Shelf) -> int:
        """How many are on a shelf."""
        ...

    def last_session(self) -> SessionRow | None:
        """The open session that was used last."""
        ...

    def unused_sessions(self, before: float) -> list[SessionRow]:
        """Those that are not pinned and were used last before then, the oldest first."""
        ...

    def find_session(self, name: str) -> SessionRow:
        """The session with this ID or name, or the only one whose name (or ID, from six characters
        on) starts or ends so. Raises SessionNotFound and SessionAmbiguous.
        """
        ...

    def unfinished(self) -> list[Unfinished]:
        """Messages left streaming by programs that have ended."""
        ...

    def open_reply(self, session_id: str, known: int = 0, seen: int = 0) -> OpenReply | None:
        """The reply that streams in a session, whoever writes it;
        of the message `known` only what follows `seen` frames.
        """
        ...

    def pulse(self) -> int:
        """Another number when another program may have written something since the last call;
        costs nearly nothing.
        """
        ...

    def begin_turn(self, session_id: str) -> bool:
        """Become the only program that runs a turn in this session; False while another one does
        that lives. Ends with end_turn(), close() or the program. Raises SessionGone.
        """
        ...

    def end_turn(self, session_id: str) -> None: ...

    def delete_session(self, session_id: str) -> None:
        """For good: nothing of it stays, and later writes to it raise SessionGone."""

    def create_branch(self, parent: str, session_id: str, title: str, model: str, created: float,
                      messages: Sequence[tuple[int, Message]], *, name: str = "") -> None:
        """A session that begins with these messages (new_message_id() and message) of its parent,
        in one transaction.
        """

    def copy_session(self, source: str, session_id: str, title: str, model: str, created: float,
                     pairs: Sequence[tuple[int, int]], *, name: str = "") -> None:
        """A session that begins with copies of messages of `source`, given as (identity, identity
        of the copy), with their states and times, in one transaction.
        """

    def share_session(self, session_id: str, reader: str, *, write: bool) -> None:
        """Let another member of the team read a session, or write to it too.

        Raises UsageError and StoreForbidden.
        """

    def unshare_session(self, session_id: str, reader: str) -> None:
        """The reverse."""

    def shares(self, session_id: str) -> list[Share]:
        """With whom a session is shared."""
        ...

    def import_session(self, row: SessionRow, settings: str,
                       messages: Sequence[StoredMessage]) -> None:
        """Add a session that was made elsewhere, with all its branches, in one transaction.

        What is stored already stays.
        """

    def add_calls(self, calls: Sequence[tuple[int, CallRow]]) -> None:
        """Keep the numbers of model calls; each has an ID from new_message_id()."""

    def calls(self, since: float = 0.0) -> list[CallRow]:
        """The numbers of the model calls since then, the oldest first."""
        ...

    def add_vectors(self, model: str, vectors: Mapping[str, bytes], most: int) -> None:
        """Keep embeddings by the hash of their text, in place of older ones;
        beyond `most` in all, the oldest go.
        """

    def vectors(self, model: str, hashes: Sequence[str]) -> dict[str, bytes]:
        """The embeddings that are kept of these texts."""
        ...

    def ready(self, *, durable: bool = True) -> AbstractAsyncContextManager[None]:
        """Wait, while the event loop goes on, until the next write need not wait for
        other programs; within it, that write is done at once. After the longest
        wait, it is refused at once.
        """
        ...

    def overlapping(self, *, soon: bool = False) -> AbstractContextManager[None]:
        """Within it, writes may return before a power cut cannot take them back any more.

        They are on the disk when settled() or settle() returns; without those at once, or `soon`:
        within less than 250 ms.
        """
        ...

    async def settled(self) -> None:
        """Wait, while the event loop runs on, until the disk has all writes."""

    def settle(self) -> None:
        """The same, at once."""

    def hurried(self) -> AbstractContextManager[None]:
        """Within it, a write waits for other programs only a moment."""
        ...

    def close(self) -> None: ...


def open_store(url: str, *, share: bool = False, user: str = "", whole: bool = False) -> Store:
    """Open `url`: a file, sqlite:///FILE or postgresql://... Creates and migrates what is missing.

    `share`: a PostgreSQL database that another program uses may get a schema of ours. `user`: the
    member of a team for whom it is opened, where that is not who connects; `whole`: with what all
    members have, as far as who connects may see it. Raises StoreError and UsageError.
    """
    address = parse_address(url)
    if address.kind == "postgresql":
        from core.store.postgres.store import PostgresStore
        return PostgresStore(address, share=share, user=user or address.user, whole=whole)
    if user:
        raise UsageError("--user is for sessions in PostgreSQL: those in a file are one user's.",
                         "Name a database with --database-url postgresql://...")
    from core.store.sqlite.store import SqliteStore
    return SqliteStore(address.place)
