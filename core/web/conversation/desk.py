"""Saves on disk a session's state that is not in the store: its running turn and queued messages.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from core.config.private_file import write_private
from core.dataclass import dataclass, field, replace
from core.errors import StoreError
from core.regex import regex

MOST_KEYS = 64      # remembered keys of accepted messages; pages repeat requests for seconds
ANSWERS = "/v1/"    # begins the names of replies that programs resume; no session has such a name
_NAME = regex(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Queued:
    """A message that waits for the running reply to end. `key` is the page's identifier of it."""

    key: str
    text: str
    images: tuple[tuple[str, str, str], ...] = ()     # media type, base64, file name
    files: tuple[str, ...] = ()                       # uploaded files attached to it


@dataclass(frozen=True, slots=True)
class Desk:
    """The state of a session in the page server. `running`: a turn has begun and not ended."""

    running: bool = False
    queue: tuple[Queued, ...] = ()
    keys: tuple[str, ...] = ()
    held: bool = False      # the queue waits for the user, since the last reply failed
    # identity of a message -> files uploaded with it
    files: tuple[tuple[str, tuple[str, ...]], ...] = ()
    here: bool = False      # something waits in the memory of the process that answers

    def accept(self, key: str) -> Desk:
        return replace(self, keys=(*self.keys, key)[-MOST_KEYS:])


@dataclass(slots=True)
class Desks:
    """The desks of all sessions, one file each in `folder`; in memory if `folder` is ""."""

    folder: str
    _kept: dict[str, Desk] = field(default_factory=dict)

    def read(self, session: str) -> Desk:
        """Return the desk of a session; an empty one if it is missing or cannot be read."""
        if session not in self._kept:
            self._kept[session] = self._load(session)
        return self._kept[session]

    def begin(self, session: str) -> None:
        """Record a new session without messages."""

    def is_begun(self, session: str) -> bool:
        """Return whether another process created this session."""
        return False

    def knows(self, session: str, key: str) -> bool:
        """Return whether a message with this key was accepted, by this or another process."""
        return key in self.read(session).keys

    def hold(self, session: str, *, on: bool) -> None:
        """Let other processes know whether something waits here that they cannot answer."""

    def holder(self, session: str) -> str:
        """The other process, within reach, in which something waits; "" for none."""
        return ""

    def ask_to_stop(self, session: str) -> bool:
        """Ask the other server process that answers in a session to stop; return False if there is
        none.
        """
        return False

    def to_stop(self) -> list[str]:
        """Return the sessions in which another process asked this one to stop."""
        return []

    def write(self, session: str, desk: Desk) -> None:
        """Save a desk to the disk before returning. Raises StoreError."""
        if self.folder and _NAME.fullmatch(session):
            self._save(session, desk)
        self._kept[session] = desk

    def release(self, session: str) -> None:
        """Keep the desk of a closed conversation on the disk only."""
        if self.folder and _NAME.fullmatch(session):
            self._kept.pop(session, None)

    def forget(self, session: str) -> None:
        """Delete the desk of a deleted session."""
        self._kept.pop(session, None)
        if self.folder and _NAME.fullmatch(session):
            try:
                os.unlink(self._path(session))
            except OSError:
                pass        # it was never written

    def interrupted(self) -> Iterator[str]:
        """Yield the sessions whose turn was running when the server ended."""
        yield from (session for session, desk in self.all() if desk.running)

    def all(self) -> Iterator[tuple[str, Desk]]:
        """Yield every session with a desk on disk, and the desk."""
        with suppress(OSError):
            for entry in (sorted(os.scandir(self.folder), key=lambda each: each.name) if self.folder
                          else ()):
                session, ending = os.path.splitext(entry.name)
                if ending == ".json" and _NAME.fullmatch(session):
                    yield session, self._kept.get(session) or self._load(session)

    def _path(self, session: str) -> str:
        return os.path.join(self.folder, f"{session}.json")

    def _load(self, session: str) -> Desk:
        if not self.folder or not _NAME.fullmatch(session):
            return Desk()
        try:
            with open(self._path(session), encoding="utf-8") as file:
                return desk_of(json.load(file))
        except (OSError, ValueError, TypeError, RecursionError):
            return Desk()

    def _save(self, session: str, desk: Desk) -> None:
        try:
            write_private(self._path(session), json.dumps(asdict(desk)))
        except OSError as problem:
            raise StoreError(f"The page's queue cannot be saved: {problem.strerror}.") from problem


def desk_of(found: Any) -> Desk:
    """Read a desk, ignoring invalid values."""
    queue = tuple(Queued(str(row["key"]), str(row["text"]),
                         tuple((str(kind), str(data), str(name))
                               for kind, data, name in row["images"]),
                         tuple(map(str, row["files"])))
                  for row in found.get("queue", ()))
    files = tuple((str(message), tuple(map(str, names)))
                  for message, names in found.get("files", ()))
    return Desk(bool(found.get("running")), queue, tuple(map(str, found.get("keys", ()))),
                bool(found.get("held")), files, bool(found.get("here")))
