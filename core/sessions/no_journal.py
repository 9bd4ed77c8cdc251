"""The journal of a chat that is not saved."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext

from core.messages import Message
from core.sessions.writes import Write
from core.store.rows import Chunk
from db import Store


class NoJournal:
    """The journal of a chat that is not saved, and the interface of both journals."""

    deleted = False      # the session was deleted while it was open

    @property
    def store(self) -> Store | None:
        """The store, while it contains everything written so far; else None."""
        return None

    @property
    def saved(self) -> bool:
        """Whether the store contains everything written so far."""
        return False

    @property
    def lost(self) -> bool:
        """Whether some unsaved data is in memory only."""
        return False

    @property
    def last_words(self) -> str:
        """What to report when the program ends; empty if everything is saved."""
        return ""

    def take_news(self) -> list[str]:
        """Return news about saving, each only once."""
        return []

    def begin(self, session: str, name: str, title: str, model: str, identity: int,
              message: Message) -> None:
        """Write a new session with its first message."""

    def known(self, session: str, name: str, title: str, model: str, created: float) -> None:
        """Continue a session that is in the store already."""

    def branch(self, parent: str, session: str, name: str, title: str, model: str,
               messages: Sequence[tuple[int, Message]]) -> None:
        """Write a session that begins with messages of its parent. Raises StoreError."""

    def begin_turn(self, session: str) -> bool:
        """Claim the turn in a session; return False while another program has it."""
        return True

    def end_turn(self, session: str) -> float | None:
        """Release the turn; return changed() after it."""
        return None

    def changed(self, session: str) -> float | None:
        """Return when the stored session was last changed; None if unknown."""
        return None

    def write(self, write: Write) -> None:
        """Perform a write; messages in it are JSON values."""

    def begin_reply(self, begun: Write, first: Chunk | None) -> None:
        """Write a streaming message with its first frame, in one transaction."""

    def chunk(self, identity: int, seq: int, chunk: Chunk, *, durable: bool) -> None:
        """Write a frame. This is the fast path: nothing is built that the store does not need."""

    async def settled(self) -> None:
        """Wait until everything written so far would survive a power cut."""

    def ready(self, *, durable: bool = True) -> AbstractAsyncContextManager[None]:
        """Wait, without blocking the event loop, until the next write need not wait."""
        return nullcontext()

    def hurried(self) -> AbstractContextManager[None]:
        """Within it, spool a write after waiting only a moment for other programs."""
        return nullcontext()

    def retry(self) -> None:
        """Try to save pending writes; report again if that fails."""

    def another(self) -> NoJournal:
        """Return a journal for another session in the same store."""
        return NoJournal()

    def close(self) -> None:
        """Try to save a last time; pending writes stay in the spool file for the next start."""
