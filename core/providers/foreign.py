"""Reads values of foreign JSON as their expected types; a value of another type is unknown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any, TypeVar

from core.regex import regex

MOST = 1 << 53          # integers up to here are exact in every JSON parser
MOST_ENTRIES = 10_000   # of one list; further entries are not read
AT_ONCE = 200           # entries that are read before the event loop runs
_DIGITS = regex(r"\d{1,15}")
T = TypeVar("T")
# The exceptions of reading a value of an unexpected shape.
ODD_SHAPES = (AttributeError, KeyError, IndexError, TypeError, ValueError, ArithmeticError,
              RecursionError)


def object_of(value: Any) -> Mapping[str, Any]:
    """Return the object, or an empty one."""
    return value if isinstance(value, dict) else {}


def list_of(value: Any) -> list[Any]:
    """Return the list, or an empty one."""
    return value if isinstance(value, list) else []


def objects_of(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a list; other values are skipped."""
    return [entry for entry in list_of(value) if isinstance(entry, dict)]


def text_of(value: Any) -> str:
    """Return the text, or "" for anything else."""
    return value if isinstance(value, str) else ""


def words_of(value: Any) -> list[str]:
    """Return the texts in a list, or the keys of an object whose values are true."""
    if isinstance(value, dict):
        return [name for name, able in value.items() if isinstance(name, str) and able is True]
    return [word for word in list_of(value) if isinstance(word, str)]


def size_of(value: Any) -> int | None:
    """Return a positive integer, also from digits (JSON of protocol buffers writes large ones as
    text); None otherwise.
    """
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 < value < MOST else None


def first_size(values: Iterable[Any]) -> int | None:
    """Return the first of these values that is a size."""
    return next(filter(None, map(size_of, values)), None)


async def read_each(entries: Iterable[Any], read: Callable[[Any], T]) -> list[T]:
    """Read each entry, skipping those that `read` cannot read.

    At most MOST_ENTRIES are read, in batches, so that Ctrl-C is never delayed.
    """
    found: list[T] = []
    for number, entry in enumerate(islice(entries, MOST_ENTRIES), 1):
        with suppress(*ODD_SHAPES):
            found.append(read(entry))
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
    return found
