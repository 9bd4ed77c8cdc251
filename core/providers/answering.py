"""Whether a server answered with another model than it was asked for:
many give every name to the one they have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.regex import regex

LONGEST = 200       # characters of a name
# -0613, -20250929, -2024-08-06
_SNAPSHOT = regex(r"[-@:_](latest|\d{3,}|20\d\d-\d\d-\d\d|\d\d-20\d\d)$")


def name_in(payload: Mapping[str, Any]) -> str:
    """The model that an event of any dialect says it comes from; "" where it says nothing."""
    holders = (payload, payload.get("message"), payload.get("response"))
    for holder in (holder for holder in holders if isinstance(holder, Mapping)):
        for field in ("model", "modelVersion"):
            name = holder.get(field)
            if isinstance(name, str) and name.strip():
                return " ".join(name.split())[:LONGEST]
    return ""


def is_another(asked: str, answered: str) -> bool:
    """Whether these names mean two models.

    A dated snapshot, a path or a route of the same name is the same model.
    """
    return bool(answered) and not _forms(asked) & _forms(answered)


def _forms(name: str) -> set[str]:
    """The names that one model may be called by."""
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
    """Whether what stands behind the colon is a size or a tag of its own, as in qwen3:14b;
    a route has no digits.
    """
    return any(character.isdigit() for character in base.partition(":")[2])
