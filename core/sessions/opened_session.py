"""An open session: claiming turns, saving messages, and loading what other programs wrote."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager

from core.errors import StoreError, UsageError
from core.events import Notice, OthersSaid
from core.messages import Message
from core.safe_text import safe_line
from core.sessions.journal import Journal
from core.sessions.loaded import LoadedMessages, state_of
from core.sessions.no_journal import NoJournal
from core.sessions.recovery import recover_session
from core.sessions.sharing import settings_of_others, with_own
from core.sessions.spool_places import Places
from core.sessions.summaries import Summaries
from core.sessions.writes import Write, message_write
from core.store.identity import new_session_id, new_session_name, short_name
from core.store.rows import SessionRow
from db import Store

LOOK_SECONDS = 0.1       # seconds between checks while waiting for another program's turn


class OpenedSession(LoadedMessages):
    """One conversation. With `store` None nothing is written anywhere.

    The session is stored with its first message, so a chat that was opened and closed unused leaves
    nothing. `spool` is the directory for writes that the store does not accept.
    """

    def __init__(self, store: Store | None, spool: str | Places = "", *, model: str = "") -> None:
        super().__init__()
        self.id, self.name = new_session_id(), new_session_name(time.time())
        self.title = ""
        self.model = model
        self.settings = ""     # the session's settings as stored
        self._journal = NoJournal() if store is None else Journal(store, spool, self._all_writes)
        self._is_shared = False     # whether another member shared it
        self._of_owner = ""    # the complete settings of the member who shared the session
        self._summaries = Summaries()
        self._stored = False
        # when the stored session was last changed, as far as this program knows
        self._seen: float | None = None
        # the same at the last check, even if a reply was still streaming then
        self._looked: float | None = None
        self._others: OthersSaid | None = None  # what other programs wrote that was not shown yet
        self._owned = False    # whether this program has the turn

    @property
    def short_name(self) -> str:
        """The short name that messages use."""
        return short_name(self.name)

    @property
    def saved(self) -> bool:
        """Whether the store contains everything so far. False with --no-save."""
        return self._journal.saved

    @property
    def store(self) -> Store | None:
        """The store, while it contains everything so far; else None."""
        return self._journal.store

    @property
    def last_words(self) -> str:
        """What to report at the end about unsaved messages; empty if all are saved or with
        --no-save.
        """
        return self._journal.last_words

    @property
    def lost(self) -> bool:
        """Whether some unsaved data is in memory only."""
        return self._journal.lost

    def take_news(self) -> list[str]:
        """Return news about saving (NOT SAVED ..., Saved again ...), each only once."""
        news, self._news = self._news + self._journal.take_news(), []
        return news

    def close(self) -> None:
        self.end_turn()
        self._journal.close()

    def resume(self, row: SessionRow, store: Store) -> None:
        """Become the saved session `row`."""
        self.id, self.name, self.title, self.model = (row.id, row.name, row.title,
                                                      row.model or self.model)
        self.settings = store.session_settings(row.id)
        self._is_shared = bool(row.member)
        if row.member:
            self._of_owner, self.settings = self.settings, settings_of_others(self.settings)
        self._stored, self._seen = True, row.updated
        self._load(store)
        self._journal.known(row.id, row.name, row.title, row.model, row.created)

    def is_withdrawn(self) -> bool:
        """Whether another member shared this session and does so no longer. False while the
        database does not answer.
        """
        if not self._is_shared or self.store is None:
            return False
        try:
            return not self.store.some_sessions([self.id])
        except StoreError:
            return False

    def _load(self, store: Store) -> None:
        before = self._recent_ids
        opened = self._load_stored(store, self.id)
        if opened.note and opened.unreadable != self._unreadable:
            self._news.append(opened.note)
        if opened.ids != before:
            self._summaries.clear()
        if opened.streams:
            self._seen = None    # load it again when we get the turn
        self._unreadable = opened.unreadable

    def _write_to(self, journal: NoJournal) -> None:
        if isinstance(journal, Journal):
            journal.everything = self._all_writes
        self._journal = journal

    # ---- claiming turns

    async def begin_turn(self) -> AsyncGenerator[Notice, None]:
        """Wait while another program's turn runs in this session, then claim the turn and load what
        others added.
        """
        waiting = False
        while not await self._own_soon():
            if not waiting:
                yield Notice("Another program is answering in this session; your message waits "
                             "until it has finished.")
            waiting = True
            others = self.look()
            if others is not None:
                yield others
            await asyncio.sleep(LOOK_SECONDS)
        self._take_in()
        others = self._take_unseen()
        if others is not None:
            yield others

    def look(self) -> OthersSaid | None:
        """Load what other programs wrote since the last call, between turns; None for nothing.

        Costs one small query when nothing was written. Raises StoreError.
        """
        changed = self._journal.changed(self.id) if self._stored else None
        if changed not in (None, self._seen, self._looked):
            self._looked = changed
            self._take_in()
        return self._take_unseen()

    def _take_unseen(self) -> OthersSaid | None:
        others, self._others = self._others, None
        return others

    def _take_in(self) -> bool:
        """Load the conversation again if another program changed it; return whether it had."""
        store, changed = (self._journal.store,
                          self._journal.changed(self.id) if self._stored else None)
        if store is None or changed is None or changed == self._seen:
            return False
        before, waiting = self._recent_ids, self._waiting
        recover_session(store, self.id)
        self._seen = changed
        self._load(store)
        start = self._recent_ids.index(before[0]) if before and before[0] in self._recent_ids else 0
        now, same = self._recent_ids[start:], not before or self._waiting + start == waiting
        if now == before and same:
            return False
        added = same and now[:len(before)] == before
        self._others = _joined(self._others, self.recent[start + len(before) if added else 0:],
                               changed=not added)
        return True

    async def _own_soon(self) -> bool:
        if not self._stored:
            return True
        async with self._journal.ready(durable=False):
            return self._own()

    async def settled(self) -> None:
        """Wait until everything so far would survive a power cut."""
        await self._journal.settled()

    def ready(self) -> AbstractAsyncContextManager[None]:
        """Wait, without blocking the event loop, until the next message can be saved at once."""
        return self._journal.ready()

    def _own(self) -> bool:
        """Claim the turn; return False while another program has it."""
        self._owned = self._stored and self._journal.begin_turn(self.id)
        return self._owned or not self._stored

    def is_answered_elsewhere(self) -> bool:
        """Return whether another program's turn runs in this session.

        When it has ended, what it wrote is loaded.
        """
        if not self._own():
            return True
        try:
            self._take_in()
        finally:
            self.end_turn()
        return False

    def end_turn(self) -> None:
        """Release the turn if this program has it."""
        if self._owned:
            self._owned = False
            self._seen = self._journal.end_turn(self.id)

    @contextmanager
    def _between_turns(self) -> Iterator[None]:
        """Hold the turn while the conversation is changed. Raises UsageError if another program has
        it.
        """
        if not self._own():
            raise UsageError("Another program is answering in this session.",
                             "Try again when it has finished.")
        try:
            if self._take_in():
                raise UsageError("Another program has just written to this conversation; nothing "
                                 "was changed.",
                                 "Read what it wrote, then try again.")
            yield
        finally:
            self.end_turn()

    # ---- title and settings

    def set_model(self, model: str) -> None:
        self.model = model
        self._update(model=model)

    def set_title(self, title: str) -> None:
        """Rename the session. Raises UsageError for an empty title."""
        if not title.strip():
            raise UsageError("The title is empty.", "Example: /rename Plans for the garden")
        self.title = safe_line(" ".join(title.split()), 200)
        self._update(title=self.title)

    def keep_settings(self, text: str) -> None:
        """Store the session's settings (core/chat/kept.py)."""
        if text != self.settings and self._stored:
            self.settings = text
            self._update(settings=with_own(self._of_owner, text) if self._of_owner else text)

    def _update(self, **changes: str) -> None:
        if self._stored:
            self._journal.write({"do": "update", "session": self.id, "title": None, "model": None,
                                 **changes})

    def _all_writes(self) -> list[Write]:
        """Return the complete conversation as writes, for a store that lost it."""
        self._load_what_can_be()
        known = self._summaries.everything(self.messages, self._ids)
        summarised = [identity for identity in known if identity not in set(self._ids)]
        writes: list[Write] = [{"do": "update", "session": self.id, "title": self.title,
                                "model": self.model,
                                "settings": self.settings}]
        writes += [message_write("add", message, session=self.id, id=identity,
                                 state=state_of(message))
                   for identity, message in known.items()]
        if summarised:
            writes.append({"do": "hide", "session": self.id, "ids": summarised})
        return writes


def _joined(before: OthersSaid | None, messages: tuple[Message, ...], *,
            changed: bool) -> OthersSaid:
    """Combine what others wrote with what they wrote before that was not shown yet."""
    if before is not None and not changed:
        messages, changed = before.messages + messages, before.changed
    count = "1 message" if len(messages) == 1 else f"{len(messages):,} messages"
    text = ("Another program changed this conversation; it was reloaded." if changed
            else f"Another program added {count} to this conversation.")
    return OthersSaid(text, messages, changed)
