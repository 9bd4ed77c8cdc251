"""The lines typed at the prompt, in a file that may not be readable or writable: then they are remembered for this run alone."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from prompt_toolkit.history import FileHistory


class InputHistory(FileHistory):
    """prompt_toolkit would print a traceback over the prompt when the disk is full or the file is gone."""

    def load_history_strings(self) -> Iterable[str]:
        with suppress(OSError, UnicodeError):
            return list(super().load_history_strings())
        return []

    def store_string(self, string: str) -> None:
        with suppress(OSError, UnicodeError):
            super().store_string(string)
