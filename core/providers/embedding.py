"""Checks embeddings in providers' answers: their number, shape and values, in the order of the
texts.
"""

from __future__ import annotations

import array
import base64
import math
import sys
from typing import Any

from core.errors import BadResponse

MOST_DIMENSIONS = 65_536


def checked_vectors(values: Any, count: int, where: str) -> list[list[float]]:
    """Return one vector per text, all of the same length and with finite numbers; in the answer a
    vector may be base64 of float32. Raises BadResponse.
    """
    if not isinstance(values, list) or len(values) != count:
        raise _wrong(where,
                     f"{count} were requested, "
                     f"{len(values) if isinstance(values, list) else 'none'} came")
    vectors = [_numbers(value, where) for value in values]
    if len({len(vector) for vector in vectors}) > 1:
        raise _wrong(where, "they differ in length")
    return vectors


def by_index(entries: Any) -> Any:
    """Return the vectors in OpenAI's `data`, ordered by `index`."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return None
    places = [entry.get("index", place) for place, entry in enumerate(entries)]
    if sorted(map(str, places)) != sorted(map(str, range(len(entries)))):
        return None
    return [entry.get("embedding") for _, entry
            in sorted(zip(map(int, places), entries, strict=True), key=lambda pair: pair[0])]


def _numbers(value: Any, where: str) -> list[float]:
    if isinstance(value, str):
        value = _decoded(value, where)
    if not isinstance(value, (list, array.array)) or not 0 < len(value) <= MOST_DIMENSIONS:
        raise _wrong(where, "one is not a list of numbers")
    if not all(isinstance(number, (int, float)) and math.isfinite(number) for number in value):
        raise _wrong(where, "one contains something that is not a number")
    return [float(number) for number in value]


def _decoded(text: str, where: str) -> array.array[float]:
    numbers = array.array("f")
    try:
        numbers.frombytes(base64.b64decode(text, validate=True))
    except ValueError as problem:
        raise _wrong(where, "one is not base64 of numbers") from problem
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _wrong(where: str, what: str) -> BadResponse:
    return BadResponse(f"The embeddings of {where} are unusable: {what}.",
                       "Check --embedding-model.")
