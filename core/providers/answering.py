"""Detects that a server responded with another model than requested, as servers that accept any
name do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.regex import regex

LONGEST = 200       # characters of a model name
# -0613, -20250929, -2024-08-06
_SNAPSHOT = regex(r"[-@:_](latest|\d{3,}|20\d\d-\d\d-\d\d|\d\d-20\d\d)$")


def name_in(payload: Mapping[str, Any]) -> str:
    """Return the model that an event of any dialect names, or ""."""
    holders = (payload, payload.get("message"), payload.get("response"))
    for holder in (holder for holder in holders if isinstance(holder, Mapping)):
        for field in ("model", "modelVersion"):
            name = holder.get(field)
            if isinstance(name, str) and name.strip():
                return " ".join(name.split())[:LONGEST]
    return ""


def is_another(asked: str, answered: str) -> bool:
    """Return whether two names mean different models.

    A dated snapshot, a path or a route with the same name is the same model.
    """
    return bool(answered) and not _forms(asked) & _forms(answered)


def _forms(name: str) -> set[str]:
    """Return the names that a model may have."""
    plain = name.strip().lower().replace("\\", "/")
    base = plain.rpartition("/")[2].removesuffix(".gguf")
    found = ({plain, base, base.partition(":")[0]} if ":" in base and not _is_size(base)
             else {plain, base})
    while True:
        more = {_SNAPSHOT.sub("", form) for form in found} - found
        if not more:
            return found
        found |= more


def _is_size(base: str) -> bool:
    """Return whether the text after the colon is a size or tag, as in qwen3:14b; a route has no
    digits.
    """
    return any(character.isdigit() for character in base.partition(":")[2])
