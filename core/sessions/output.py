"""Writes a file atomically: it is either the old one or the complete new one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from core.errors import StoreFull, UsageError


def refuse_existing(path: str) -> None:
    """Raise UsageError for an existing file or link; devices are allowed."""
    if (os.path.lexists(path) and (os.path.isfile(path) or not os.path.exists(path))
        and not path.startswith("/dev/")):
        raise UsageError(f"{path} exists already.",
                         "Name another file, or replace it with --force.")


def write_whole(path: str, pieces: Iterable[str], *, force: bool = True) -> None:
    """Write a file atomically: it is either the old one or the complete new one.

    Without `force`, an existing file is an error. Raises UsageError and StoreFull.
    """
    if os.path.isdir(path) or path.endswith(os.sep):
        raise UsageError(f"{path} is a directory.", "Name a file in it.")
    special = path.startswith("/dev/") or os.path.exists(path) and not os.path.isfile(path)
    target = path if special else os.path.realpath(path)
    beside = target if special else f"{target}.{os.getpid()}.part"
    try:
        with open(beside, "w", encoding="utf-8", newline="") as file:
            file.writelines(pieces)
            file.flush()
            if not special:
                os.fsync(file.fileno())
        if not special:
            _put_in_place(beside, target, path, force=force)
    except OSError as problem:
        raise _output_error(path, problem) from problem
    finally:
        if not special and os.path.exists(beside):
            os.unlink(beside)


def _put_in_place(beside: str, target: str, path: str, *, force: bool) -> None:
    """Rename the finished file. Without `force`, a file that was created meanwhile is kept."""
    if not force:
        with suppress(OSError):    # without hard links the earlier check must suffice
            try:
                os.link(beside, target)
                return
            except FileExistsError:
                refuse_existing(path)
    os.replace(beside, target)


def _output_error(path: str, problem: OSError) -> UsageError | StoreFull:
    if isinstance(problem, FileNotFoundError):
        return UsageError(f"{path} cannot be written: its directory does not exist.",
                          "Create the directory, or name another file.")
    return StoreFull(f"{path} cannot be written: {problem.strerror}.",
                     "Name another file with --output.")
