"""Stores uploaded files until their messages attach them."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterator, Collection

from core.dataclass import dataclass
from core.errors import StoreError, UsageError
from core.regex import regex
from core.safe_text import safe_line

MOST_FILE = 30 * 1024 * 1024
_OURS = regex(r"[0-9a-f]{16}/[^/]{1,120}")


@dataclass(frozen=True, slots=True)
class Uploads:
    """Files in `folder`, each in its own subfolder.

    Pages refer to a file by its path relative to `folder`.
    """

    folder: str

    async def keep(self, name: str, pieces: AsyncIterator[bytes]) -> str:
        """Write a file and return its name for `path`.

        Raises UsageError if it is too large, and StoreError.
        """
        own = f"{secrets.token_hex(8)}/{file_name(name)}"
        path, size = os.path.join(self.folder, own), 0
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                async for piece in pieces:
                    size += len(piece)
                    if size > MOST_FILE:
                        raise UsageError(f"{file_name(name)} is larger than "
                                         f"{MOST_FILE // 1024 // 1024} MB.")
                    await asyncio.to_thread(file.write, piece)
        except BaseException as problem:
            self._remove(path)
            if isinstance(problem, OSError):
                raise StoreError(f"The file cannot be stored: {problem.strerror}.") from problem
            raise
        return own

    def path(self, own: str) -> str:
        """Return the path of an uploaded file. Raises UsageError for an unknown name."""
        path = os.path.join(self.folder, own)
        if not _OURS.fullmatch(own) or not os.path.isfile(path):
            raise UsageError("This file is no longer available.", "Add it again.")
        return path

    def clean(self, needed: Collection[str], before: float) -> int:
        """Delete files uploaded before `before` whose paths are not `needed`; return how many."""
        try:
            folders = [entry.path for entry in os.scandir(self.folder)
                       if entry.stat().st_mtime < before]
        except OSError:
            return 0        # nothing was uploaded yet
        old = [os.path.join(folder, name) for folder in folders for name in os.listdir(folder)]
        unneeded = [path for path in old if path not in needed]
        for path in unneeded:
            self._remove(path)
        return len(unneeded)

    @staticmethod
    def _remove(path: str) -> None:
        try:
            os.unlink(path)
            os.rmdir(os.path.dirname(path))
        except OSError:
            pass        # it was never created


def file_name(given: str) -> str:
    """Return a safe file name: without folders, never empty, and nothing that has another meaning
    where the user names context, such as !command.
    """
    name = safe_line(re.split(r"[/\\\\]", given)[-1], 100)
    name = re.sub(r"[\x00-\x1f\"*?|:]", "_", name).strip(" .")
    return re.sub(r"^(?=[!~'-]|db$)", "_", name) or "file"
