"""Functions for the child process of test_limited_process.py:
what hostile input can make a library do.
"""

from __future__ import annotations

import os
import re

from core.errors import ContextError, ToolError
from core.tools.limited_process import Job


def echo(job: Job, text: str) -> list[str | int]:
    print("what a library prints does no harm")
    return [text, len(job.data), os.getpid()]


def fill_memory(job: Job) -> int:
    return len(b"x" * (4 << 30))


def fill_with_objects(job: Job) -> int:
    kept: list[object] = []
    while True:
        kept.append([kept])


def hold_the_lock(job: Job) -> None:
    re.match("(a+)+$", "a" * 100 + "b")


def power(job: Job) -> int:
    return (10 ** (10 ** 9)) % 7


def write_without_end(job: Job, folder: str) -> None:
    with open(os.path.join(folder, "big"), "wb") as file:
        file.truncate(64 << 30)


def end(job: Job) -> None:
    os._exit(3)


def refuse(job: Job, kind: str) -> None:
    raise {"tool": ToolError, "context": ContextError, "bug": ValueError}[kind](f"why {kind}")
