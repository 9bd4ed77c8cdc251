"""Replaces a file that only its owner may read."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress


def write_private(path: str, text: str, *, check: Callable[[str], object] | None = None,
                  sync: bool = True) -> None:
    """Replace the file atomically with one of mode 600; create its directory if it is missing.

    A symbolic link stays and its target is replaced. `check` gets the path of the new file before
    it replaces the old one, and raises an error to keep the old one. Without `sync`, a power cut
    may lose the text. Raises OSError, and then keeps the old file.
    """
    target = os.path.realpath(path)
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    # a random name, since threads and programs in several containers may write the same file
    beside = f"{target}.{os.urandom(6).hex()}"
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if sync:
                os.fsync(descriptor)
        if check is not None:
            check(beside)
        os.replace(beside, target)
    finally:
        with suppress(OSError):
            os.unlink(beside)
