"""Opens the files of the context, and none in which the program keeps keys, settings or chats, whatever their name."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from io import FileIO

from core.context.items import Item
from core.errors import ContextError
from core.tools import ToolContext, real_roots
from core.tools.guards_files import DATABASE_PARTS, protected_ids

OURS = "holds Stream Chat's own data"
FRESH = 1.0      # seconds that the identities of our own files are known for


class Guard:
    """What is never given to a model. `protected` are files and directories; nothing below those is given either."""

    def __init__(self, protected: Sequence[str] = ()) -> None:
        self.protected = real_roots(protected)
        self._files = {place + part for place in self.protected for part in ("", *DATABASE_PARTS)}
        self._folders = tuple(place.rstrip(os.sep) + os.sep for place in self.protected)
        self._ids: frozenset[tuple[int, int]] = frozenset()
        self._looked = -FRESH

    def holds(self, path: str) -> bool:
        """Whether a real path is one of ours."""
        return path in self._files or path.startswith(self._folders)

    def is_ours(self, path: str, descriptor: int) -> bool:
        """Whether the open file is one of ours. The path alone would not do: it can lead elsewhere by now."""
        if not self.protected:
            return False
        found = os.fstat(descriptor)
        return (found.st_dev, found.st_ino) in self._own_ids() or self.holds(_real_path(path, descriptor))

    def _own_ids(self) -> frozenset[tuple[int, int]]:
        if time.monotonic() - self._looked > FRESH:
            self._ids = protected_ids(ToolContext(protected=self.protected))
            self._looked = time.monotonic()
        return self._ids


def _real_path(path: str, descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:      # not Linux
        return os.path.realpath(path)


def open_item(item: Item, guard: Guard) -> FileIO:
    """Open the file of an item. A link is followed only where the person named it.

    Raises ContextError for what is no file or is ours, and OSError.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(item.path, flags if item.named else flags | getattr(os, "O_NOFOLLOW", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ContextError(f"{item.name}: is not a file any more")
        if guard.is_ours(item.path, descriptor):
            raise ContextError(f"{item.name}: {OURS}")
        return os.fdopen(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise
