"""Converts values to a setting's type and refuses those that are not valid for it."""

from __future__ import annotations

import errno
import os

from core.config.setting import Setting
from core.errors import ConfigError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

MOST_OWN = 16_000_000     # characters of a file that the user wrote: settings, a schema


def parse_value(row: Setting, text: str, where: str) -> Any:
    """Convert text to the setting's type. Raises UsageError; `where` names the flag or key."""
    if row.kind is not dict:
        _refuse_blank(row, text, where)
    if row.kind is bool:
        return _parse_bool(text, where)
    if row.kind is list and not row.split:
        return (text,)
    if row.kind is list:
        _refuse_blank(row, text.replace(",", " "), where)
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if row.kind is dict:
        key, equals, value = text.partition("=")
        if not (equals and key.strip()):
            raise UsageError(f"{where} takes KEY=VALUE, not {text!r}.")
        _refuse_blank(row, value, f"{where} {key.strip()}=")
        return {key.strip(): _parse_scalar(value)}
    if row.kind in (int, float):
        return _parse_number(row, text, where)
    return check_value(row, text, where)


def _refuse_blank(row: Setting, text: str, where: str) -> None:
    """Refuse a blank value where it has no meaning, instead of treating it as not given."""
    if not (text.strip() or row.blank == "empty" or row.blank == "spaces" and text):
        raise UsageError(
            f"{where} needs a value, but it is empty.", "Is a variable in your command empty?"
        )


def _similar(text: str, choices: Sequence[str]) -> str:
    from difflib import get_close_matches
    return next(iter(get_close_matches(text.lower(), choices, n=1, cutoff=0.7)), "")


def check_value(row: Setting, value: Any, where: str) -> Any:
    """Return the value. Raises UsageError if it is not among the choices or within the limits."""
    if row.choices and value not in row.choices:
        meant = row.near.get(str(value).lower()) or _similar(str(value), row.choices)
        raise UsageError(
            f"{where} cannot be {value!r}.{f' Did you mean {meant}?' if meant else ''}",
            f"It is one of: {', '.join(row.choices)}.",
        )
    if row.kind in (int, float) and value is not None:
        if value != value or value in (float("inf"), float("-inf")):
            raise UsageError(f"{where} takes a finite number, not {value}.")
        if row.low is not None and value < row.low or row.high is not None and value > row.high:
            bounds = (
                f"at least {row.low:g}" if row.high is None else f"from {row.low:g} to {row.high:g}"
            )
            raise UsageError(f"{where} cannot be {value}.", f"It takes a number {bounds}.")
    return value


def _parse_bool(text: str, where: str) -> bool:
    word = text.strip().lower()
    if word in ("1", "true", "yes", "on", "y", "t"):
        return True
    if word in ("0", "false", "no", "off", "n", "f"):
        return False
    raise UsageError(f"{where} takes yes or no, not {text!r}.")


def _parse_number(row: Setting, text: str, where: str) -> int | float:
    try:
        value: int | float = _whole(row, text) if row.kind is int else float(text)
    except ValueError:
        noun = (
            "a number of tokens, such as 32768 or 32k"
            if row.tokens
            else "a whole number" if row.kind is int else "a number"
        )
        raise UsageError(f"{where} takes {noun}, not {text!r}.") from None
    check_value(row, value, where)
    return value


def _whole(row: Setting, text: str) -> int:
    if row.tokens and text.strip()[-1:].lower() == "k":
        return round(float(text.strip()[:-1]) * 1024)
    return int(text)


def _parse_scalar(text: str) -> Any:
    """The value of a KEY=VALUE option: parsed as JSON (numbers, true, lists), else the text."""
    try:
        return read_own_json(text, repr(text[:80]))
    except (ValueError, RecursionError):
        return text


def read_own_text(path: str) -> str:
    """Return the text of a file that the user wrote.

    Raises OSError, also for a file that is too large or has no end (a device), and
    UnicodeDecodeError.
    """
    with open(path, encoding="utf-8-sig") as file:
        text = file.read(MOST_OWN + 1)
    if len(text) > MOST_OWN:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return text


def read_own_json(text: str, where: str) -> Any:
    """Parse JSON that the user wrote, in a file or an option, which `where` names.

    Raises ConfigError for a duplicate key, and ValueError or RecursionError for invalid JSON.
    """
    import json
    try:
        return json.loads(text, object_pairs_hook=only_once)
    except DuplicateKey as problem:
        raise ConfigError(f"{where}: {problem}.", "Keep one of them.") from None


class DuplicateKey(ValueError):
    """A JSON object has a duplicate key; parsers disagree on which one wins."""


def only_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs, for json's `object_pairs_hook`. Raises DuplicateKey."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise DuplicateKey(f"duplicate key {name[:80]!r} in one object")
        seen.add(name)
    return found
