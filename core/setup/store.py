"""The store of this run: opened, recovered and watched over, or what stands in for it when it cannot be opened."""

from __future__ import annotations

import os
import sys

from core.config import Settings, data_directory, temporary_directory
from core.errors import StoreError, StoreForeign, UsageError, describe
from core.safe_text import safe_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.sessions.spool import Places
    from core.session_manager import Session
    from db import Store


def store_place(settings: Settings) -> str:
    return settings.database_url or os.path.join(data_directory(settings.environment), "sessions.db")


def spool_places(settings: Settings) -> Places:
    from core.sessions.spool import Places
    return Places(os.path.join(data_directory(settings.environment), "spool"), temporary_directory(settings.environment))


def open_saved(settings: Settings) -> Store:
    """The store with everything in it: what an earlier run could not save is saved first, or reported on standard error."""
    store = _open(settings)
    if _something_waits(settings) and not unwritable(store):
        from core.sessions.spool import drain_spool
        news: list[str] = []
        drain_spool(store, spool_places(settings), news)
        for line in news:
            print(safe_text(line), file=sys.stderr)
    return store


def _open(settings: Settings) -> Store:
    """Another program's database is used only when it was named for this program; DATABASE_URL may be meant for others."""
    from db import open_store
    general = settings.environment.get("DATABASE_URL", "")
    from_general = bool(general) and settings.database_url == general and "database_url" not in settings.flags
    try:
        return open_store(store_place(settings), share=not from_general)
    except (StoreForeign, UsageError) as error:
        if from_general:
            error.message = f"DATABASE_URL: {error.message}"
        raise


def _something_waits(settings: Settings) -> bool:
    """Whether there may be spool files; asked without loading what reads them."""
    for directory in (os.path.join(data_directory(settings.environment), "spool"), temporary_directory(settings.environment)):
        try:
            if any(name.endswith(".jsonl") for name in os.listdir(directory)):
                return True
        except OSError:
            pass
    return False


def unwritable(store: Store) -> str:
    """Why a store can only be read; empty when it can be written, as far as is known."""
    return str(getattr(store, "unwritable", ""))


class OpenedStore:
    """The store of this run, or what stands in for it: none with --no-save, one that is tried again when it cannot be opened."""

    def __init__(self, settings: Settings) -> None:
        self.spool = spool_places(settings)
        self.store: Store | None = None
        self.news: list[str] = []         # what the person should know before they go on
        self.recovered: list[tuple[str, str]] = []    # ID and name of sessions whose last reply was cut off
        if not settings.save:
            return
        try:
            self.store = _open(settings)
        except StoreError as error:
            if settings.session or settings.continue_ or settings.select_session:
                raise
            from core.setup.late_store import late_store
            self.store = late_store(store_place(settings))
            self.news.append(describe(error))
            return
        why = unwritable(self.store)
        if why:
            self.news.append(f"warning: saved sessions can be read, but nothing can be saved: {why}")
            return
        try:
            self._recover()
        except StoreError as error:
            self.news.append(describe(error))

    def _recover(self) -> None:
        """Save what a killed run left behind, and say what still is not."""
        from core.session_manager import recover
        from core.sessions.shelves import empty_trash
        if self.store is None:
            return
        for entry in recover(self.store, self.spool, self.news):
            self.recovered.append((entry.session_id, entry.session_name))
        empty_trash(self.store)

    def offers(self, current: str) -> list[str]:
        """How to go on with what a killed run left behind, from the session `current`."""
        kept = "A reply that was cut off is kept as far as it came."
        return [f"{kept} /continue goes on with it; /drop takes it out." if identity == current
                else f"{kept} /session {name} goes back to it; /continue and /drop work there."
                for identity, name in self.recovered]

    def open_session(self, name: str | None) -> Session:
        """The session of that ID, or a new one."""
        from core.session_manager import open_session
        return open_session(self.store, self.spool, name=name)

    def session(self, settings: Settings, chosen: str | None = None) -> Session:
        """The session `chosen`, or the one that the settings ask for, or a new one."""
        from core.session_manager import open_session
        from core.sessions.listing import is_newest
        last = is_newest(settings.session or "")
        name = chosen or (None if last else settings.session)
        newest = settings.continue_ or last or settings.retry or settings.edit is not None
        return open_session(self.store, self.spool, name=name, newest=not chosen and newest)

    def close(self) -> None:
        if self.store is not None:
            self.store.close()
