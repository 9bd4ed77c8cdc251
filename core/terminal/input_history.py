"""The lines typed at the prompt, in a file; kept for this run only when it cannot be read or
written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

Full = Callable[[str], str]     # replaces folded pastes with their text


def open_history(path: str | None, full: Full) -> History:
    return InputHistory(path, full) if path else MemoryHistory(full)


class MemoryHistory(InMemoryHistory):
    """History for a run that leaves no trace."""

    def __init__(self, full: Full) -> None:
        super().__init__()
        self._full = full

    def append_string(self, string: str) -> None:
        super().append_string(self._full(string))


class InputHistory(FileHistory):
    """Without this, prompt_toolkit prints a traceback over the prompt when the disk is full or the
    file is missing.
    """

    def __init__(self, path: str, full: Full) -> None:
        super().__init__(path)
        self._full = full

    def append_string(self, string: str) -> None:
        super().append_string(self._full(string))

    def load_history_strings(self) -> Iterable[str]:
        with suppress(OSError, UnicodeError):
            return list(super().load_history_strings())
        return []

    def store_string(self, string: str) -> None:
        with suppress(OSError, UnicodeError):
            super().store_string(string)
