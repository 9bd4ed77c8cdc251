"""Spool files: writes that a store did not accept, one per line, until it accepts them."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Sequence

from core.errors import SessionGone, SessionNotFound, StoreConflict, StoreError
from core.sessions.spool_places import Places, places_of
from core.sessions.writes import Write, apply_write
from core.store.locks import try_lock
from core.store.message_json import dump
from db import Store


class SpoolFile:
    """A spool file that is being written, locked while open so that no other program drains it."""

    def __init__(self, prefix: str, session: str, own_directory: str) -> None:
        """Create and lock the file. Raises OSError."""
        self.path = f"{prefix}{session}-{os.urandom(3).hex()}.jsonl"
        if prefix == os.path.join(own_directory, ""):
            os.makedirs(prefix, mode=0o700, exist_ok=True)
        self._descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY,
                                   0o600)
        try_lock(self._descriptor)

    def append(self, writes: Sequence[Write]) -> bool:
        """Append writes; return whether all of them are in the file."""
        data = "".join(dump(write) + "\n" for write in writes).encode("utf-8", "surrogatepass")
        try:
            return os.write(self._descriptor, data) == len(data)
        except OSError:
            return False

    def close(self) -> None:
        """Unlock the file so that other programs can drain it. Can be called twice; `path` stays
        valid.
        """
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def drain_spool(store: Store, spool: str | Places, news: list[str] | None = None) -> list[str]:
    """Save what earlier runs could not save in this store.

    Returns the files that still could not be saved; raises nothing. `news` gets a line for each
    file that stays, or that was renamed because some of it cannot be saved. Files for other stores
    are left alone.
    """
    lines = [] if news is None else news
    places = places_of(spool)
    return [path for path in places.files() if not _drain_file(store, path, places, lines)]


def _drain_file(store: Store, path: str, places: Places, news: list[str]) -> bool:
    """Save a file's writes; return False if some must wait. Files being written by a running
    program or meant for another store return True.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
                             | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return True
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as file:
        if not _is_ours(os.fstat(descriptor)) or not try_lock(descriptor):
            return True
        try:
            writes = list(_writes(file.read()))
            if not _is_for(store, writes, places):
                return True
            if all([_apply(store, write) for write in writes]):
                os.unlink(path)
            else:
                os.replace(path, f"{path}.unreadable")
                news.append("NOT SAVED: some data of an earlier run is not valid, or "
                            f"belongs to a deleted session; it is in {path}.unreadable.")
        except (StoreError, OSError) as error:
            reason = error.message if isinstance(error, StoreError) else f"{error.strerror}."
            news.append(f"NOT SAVED still: what an earlier run kept in {path}. {reason}")
            return False
    return True


def _is_for(store: Store, writes: Sequence[Write], places: Places) -> bool:
    """Return whether these writes belong in this store.

    Files of versions before 5 name no store: they belong to the store that has their session,
    otherwise to the default one.
    """
    named = [write["place"] for write in writes if write.get("do") == "for" and "place" in write]
    if named:
        return store.place in named
    if store.place == places.usual_store():
        return True
    sessions = {write["session"] for write in writes if isinstance(write.get("session"), str)}
    return any(_has(store, session) for session in sessions)


def _has(store: Store, session: str) -> bool:
    try:
        return store.find_session(session).id == session
    except SessionNotFound:
        return False


def _apply(store: Store, write: Write) -> bool:
    """Apply a write; return False for an invalid entry (a damaged file, or a deleted session). The
    other entries are saved anyway, and the file is kept.
    """
    try:
        apply_write(store, write)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, SessionGone,
            StoreConflict):
        return False
    return True


def _is_ours(status: os.stat_result) -> bool:
    """Return whether we own a file; in a shared directory a file of that name may be another
    user's.
    """
    return (stat.S_ISREG(status.st_mode)
            and (not hasattr(os, "getuid") or status.st_uid == os.getuid()))


def _writes(data: bytes) -> Iterator[Write]:
    """Yield the write on each line, an empty one for an unreadable line. An incomplete last line,
    left by a killed program, is skipped.
    """
    *complete, last = data.split(b"\n")
    yield from (_write_of(line) for line in complete if line)
    if write := _write_of(last):
        yield write


def _write_of(line: bytes) -> Write:
    try:
        write = json.loads(line.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return {}
    return write if isinstance(write, dict) else {}
