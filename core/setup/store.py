"""Opens and recovers the store of a chat, or provides a placeholder if it cannot be opened."""

from __future__ import annotations

from core.config import Settings
from core.errors import StoreError, describe
from core.session_manager import Session, open_session, recover
from core.sessions.listing import is_newest
from core.sessions.shelves import empty_trash
from core.setup.saved import open_place, spool_places, store_place, unwritable
from core.store.identity import short_name
from db import Store


class OpenedStore:
    """The store of this run: None with --no-save, and a placeholder that tries again if it cannot
    be opened.
    """

    def __init__(self, settings: Settings, store: Store | None = None) -> None:
        """`store`: an open store, which close() leaves open."""
        self._lent = store is not None
        self.spool = spool_places(settings)
        self.store: Store | None = None
        self.news: list[str] = []         # notices for the user before the chat
        # ID and name of sessions whose last reply was cut off
        self.recovered: list[tuple[str, str]] = []
        if not settings.save:
            return
        try:
            self.store = store or open_place(settings)
        except StoreError as error:
            if settings.session or settings.continue_ or settings.select_session:
                raise
            from core.setup.late_store import late_store
            self.store = late_store(store_place(settings))
            self.news.append(describe(error))
            return
        why = unwritable(self.store)
        if why:
            self.news.append("warning: saved sessions can be read, but new messages cannot be "
                             f"saved: {why}")
            return
        try:
            self._recover()
        except StoreError as error:
            self.news.append(describe(error))

    def _recover(self) -> None:
        """Save what a killed run left behind, and report what still cannot be saved."""
        if self.store is None:
            return
        for entry in recover(self.store, self.spool, self.news):
            self.recovered.append((entry.session_id, entry.session_name))
        empty_trash(self.store)

    def offers(self, current: str) -> list[str]:
        """How to continue the replies that a killed run left unfinished, seen from the session
        `current`.
        """
        kept = "A reply was cut off; its text so far is saved."
        return [f"{kept} /continue resumes it, /drop removes it." if identity == current
                else f"{kept} /session {short_name(name)} opens it; /continue and /drop work there."
                for identity, name in self.recovered]

    def open_session(self, name: str | None) -> Session:
        """The session with this ID, or a new one. Raises SessionNotFound."""
        return open_session(self.store, self.spool, name=name)

    def session(self, settings: Settings, chosen: str | None = None) -> Session:
        """The session `chosen`, or the one that the settings ask for, or a new one.

        Raises SessionNotFound.
        """
        last = is_newest(settings.session or "")
        name = chosen or (None if last else settings.session)
        newest = settings.continue_ or last or settings.retry or settings.edit is not None
        return open_session(self.store, self.spool, name=name, newest=not chosen and newest)

    def close(self) -> None:
        if self.store is not None and not self._lent:
            self.store.close()
