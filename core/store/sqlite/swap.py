"""Replaces a SQLite database with another file; the old one is renamed with its log.

A complete file called PLACE.new commits the swap: any program that sees it finishes the remaining
steps.
"""

from __future__ import annotations

import os
import time


def put_in_place(place: str, prepared: str) -> str:
    """Replace `place` with `prepared` and return the old file's new name. The caller must keep
    writers out. Raises OSError.
    """
    descriptor = os.open(prepared, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(prepared, f"{place}.new")
    return finish_swap(place)


def finish_swap(place: str) -> str:
    """Finish what put_in_place() began; return the old file's new name. Raises OSError."""
    aside = _aside(place)
    if os.path.exists(place):
        try:
            os.link(place, aside)
        except OSError:  # a file system without hard links
            os.rename(place, aside)
    _log_aside(place, aside)
    os.replace(f"{place}.new", place)
    return aside


def set_log_aside(place: str) -> None:
    """Rename the log of a database whose file is missing. Raises OSError."""
    _log_aside(place, _aside(place))


def _log_aside(place: str, aside: str) -> None:
    for end in ("-wal", "-shm"):
        if os.path.exists(place + end):
            os.rename(place + end, aside + end)


def _aside(place: str) -> str:
    """Return an unused name for the old file."""
    name = f"{place}.set-aside-{time.strftime('%Y%m%d-%H%M%S')}"
    number, free = 1, name
    while os.path.exists(free) or os.path.exists(f"{free}-wal"):
        number += 1
        free = f"{name}-{number}"
    return free
