"""The messages of a session in memory: the newest at once, earlier ones loaded when needed."""

from __future__ import annotations

from contextlib import suppress

from core.errors import StoreError
from core.messages import Message
from core.sessions.moment import Moment
from core.sessions.newest import Newest, read_newest, read_page
from core.sessions.opening import Opened, open_conversation
from core.store.identity import made_at
from core.store.rows import StoredMessage
from db import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.store.rows import State

_STATES: dict[str | None, State] = {
    "interrupted": "interrupted",
    "truncated": "truncated",
    "incomplete": "truncated",
    "error": "failed",
}


class LoadedMessages:
    """The messages of a conversation. `messages` loads all of them; `recent` never reads the store.

    Only the code that sends a question to the model uses `recent`, so nothing else can miss a
    message.
    """

    def __init__(self) -> None:
        self._recent: list[Message] = []
        self._recent_ids: list[int] = []
        self._waiting = 0  # number of earlier messages that are not loaded yet
        self._source: tuple[Store, str] | None = None  # their store and session
        # All messages that this program saw, for a session that is not stored.
        self._said: dict[int, StoredMessage] = {}
        self._unreadable: frozenset[int] = frozenset()
        self._news: list[str] = []
        self._bare_replies: tuple[int, list[Message]] = (0, [])  # those before this message

    @property
    def messages(self) -> list[Message]:
        """All messages of the shown branch, loaded if needed. Raises StoreError."""
        self._load_waiting()
        return self._recent

    @messages.setter
    def messages(self, messages: list[Message]) -> None:
        self._recent, self._waiting = messages, 0

    @property
    def _ids(self) -> list[int]:
        """The identity of each message."""
        self._load_waiting()
        return self._recent_ids

    @_ids.setter
    def _ids(self, ids: list[int]) -> None:
        self._recent_ids = ids

    @property
    def ids(self) -> tuple[int, ...]:
        """The identity of each message."""
        return tuple(self._ids)

    @property
    def recent(self) -> tuple[Message, ...]:
        """The loaded messages, which are the newest ones."""
        return tuple(self._recent)

    def moment(self) -> Moment:
        """Return the conversation as it is now; its parts are read on access."""
        return Moment(self._waiting, tuple(self._recent_ids), self.recent, self._source)

    @property
    def waiting(self) -> int:
        """The number of messages before `recent` that are not loaded."""
        return self._waiting

    @property
    def count(self) -> int:
        """The number of messages, loaded or not."""
        return self._waiting + len(self._recent)

    @property
    def replies(self) -> list[Message]:
        """Return the model's messages. Those that are not loaded have no parts, only model and
        usage; they are left out if they cannot be read.
        """
        loaded = [message for message in self._recent if message.role == "assistant"]
        return [*self._earlier_replies(), *loaded]

    def newest(self, count: int) -> list[Message]:
        """Return the last `count` messages. Raises StoreError."""
        return (self._recent if len(self._recent) >= count else self.messages)[-count:]

    def before(self, message: Message) -> tuple[Message, ...]:
        """Return messages before this one, which is in `recent`, loading some if none are loaded.

        Empty when there are none, or when they cannot be read, which is reported.
        """
        place = next((place for place, other in enumerate(self._recent) if other is message), 0)
        if not place and self._waiting:
            size = len(self._recent)
            try:
                self._load_page()
            except StoreError as error:
                self._report(f"are not sent, because they cannot be loaded: {error.message}")
            place = len(self._recent) - size
        return tuple(self._recent[:place])

    def _load_stored(self, store: Store, session: str) -> Opened:
        """Replace all messages with those stored now, as far back as before. Raises StoreError."""
        whole = bool(self._recent) and not self._waiting
        newest = (
            Newest(store.load_messages(session))
            if whole
            else read_newest(store, session, since=self._recent_ids[0] if self._recent_ids else 0)
        )
        opened = open_conversation(newest.entries)
        self._recent, self._recent_ids = opened.messages, opened.ids
        self._waiting, self._source = newest.waiting, (store, session)
        self._remember(newest)
        return opened

    def _earlier_replies(self) -> list[Message]:
        if not self._waiting or self._source is None:
            return []
        store, session = self._source
        first = self._recent_ids[0]
        if self._bare_replies[0] != first:
            with suppress(StoreError):  # reported when something is saved
                self._bare_replies = first, store.replies(session, first)
        return self._bare_replies[1]

    def _load_page(self) -> None:
        """Load the newest page of the messages not loaded yet."""
        if self._source is not None:
            page = read_page(*self._source, self._recent_ids[0], loaded=len(self._recent))
            self._put_before(page, self._waiting - len(page.entries) if page.waiting else 0)

    def _load_waiting(self) -> None:
        """Load all messages."""
        if self._waiting and self._source is not None:
            store, session = self._source
            self._put_before(Newest(store.newest_messages(session, 0, self._recent_ids[0])), 0)

    def _put_before(self, page: Newest, waiting: int) -> None:
        if not page.entries:
            self._report("are not stored any more.")
        opened = open_conversation(page.entries)
        self._recent[:0], self._recent_ids[:0] = opened.messages, opened.ids
        self._waiting = max(waiting, 0)
        self._unreadable |= opened.unreadable
        if opened.note:
            self._news.append(opened.note)
        self._remember(page)

    def _load_what_can_be(self) -> None:
        """Load all messages if possible; report what cannot be read."""
        try:
            self._load_waiting()
        except StoreError as error:
            self._report(f"cannot be loaded: {error.message}")
            self._waiting = 0

    def _report(self, what: str) -> None:
        self._news.append(f"The first {self._waiting:,} messages of this conversation {what}")

    def _remember(self, loaded: Newest) -> None:
        parent = loaded.entries[0].parent or 0 if loaded.entries else 0
        self._note_all(parent if loaded.waiting else 0)

    def _note_all(self, parent: int = 0) -> None:
        for identity, message in zip(self._recent_ids, self._recent):
            self._note(identity, message, parent)
            parent = identity

    def _note(self, identity: int, message: Message, parent: int) -> None:
        """Record a message and its parent."""
        if identity not in self._said:
            self._said[identity] = StoredMessage(
                identity, message, state_of(message), True, made_at(identity), "", parent
            )


def state_of(message: Message) -> State:
    return _STATES.get(message.finish, "complete")
