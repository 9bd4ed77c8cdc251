"""Opens files for context, but never the program's own, and key files only with consent."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from io import FileIO

from core.context.items import Item
from core.errors import ContextError
from core.tools import ToolContext, real_roots
from core.tools.guards.files import DATABASE_PARTS, protected_ids
from core.tools.guards.secret_files import HEAD, holds_secret, is_secret_path, read_head

OURS = "contains Stream Chat's own data"
SECRET = "looks like a file of keys or passwords"
FLAGS = (os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
         | getattr(os, "O_BINARY", 0)
         | getattr(os, "O_NOCTTY", 0))
FRESH = 1.0      # seconds for which the inode numbers of our own files are cached


class Guard:
    """Decides which files may be sent to a model: the program's own (`protected`) never, key files
    only with the user's consent.
    """

    def __init__(self, protected: Sequence[str] = ()) -> None:
        self.protected = real_roots(protected)
        self._files = {place + part for place in self.protected for part in ("", *DATABASE_PARTS)}
        self._folders = tuple(place.rstrip(os.sep) + os.sep for place in self.protected)
        self._ids: frozenset[tuple[int, int]] = frozenset()
        self._looked = -FRESH
        self._agreed: tuple[str, ...] = ()      # real paths that the user agreed to send

    def agree(self, path: str) -> None:
        """Record the user's consent to send this file, or everything below this folder."""
        self._agreed = (*self._agreed, os.path.realpath(path))

    def is_secret_place(self, path: str) -> bool:
        """Whether a real path suggests keys or passwords, without the user's consent."""
        for place in self._agreed:
            if path == place or path.startswith(place.rstrip(os.sep) + os.sep):
                return is_secret_path(path[len(place):])
        return is_secret_path(path)

    def is_secret(self, path: str, descriptor: int, head: bytes | None = None) -> bool:
        """Whether an open file looks like keys or passwords, by its path and its beginning, which
        is read if it is not given.
        """
        real = _real_path(path, descriptor)
        return (self.is_secret_place(real) or real not in self._agreed
                and holds_secret(read_head(descriptor) if head is None else head))

    def needs_consent(self, path: str) -> bool:
        """Whether this file or folder is one that the user has to agree to.

        What cannot be opened is not.
        """
        real = os.path.realpath(path)
        if self.holds(real):
            return False            # refused without asking
        if self.is_secret_place(real) or self.is_secret_place(os.path.abspath(path)):
            return real not in self._agreed
        try:
            descriptor = os.open(real, FLAGS)
        except OSError:
            return False
        try:
            return stat.S_ISREG(os.fstat(descriptor).st_mode) and self.is_secret(real, descriptor)
        finally:
            os.close(descriptor)

    def holds(self, path: str) -> bool:
        """Whether a real path belongs to the program's own files."""
        return path in self._files or path.startswith(self._folders)

    def is_ours(self, path: str, descriptor: int) -> bool:
        """Whether an open file is one of the program's own; its path may lead elsewhere by now."""
        if not self.protected:
            return False
        found = os.fstat(descriptor)
        return ((found.st_dev, found.st_ino) in self._own_ids()
                or self.holds(_real_path(path, descriptor)))

    def _own_ids(self) -> frozenset[tuple[int, int]]:
        if time.monotonic() - self._looked > FRESH:
            self._ids = protected_ids(ToolContext(protected=self.protected))
            self._looked = time.monotonic()
        return self._ids


UNGUARDED = Guard()


def _real_path(path: str, descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:      # not Linux
        return os.path.realpath(path)


def open_item(item: Item, guard: Guard) -> FileIO:
    """Open the file of an item. A link is followed only if the user named it.

    Raises ContextError if it is not a file or must not be sent, and OSError.
    """
    descriptor = _opened(item, guard)
    try:
        if guard.is_secret(item.path, descriptor):
            raise ContextError(f"{item.name}: {SECRET}")
        return os.fdopen(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def read_beginning(item: Item, guard: Guard, most: int) -> bytes:
    """The first `most` bytes of an item's file, read at once: for one of very many files.

    Of a file that grows meanwhile, it may be less. Raises as open_item() does.
    """
    descriptor = _opened(item, guard)
    try:
        size = max(os.fstat(descriptor).st_size + 1, HEAD)
        data = os.read(descriptor, min(size, most))
        if guard.is_secret(item.path, descriptor, data[:HEAD]):
            raise ContextError(f"{item.name}: {SECRET}")
        return data
    finally:
        os.close(descriptor)


def _opened(item: Item, guard: Guard) -> int:
    """The descriptor of an item's file, which is not one of the program's own."""
    descriptor = os.open(item.path, FLAGS if item.named else FLAGS | getattr(os, "O_NOFOLLOW", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ContextError(f"{item.name}: is no longer a file")
        if guard.is_ours(item.path, descriptor):
            raise ContextError(f"{item.name}: {OURS}")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
