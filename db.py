"""The Store interface for sessions, and open_store(), which opens one in SQLite or PostgreSQL.

Listing sessions loads this module, so it imports nothing slow at the top (measured: `typing` 6 ms,
`dataclasses` 10 ms, sqlite_utils 70 ms; sqlite3 4 ms).
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
    """Stores sessions.

    Methods are synchronous and raise StoreError if the database fails. Every write is one
    transaction and may be repeated without effect. `durable` writes survive a power cut. Times are
    seconds since the epoch.
    """

    @property
    def place(self) -> str:
        """A description of the place, for users."""
        ...

    @property
    def url(self) -> str:
        """The address for open_store() to open another connection; may contain a password."""
        ...

    def create_session(self, session_id: str, title: str, model: str, created: float,
                       first: tuple[int, Message] | None = None, *, name: str = "") -> None:
        """Add a session with its first message, if given, in one transaction.

        `session_id` comes from new_session_id(), `name` is what users see (the ID if empty).
        Raises SessionGone for a session that was deleted.
        """

    def update_session(self, session_id: str, *, title: str | None = None, model: str | None = None,
                       settings: str | None = None, pinned: bool | None = None,
                       tags: str | None = None) -> None: ...

    def shelve_session(self, session_id: str, shelf: Shelf) -> None:
        """Archive a session, move it to the trash, or restore it to the open ones."""

    def empty_trash(self, before: float) -> int:
        """Permanently delete the sessions moved to the trash before then; return their number."""
        ...

    def session_settings(self, session_id: str) -> str:
        """The session's stored settings as JSON (core/chat/kept.py); "" without any."""
        ...

    def add_message(self, session_id: str, message_id: int, message: Message, state: State, *,
                    parent: int | None = None, first: Chunk | None = None) -> None:
        """Append a message; `message_id` comes from new_message_id(), `parent` is the message
        before it (0: none), `first` is the first frame of a streaming message.

        Raises StoreConflict if a different message has that ID.
        """

    def append_chunk(self, message_id: int, seq: int, chunk: Chunk, *,
                     durable: bool = False) -> None:
        """Add a frame to a streaming message. `seq` counts from 0."""

    def finish_message(self, message_id: int, message: Message, state: State) -> None:
        """Replace a message's content; its chunks are deleted unless it is still streaming.

        Raises SessionGone if it does not exist (any more).
        """

    def hide_messages(self, session_id: str, message_ids: Sequence[int]) -> None:
        """Take messages out of the conversation but keep them stored."""

    def replace_messages(self, session_id: str, hidden: Sequence[int],
                         added: Sequence[tuple[int, Message]]) -> None:
        """Hide messages and put `added`, pairs of (new_message_id(), message), in the place of the
        last of them.
        """

    def restore_messages(self, session_id: str, shown: Sequence[int],
                         hidden: Sequence[int]) -> None:
        """Reverse replace_messages(): show hidden messages in their old places and hide others."""

    def find_messages(self, query: Query, limit: int) -> list[tuple[str, int]]:
        """(session ID, message ID) of matching messages, newest first, without those in the trash.
        A limit of 0 means no limit.
        """
        ...

    def find_titles(self, query: Query, limit: int) -> list[SessionRow]:
        """The sessions whose titles match, most recently used first."""
        ...

    def some_messages(self, message_ids: Sequence[int]) -> list[StoredMessage]:
        """The messages with these IDs, in any order; missing ones are skipped."""
        ...

    def some_sessions(self, session_ids: Sequence[str]) -> list[SessionRow]:
        """The sessions with these IDs, in any order; missing ones are skipped."""
        ...

    def load_messages(self, session_id: str, *, hidden: bool = False) -> list[StoredMessage]:
        """The session's messages in order; with `hidden`, also those that are not shown."""
        ...

    def message_ids(self, session_id: str, *, hidden: bool = False) -> list[int]:
        """The IDs of what load_messages() returns, in the same order."""
        ...

    def newest_messages(self, session_id: str, limit: int, before: int = 0) -> list[StoredMessage]:
        """The last `limit` shown messages (0: all) before the message `before` (0: the end), in
        order.
        """
        ...

    def messages_at(self, session_id: str, first: int, count: int) -> list[StoredMessage]:
        """`count` shown messages from position `first` on, counted from 0."""
        ...

    def outline(self, session_id: str) -> list[StoredMessage]:
        """All messages, including hidden ones, with only those parts that the tree of branches
        needs.
        """
        ...

    def has_hidden(self, session_id: str) -> bool:
        """Return whether a session has hidden messages."""
        ...

    def replies(self, session_id: str, before: int) -> list[Message]:
        """The model's shown replies before that message: model, usage and finish, without parts."""
        ...

    def count_earlier(self, session_id: str, before: int, texts: Sequence[str]) -> tuple[int, int]:
        """(number of shown messages before that one, number of those whose stored parts contain
        one of the texts).
        """
        ...

    def sessions(self, limit: int = 0, words: str = "", *,
                 shelf: Shelf = "open") -> list[SessionRow]:
        """The sessions on one shelf, pinned ones first, then the most recently used.

        With `words`, those that match this query (core/store/query.py); its last word is a prefix.
        A limit of 0 means no limit.
        """
        ...

    def count_sessions(self, shelf: Shelf) -> int:
        """How many are on a shelf."""
        ...

    def last_session(self) -> SessionRow | None:
        """Return the open session that was used last."""
        ...

    def unused_sessions(self, before: float) -> list[SessionRow]:
        """The sessions that are not pinned and were last used before then, oldest first."""
        ...

    def find_session(self, name: str) -> SessionRow:
        """The session with this ID or name, or the only one whose name (or ID, from six characters)
        starts or ends with it. Raises SessionNotFound and SessionAmbiguous.
        """
        ...

    def unfinished(self) -> list[Unfinished]:
        """Messages that programs left streaming when they ended."""
        ...

    def open_reply(self, session_id: str, known: int = 0, seen: int = 0) -> OpenReply | None:
        """The reply that is streaming in a session, by whichever program; of the message `known`
        only the frames after the first `seen`.
        """
        ...

    def pulse(self) -> int:
        """A number that changes when another program may have written something; cheap to call."""
        ...

    def begin_turn(self, session_id: str) -> bool:
        """Become the only program that runs a turn in this session; False while another one is.

        Ends with end_turn(), with close(), or when the program ends. Raises SessionGone.
        """
        ...

    def end_turn(self, session_id: str) -> None: ...

    def delete_session(self, session_id: str) -> None:
        """Delete a session permanently; later writes to it raise SessionGone."""

    def create_branch(self, parent: str, session_id: str, title: str, model: str, created: float,
                      messages: Sequence[tuple[int, Message]], *, name: str = "") -> None:
        """Add a session that begins with these messages of its parent, given as pairs of
        (new_message_id(), message), in one transaction.
        """

    def copy_session(self, source: str, session_id: str, title: str, model: str, created: float,
                     pairs: Sequence[tuple[int, int]], *, name: str = "") -> None:
        """Add a session that begins with copies of messages of `source`, given as pairs of (ID, ID
        of the copy), with their states and times, in one transaction.
        """

    def share_session(self, session_id: str, reader: str, *, write: bool) -> None:
        """Let another member of the team read a session, or also write to it.

        Raises UsageError and StoreForbidden.
        """

    def unshare_session(self, session_id: str, reader: str) -> None:
        """Reverse share_session()."""

    def shares(self, session_id: str) -> list[Share]:
        """The members with whom a session is shared."""
        ...

    def import_session(self, row: SessionRow, settings: str,
                       messages: Sequence[StoredMessage]) -> None:
        """Add a session from elsewhere, with all its branches, in one transaction.

        Rows that already exist are kept.
        """

    def add_calls(self, calls: Sequence[tuple[int, CallRow]]) -> None:
        """Store the statistics of model calls, each with an ID from new_message_id()."""

    def calls(self, since: float = 0.0) -> list[CallRow]:
        """The statistics of the model calls since then, oldest first."""
        ...

    def add_vectors(self, model: str, vectors: Mapping[str, bytes], most: int) -> None:
        """Store embeddings by the hash of their text, replacing older ones; beyond `most` in all,
        the oldest are deleted.
        """

    def vectors(self, model: str, hashes: Sequence[str]) -> dict[str, bytes]:
        """The stored embeddings of texts with these hashes, by hash."""
        ...

    def ready(self, *, durable: bool = True) -> AbstractAsyncContextManager[None]:
        """Wait, without blocking the event loop, until other programs do not delay the next write.

        Inside the context, a write is done or refused at once.
        """
        ...

    def overlapping(self, *, soon: bool = False) -> AbstractContextManager[None]:
        """Inside the context, writes may return before they are on the disk.

        They are on the disk when settled() or settle() returns. Otherwise they are written to the
        disk right after the context or, with `soon`, within 250 ms.
        """
        ...

    async def settled(self) -> None:
        """Wait, without blocking the event loop, until all writes are on the disk."""

    def settle(self) -> None:
        """Write everything to the disk now; blocks until it is there."""

    def hurried(self) -> AbstractContextManager[None]:
        """Inside the context, a write waits for other programs only briefly."""
        ...

    def close(self) -> None: ...


def open_store(url: str, *, share: bool = False, user: str = "", whole: bool = False) -> Store:
    """Open a file, sqlite:///FILE or postgresql://...; create missing tables and migrate old ones.

    `share`: allow creating our schema in a PostgreSQL database that another program uses. `user`:
    the team member whose sessions these are, if not the user who connects. `whole`: include the
    sessions of all members that the connecting user may see. Raises StoreError and UsageError.
    """
    address = parse_address(url)
    if address.kind == "postgresql":
        from core.store.postgres.store import PostgresStore
        return PostgresStore(address, share=share, user=user or address.user, whole=whole)
    if user:
        raise UsageError("--user is only for PostgreSQL: a file holds one user's sessions.",
                         "Name a database with --database-url postgresql://...")
    from core.store.sqlite.store import SqliteStore
    return SqliteStore(address.place)
