"""Backs up the database once a day, after a chat, in a separate process that nothing waits for."""

from __future__ import annotations

import os
import sys
import time

from core.config import Settings
from core.setup.saved import store_place
from core.store.address import parse_address

DAY = 24 * 3600.0
PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "stream_chat.py")


def begin_backup(settings: Settings) -> None:
    """Start a backup if one is due; only for SQLite, since a server has an administrator."""
    if not settings.save:
        return
    address = parse_address(store_place(settings))
    try:
        if address.kind == "sqlite" and os.path.exists(address.place) and _is_due(address.place):
            _start(settings, address.place)
    except OSError:
        pass     # --db-check shows the age of the newest backup


def _is_due(place: str) -> bool:
    """Whether the newest backup is older than a day; the first is due a day after the first chat.
    """
    directory = os.path.join(os.path.dirname(place), "backups")
    if not os.path.isdir(directory):
        os.mkdir(directory, 0o700)
        return False
    times = [os.path.getmtime(os.path.join(directory, name)) for name in os.listdir(directory)]
    return time.time() - max(times or [os.path.getmtime(directory)]) > DAY


def _start(settings: Settings, place: str) -> None:
    import subprocess
    subprocess.Popen(
        [sys.executable, os.path.abspath(PROGRAM), "--db-backup", "--database-url", place],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, cwd="/", env=dict(settings.environment))
