"""Puts another file in the place of a SQLite database; the old one is set aside with its log.

A complete file called PLACE.new is the decision: whoever sees it finishes what is left to do.
"""

from __future__ import annotations

import os
import time


def put_in_place(place: str, prepared: str) -> str:
    """Returns what the old file is called now. The caller keeps writers away. Raises OSError."""
    descriptor = os.open(prepared, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(prepared, f"{place}.new")
    return finish_swap(place)


def finish_swap(place: str) -> str:
    """Do what put_in_place() began. Raises OSError."""
    aside = _aside(place)
    if os.path.exists(place):
        try:
            os.link(place, aside)
        except OSError:  # a file system without links
            os.rename(place, aside)
    _log_aside(place, aside)
    os.replace(f"{place}.new", place)
    return aside


def set_log_aside(place: str) -> None:
    """Of a database whose file is gone. Raises OSError."""
    _log_aside(place, _aside(place))


def _log_aside(place: str, aside: str) -> None:
    for end in ("-wal", "-shm"):
        if os.path.exists(place + end):
            os.rename(place + end, aside + end)


def _aside(place: str) -> str:
    """A name that no file has."""
    name = f"{place}.set-aside-{time.strftime('%Y%m%d-%H%M%S')}"
    number, free = 1, name
    while os.path.exists(free) or os.path.exists(f"{free}-wal"):
        number += 1
        free = f"{name}-{number}"
    return free
