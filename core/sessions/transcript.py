"""Appends a plain text copy of a conversation to a file (--dest)."""

from __future__ import annotations

import os

from core.errors import StoreError
from core.messages import Message


def private(path: str, flags: int) -> int:
    """Open a file; a new one is readable only by its owner, since it may contain a conversation."""
    return os.open(path, flags, 0o600)


class Transcript:
    """Appends complete messages. Raises StoreError when the file cannot be written; the
    conversation itself is not affected.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.expanduser(path)

    def add(self, message: Message) -> None:
        if not message.text:
            return
        who = "You" if message.role == "user" else message.model or message.role
        try:
            with open(self.path, "a", encoding="utf-8", errors="backslashreplace",
                      opener=private) as file:
                file.write(f"{who}: {message.text}\n\n")
        except OSError as problem:
            raise StoreError(f"The transcript {self.path} cannot be written: "
                             f"{problem.strerror}.") from problem
