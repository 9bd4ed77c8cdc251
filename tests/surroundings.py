"""What child processes of tests get of this process's environment."""

from __future__ import annotations

import os


def inherited() -> dict[str, str]:
    """The path, the folder for temporary files where one is named, and what lets coverage count
    child processes; nothing else of the user who runs the tests.
    """
    return {name: value for name, value in os.environ.items()
            if name in ("PATH", "TMPDIR") or name.startswith("COV")}


def uncounted() -> dict[str, str]:
    """The same without coverage, for tests of what a process loads and opens."""
    return {name: value for name, value in inherited().items() if not name.startswith("COV")}
