"""Where this run saves sessions, and how commands that work on sessions open that store."""

from __future__ import annotations

import os
import sys

from core.config import Settings
from core.config.directories import data_directory, temporary_directory
from core.errors import StoreError, UsageError
from core.safe_text import safe_text
from core.sessions.spool_places import Places
from db import Store, open_store


def store_place(settings: Settings) -> str:
    return settings.database_url or os.path.join(data_directory(settings.environment),
                                                 "sessions.db")


def spool_places(settings: Settings) -> Places:
    """The directories of spool files: the usual one, and the temporary one used if that fails."""
    return Places(os.path.join(data_directory(settings.environment), "spool"),
                  temporary_directory(settings.environment))


def open_saved(settings: Settings) -> Store:
    """Open the store, after saving what an earlier run could not save (or reporting it on standard
    error). Raises StoreError.
    """
    store = open_place(settings)
    places = spool_places(settings)
    if places.files() and not unwritable(store):
        from core.sessions.spool import drain_spool     # most runs find no such file
        news: list[str] = []
        drain_spool(store, places, news)
        for line in news:
            print(safe_text(line), file=sys.stderr)
    return store


def open_place(settings: Settings) -> Store:
    """Open the store. Another program's database is used only if it was named for this program:
    DATABASE_URL may be meant for others.
    """
    general = settings.environment.get("DATABASE_URL", "")
    from_general = (bool(general) and settings.database_url == general
                    and "database_url" not in settings.flags)
    try:
        return open_store(store_place(settings), share=not from_general, user=settings.user or "")
    except (StoreError, UsageError) as error:
        if from_general:
            error.message = f"DATABASE_URL: {error.message}"
        raise


def unwritable(store: Store) -> str:
    """Why a store is read-only; "" if it is writable as far as is known."""
    return str(getattr(store, "unwritable", ""))
