"""Where spool files are: our own directory, and the temporary one that all users share."""

from __future__ import annotations

import os

SHARED = "stream-chat-"      # how our files in the temporary directory begin


class Places:
    """The directories for spool files: our own, and the temporary directory if that one is full."""

    __slots__ = ("directory", "temporary")

    def __init__(self, directory: str, temporary: str = "") -> None:
        self.directory, self.temporary = directory, temporary

    def prefixes(self) -> list[str]:
        """Return the path prefixes of all spool files. Names in the shared temporary directory
        contain the user and a hash of the data directory.
        """
        own = os.path.join(self.directory, "")
        return [own, os.path.join(self.temporary, self._shared())] if self.temporary else [own]

    def _shared(self) -> str:
        from zlib import crc32      # most starts find no such file and need no name of one
        owner = os.getuid() if hasattr(os, "getuid") else 0
        place = os.path.abspath(self.directory).encode("utf-8", "surrogateescape")
        return f"{SHARED}{owner}-{crc32(place):08x}-"

    def files(self) -> list[str]:
        """Return the paths of the spool files of earlier and running programs."""
        found = _files(self.directory, "")
        shared = _files(self.temporary, SHARED) if self.temporary else []
        if shared:
            start = os.path.join(self.temporary, self._shared())
            shared = [path for path in shared if path.startswith(start)]
        return found + shared

    def usual_store(self) -> str:
        """The address of the default store."""
        return os.path.join(os.path.dirname(os.path.abspath(self.directory)), "sessions.db")


def _files(directory: str, start: str) -> list[str]:
    try:
        names = sorted(name for name in os.listdir(directory)
                       if name.startswith(start) and name.endswith(".jsonl"))
    except OSError:
        return []
    return [os.path.join(directory, name) for name in names]


def places_of(spool: str | Places) -> Places:
    return Places(spool) if isinstance(spool, str) else spool
