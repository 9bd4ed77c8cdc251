"""What the address of a session database means: a file, sqlite:///FILE or postgresql://..."""

from __future__ import annotations

import os
from collections import namedtuple

from core.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, NamedTuple

    class Address(NamedTuple):
        """`place` names it to people, without a password; two addresses of one database have the same."""

        kind: Literal["sqlite", "postgresql"]
        place: str
        url: str
else:
    Address = namedtuple("Address", "kind place url")


def parse_address(url: str) -> Address:
    """Raises UsageError for what cannot be opened."""
    scheme, separator, rest = url.partition("://")
    kind = scheme.lower().partition("+")[0] if separator else "sqlite"
    if kind in ("postgresql", "postgres"):
        place = "postgresql://" + rest.rpartition("@")[2].partition("?")[0]
        return Address("postgresql", place, f"postgresql://{rest}")
    if kind != "sqlite":
        raise UsageError(f"Sessions cannot be kept in {scheme}://.",
                         "Use a file name, sqlite:///FILE or postgresql://USER@HOST/NAME.")
    path = rest.removeprefix("/") if separator else url
    if path in ("", ":memory:") or path.startswith("file:"):
        why = "SQLite's file: addresses are not supported" if path.startswith("file:") else "it does not name a file"
        raise UsageError(f"Sessions cannot be kept in {url!r}: {why}.",
                         "Use a file name or sqlite:///FILE; --no-save keeps nothing.")
    place = os.path.abspath(os.path.expanduser(path))
    return Address("sqlite", place, place)
