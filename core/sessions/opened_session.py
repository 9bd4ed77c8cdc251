"""A session as it is opened, taken turns in and written:
whose turn it is, and where its messages go.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager

from core.errors import UsageError
from core.events import Notice, OthersSaid
from core.messages import Message
from core.safe_text import safe_line
from core.sessions.journal import Journal, NoJournal
from core.sessions.loaded import LoadedMessages, state_of
from core.sessions.recovery import recover_session
from core.sessions.sharing import settings_of_others, with_own
from core.sessions.spool import Places
from core.sessions.summaries import Summaries
from core.sessions.writes import Write, message_write
from core.store.identity import new_session_id, new_session_name, short_name
from core.store.rows import SessionRow
from db import Store

LOOK_SECONDS = 0.1       # how often another program's turn is looked at while it is waited for


class OpenedSession(LoadedMessages):
    """One conversation. With `store` None nothing is written anywhere.

    The session gets its row in the store with its first message, so a chat that was opened and left
    leaves nothing. `spool` is the directory for what the store refuses.
    """

    def __init__(self, store: Store | None, spool: str | Places = "", *, model: str = "") -> None:
        super().__init__()
        self.id, self.name = new_session_id(), new_session_name(time.time())
        self.title = ""
        self.model = model
        self.settings = ""     # what belongs to it beside its messages, as it is stored
        self._journal = NoJournal() if store is None else Journal(store, spool, self._all_writes)
        self._of_owner = ""    # the same of who shared the session with us, whole
        self._summaries = Summaries()
        self._stored = False
        # when the stored session had changed last, as far as this program knows
        self._seen: float | None = None
        # the same at the last look, also when a reply was still streaming then
        self._looked: float | None = None
        self._others: OthersSaid | None = None  # what other programs wrote and nobody was shown yet
        self._owned = False    # whether the turn is ours

    @property
    def short_name(self) -> str:
        """What messages call it."""
        return short_name(self.name)

    @property
    def saved(self) -> bool:
        """Whether everything so far is in the store. False with --no-save."""
        return self._journal.saved

    @property
    def store(self) -> Store | None:
        """Where it is kept, while everything so far is there."""
        return self._journal.store

    @property
    def last_words(self) -> str:
        """What to say at the end about what is not saved;
        empty when all is, or nothing is to be.
        """
        return self._journal.last_words

    @property
    def lost(self) -> bool:
        """Whether something that should be saved is in memory only."""
        return self._journal.lost

    def take_news(self) -> list[str]:
        """What the user should know about saving (NOT SAVED ..., Saved again ...), once each."""
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
        if row.member:
            self._of_owner, self.settings = self.settings, settings_of_others(self.settings)
        self._stored, self._seen = True, row.updated
        self._load(store)
        self._journal.known(row.id, row.name, row.title, row.model, row.created)

    def _load(self, store: Store) -> None:
        before = self._recent_ids
        opened = self._load_stored(store, self.id)
        if opened.note and opened.unreadable != self._unreadable:
            self._news.append(opened.note)
        if opened.ids != before:
            self._summaries.clear()
        if opened.streams:
            self._seen = None    # to be loaded again when it is our turn
        self._unreadable = opened.unreadable

    def _write_to(self, journal: NoJournal) -> None:
        if isinstance(journal, Journal):
            journal.everything = self._all_writes
        self._journal = journal

    # ---- whose turn it is

    async def begin_turn(self) -> AsyncGenerator[Notice, None]:
        """Wait while another program's turn runs in this session,
        then own the next one and take in what others added.
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
        others = self._untold()
        if others is not None:
            yield others

    def look(self) -> OthersSaid | None:
        """Take in what other programs wrote since the last look, between turns; None for nothing.

        Costs one small query when nothing was written. Raises StoreError.
        """
        changed = self._journal.changed(self.id) if self._stored else None
        if changed not in (None, self._seen, self._looked):
            self._looked = changed
            self._take_in()
        return self._untold()

    def _untold(self) -> OthersSaid | None:
        others, self._others = self._others, None
        return others

    def _take_in(self) -> bool:
        """Load the conversation again if another program changed it;
        whether there was anything new.
        """
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
        """Wait until a power cut takes back nothing of what was said so far."""
        await self._journal.settled()

    def ready(self) -> AbstractAsyncContextManager[None]:
        """Wait, while the event loop runs, until what is said next can be saved at once."""
        return self._journal.ready()

    def _own(self) -> bool:
        """Become the program whose turn it is; False while it is another's."""
        self._owned = self._stored and self._journal.begin_turn(self.id)
        return self._owned or not self._stored

    def is_answered_elsewhere(self) -> bool:
        """Whether another program's turn runs in this session.

        What it wrote is taken in when it has ended.
        """
        if not self._own():
            return True
        try:
            self._take_in()
        finally:
            self.end_turn()
        return False

    def end_turn(self) -> None:
        """Let others have the next turn, if this one is ours."""
        if self._owned:
            self._owned = False
            self._seen = self._journal.end_turn(self.id)

    @contextmanager
    def _between_turns(self) -> Iterator[None]:
        """Change the conversation while no program's turn runs in it. Raises UsageError."""
        if not self._own():
            raise UsageError("Another program is answering in this session.",
                             "Try again when it has finished.")
        try:
            if self._take_in():
                raise UsageError("Another program has just written to this conversation; nothing "
                                 "was changed.",
                                 "Look at what it wrote, then try again.")
            yield
        finally:
            self.end_turn()

    # ---- what belongs to it beside its messages

    def set_model(self, model: str) -> None:
        self.model = model
        self._update(model=model)

    def set_title(self, title: str) -> None:
        """Raises UsageError for a title without words."""
        if not title.strip():
            raise UsageError("A title needs words.", "Example: /rename Plans for the garden")
        self.title = safe_line(" ".join(title.split()), 200)
        self._update(title=self.title)

    def keep_settings(self, text: str) -> None:
        """Store what belongs to the session beside its messages (core/chat/kept.py)."""
        if text != self.settings and self._stored:
            self.settings = text
            self._update(settings=with_own(self._of_owner, text) if self._of_owner else text)

    def _update(self, **changes: str) -> None:
        if self._stored:
            self._journal.write({"do": "update", "session": self.id, "title": None, "model": None,
                                 **changes})

    def _all_writes(self) -> list[Write]:
        """The whole conversation as writes, for a store that has none of it any more."""
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
    """What others wrote since the user was shown something."""
    if before is not None and not changed:
        messages, changed = before.messages + messages, before.changed
    count = "1 message" if len(messages) == 1 else f"{len(messages):,} messages"
    text = ("Another program changed this conversation; it is loaded again." if changed
            else f"Another program added {count} to this conversation.")
    return OthersSaid(text, messages, changed)


def title_of(message: Message) -> str:
    """The first line with words in it, shortened."""
    return next((safe_line(line.strip(), 80) for line in message.text.split("\n") if line.strip()),
                "(no text)")
