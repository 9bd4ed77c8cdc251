"""Temporary home directories of the programs that campaigns start."""

from __future__ import annotations

import tempfile


def new_home() -> tempfile.TemporaryDirectory[str]:
    """A folder that is deleted at the end, although a backup of the day, which runs in a process of
    its own, may still write into it.
    """
    return tempfile.TemporaryDirectory(prefix="prove-", ignore_cleanup_errors=True)
