"""Opens files for tools: only inside the allowed roots, and none that are secret.

Each part of a path is opened relative to the one before it, starting at /, without following links,
so replacing a part meanwhile leads to an error, never to another file. The target of a link is
checked like any other path.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from core.dataclass import dataclass
from core.errors import ToolError
from core.safe_text import safe_line
from core.tools import ToolContext
from core.tools.guards.secret_files import holds_secret, is_secret_path, read_head

MOST_LINKS = 20
MOST_PROTECTED = 2_000   # files below protected directories that are also recognised by inode
LONGEST = 4_096
SPECIAL = ("/proc", "/sys", "/dev")      # devices and virtual files of the kernel
ORDINARY = ("/dev/shm",)                # a file system in memory with ordinary files
DATABASE_PARTS = ("-wal", "-shm", "-journal")


def _flags(*names: str) -> int:
    """These flags of os.open combined; those that the system does not have are ignored."""
    value = 0
    for name in names:
        value |= getattr(os, name, 0)
    return value


_STEP = _flags("O_PATH", "O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC")
_LIST = _flags("O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC")
_READ = _flags("O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory in a listing; `path` is absolute, `size` is in bytes."""

    path: str
    is_directory: bool
    size: int


@dataclass(frozen=True, slots=True)
class _Link:
    target: str


def open_file(context: ToolContext, path: str) -> BinaryIO:
    """Open a regular file for reading. Raises ToolError if it must not or cannot be read."""
    descriptor, _ = _open_somewhere(context, path, directory=False)
    if holds_secret(read_head(descriptor)):
        os.close(descriptor)
        raise _refused(path)
    return os.fdopen(descriptor, "rb")


def find_file(context: ToolContext, path: str) -> str:
    """The absolute path of a file that may be read, for libraries that open files by name.

    Open it at once: the file could be replaced. Raises ToolError.
    """
    descriptor, target = _open_somewhere(context, path, directory=False)
    os.close(descriptor)
    return target


def walk_files(context: ToolContext, path: str, depth: int) -> Iterator[Entry]:
    """The entries below a directory, sorted by name, `depth` levels deep, without links and entries
    that must not be read. Raises ToolError.
    """
    descriptor, target = _open_somewhere(context, path, directory=True)
    yield from _walk(context, descriptor, target, depth, protected_ids(context))


def shown_path(context: ToolContext, path: str) -> str:
    """The path relative to the first root that contains it."""
    for root in context.roots:
        if path.startswith(root.rstrip("/") + "/"):
            return os.path.relpath(path, root)
    return path


def _open_somewhere(context: ToolContext, path: str, *, directory: bool) -> tuple[int, str]:
    """Open the path in the first root that has it; return (descriptor, absolute path)."""
    missing: ToolError | None = None
    for target in _candidates(context, path):
        try:
            return _open_following(context, target, path, directory=directory)
        except (FileNotFoundError, NotADirectoryError):
            kind = "directory" if directory else "file"
            missing = ToolError(f"There is no {kind} {_shown(path)}.",
                                "list_files shows what there is.")
        except PermissionError:
            raise ToolError(f"{_shown(path)} may not be read (permission denied).") from None
        except OSError as problem:
            raise ToolError(f"{_shown(path)} cannot be opened: "
                            f"{problem.strerror or problem}.") from None
    raise missing or _outside(context, path)


def _candidates(context: ToolContext, path: str) -> list[str]:
    if not path or "\0" in path or len(path) > LONGEST:
        raise ToolError("This is not a valid path.")
    if os.path.isabs(path):
        plain = os.path.normpath("/" + path.lstrip("/") if os.sep == "/" else path)
        return [plain] if _inside(context, plain) else [os.path.realpath(plain)]
    joined = [os.path.normpath(os.path.join(root, path)) for root in context.roots]
    end = os.sep + os.path.normpath(path)
    named = [root for root in context.roots if root.endswith(end)]
    inside = [target for target in joined if _inside(context, target)]
    return [*inside, *named] or joined[:1]


def _open_following(context: ToolContext, target: str, path: str, *,
                    directory: bool) -> tuple[int, str]:
    protected = protected_ids(context)
    for _ in range(MOST_LINKS):
        check_path(context, target, path)
        opened = _open_steps(target, protected, path, directory=directory)
        if isinstance(opened, int):
            return opened, target
        target = os.path.normpath(opened.target)
    raise ToolError(f"{_shown(path)} is a chain of too many links.")


def check_path(context: ToolContext, target: str, path: str) -> None:
    """Raise ToolError for an absolute, normalised path outside the roots or with a secret name."""
    if not _inside(context, target):
        raise _outside(context, path)
    special = _below(target, SPECIAL) and not _below(target, ORDINARY)
    secret = is_secret_path(target)
    ours = any(target == place or target.startswith(place.rstrip("/") + "/")
               or target in [place + part for part in DATABASE_PARTS]
               for place in context.protected)
    if special or secret or ours:
        raise _refused(path)


def _below(target: str, places: tuple[str, ...]) -> bool:
    return any(target == place or target.startswith(place + "/") for place in places)


def _inside(context: ToolContext, target: str) -> bool:
    return any(target == root or target.startswith(root.rstrip(os.sep) + os.sep)
               for root in context.roots)


def _open_steps(target: str, protected: frozenset[tuple[int, int]], path: str, *,
                directory: bool) -> int | _Link:
    """Walk down from / and open the last part. Return its descriptor, or a link found on the way.
    """
    if sys.platform == "win32":
        return os.open(os.path.realpath(target), _READ)
    parts = target.strip("/").split("/") if target != "/" else ["."]
    here = os.open("/", _STEP)
    try:
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            found = os.stat(part, dir_fd=here, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                return _read_link(here, parts, number)
            if (found.st_dev, found.st_ino) in protected:
                raise _refused(path)
            if last and not directory and not stat.S_ISREG(found.st_mode):
                raise ToolError(f"{_shown(path)} is {_kind_of(found.st_mode)}, not a regular file.")
            opened = os.open(part, (_LIST if directory else _READ) if last else _STEP, dir_fd=here)
            os.close(here)
            here = opened
            _check_same(found, os.fstat(opened), path)
        result, here = here, -1
        return result
    except OSError as problem:
        if problem.errno == errno.ELOOP:
            raise ToolError(f"{_shown(path)} changed while it was opened.") from None
        raise
    finally:
        if here >= 0:
            os.close(here)


def _check_same(before: os.stat_result, after: os.stat_result, path: str) -> None:
    """Raise ToolError if the opened file is not the one that was examined before."""
    if (before.st_dev, before.st_ino) != (after.st_dev, after.st_ino):
        raise ToolError(f"{_shown(path)} changed while it was opened.")


def _read_link(here: int, parts: list[str], number: int) -> _Link:
    """The path after following a link: its target, relative to its directory, with the rest of the
    path appended.
    """
    target = os.readlink(parts[number], dir_fd=here)
    return _Link(os.path.join("/" + "/".join(parts[:number]), target, *parts[number + 1:]))


def protected_ids(context: ToolContext) -> frozenset[tuple[int, int]]:
    """The (device, inode) pairs of protected files: hard links and other spellings are the same
    file.
    """
    found = set()
    inside = islice((os.path.join(top, name) for place in context.protected for top, _,
                     names in os.walk(place) for name in names),
                    MOST_PROTECTED)
    for path in [*(place + part for place in context.protected for part in ("", *DATABASE_PARTS)),
                 *inside]:
        try:
            status = os.stat(path)
        except OSError:
            continue
        found.add((status.st_dev, status.st_ino))
    return frozenset(found)


def _walk(context: ToolContext, descriptor: int, path: str, depth: int,
          protected: frozenset[tuple[int, int]]) -> Iterator[Entry]:
    try:
        names = sorted(os.listdir(descriptor))
        for name in names:
            context.check_stop()
            place = os.path.join(path, name)
            entry = _look_at(context, descriptor, name, place, protected)
            if entry is None:
                continue
            yield entry
            if entry.is_directory and depth > 1:
                yield from _walk_into(context, descriptor, name, place, depth - 1, protected)
    finally:
        os.close(descriptor)


def _walk_into(context: ToolContext, descriptor: int, name: str, path: str, depth: int,
               protected: frozenset[tuple[int, int]]) -> Iterator[Entry]:
    try:
        inner = os.open(name, _LIST, dir_fd=descriptor)
    except OSError:
        return
    yield from _walk(context, inner, path, depth, protected)


def _look_at(context: ToolContext, descriptor: int, name: str, path: str,
             protected: frozenset[tuple[int, int]]) -> Entry | None:
    try:
        check_path(context, path, path)
        found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except (OSError, ToolError):
        return None
    listed = stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)
    if not listed or (found.st_dev, found.st_ino) in protected:
        return None
    return Entry(path, stat.S_ISDIR(found.st_mode), found.st_size)


def _outside(context: ToolContext, path: str) -> ToolError:
    places = ", ".join(safe_line(root) for root in context.roots) or "none"
    return ToolError(f"{_shown(path)} is outside the places that may be read.",
                     f"Allowed: {places}. The user can add a place with --context.")


def _refused(path: str) -> ToolError:
    return ToolError(f"{_shown(path)} is never read by a tool.",
                     "It contains keys or this program's own data, or belongs to the system.")


def _kind_of(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    return "a device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "a pipe or a socket"


def _shown(path: str) -> str:
    return repr(safe_line(path, 200))
