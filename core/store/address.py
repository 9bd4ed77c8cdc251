"""What the address of a session database means: a file, sqlite:///FILE or postgresql://..."""

from __future__ import annotations

import os
from collections import namedtuple

from core.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, NamedTuple

    class Address(NamedTuple):
        """A parsed database address. `place` is its name without a password, the same for every
        address of one database. `user` is the team member it is opened for; empty means the user
        who connects.
        """

        kind: Literal["sqlite", "postgresql"]
        place: str
        url: str
        user: str = ""
else:
    Address = namedtuple("Address", "kind place url user", defaults=("",))

USER = "stream_chat_user"     # a parameter of the address that is ours, not the server's


def url_for(url: str, user: str) -> str:
    """Return the address of the same database, opened for this member."""
    from urllib.parse import quote
    return f"{url}{'&' if '?' in url else '?'}{USER}={quote(user, safe='')}"


def _without_user(rest: str) -> tuple[str, str]:
    """Split an address into the part for the server and the member it names."""
    if USER not in rest:
        return rest, ""
    from urllib.parse import unquote
    before, _, parameters = rest.partition("?")
    pairs = [pair.partition("=") for pair in parameters.split("&")]
    kept = "&".join("".join(pair) for pair in pairs if pair[0] != USER)
    user = next((unquote(pair[2]) for pair in pairs if pair[0] == USER), "")
    return f"{before}?{kept}" if kept else before, user


def parse_address(url: str) -> Address:
    """Parse a database address. Raises UsageError for one that cannot be opened."""
    scheme, separator, rest = url.partition("://")
    kind = scheme.lower().partition("+")[0] if separator else "sqlite"
    if kind in ("postgresql", "postgres"):
        place = "postgresql://" + rest.rpartition("@")[2].partition("?")[0]
        rest, user = _without_user(rest)
        return Address("postgresql", place, f"postgresql://{rest}", user)
    if kind != "sqlite":
        raise UsageError(f"Sessions cannot be kept in {scheme}://.",
                         "Use a file name, sqlite:///FILE or postgresql://USER@HOST/NAME.")
    path = rest.removeprefix("/") if separator else url
    if path in ("", ":memory:") or path.startswith("file:"):
        why = ("SQLite's file: addresses are not supported" if path.startswith("file:")
               else "it does not name a file")
        raise UsageError(f"Sessions cannot be kept in {url!r}: {why}.",
                         "Use a file name or sqlite:///FILE; --no-save keeps nothing.")
    place = os.path.abspath(os.path.expanduser(path))
    return Address("sqlite", place, place)
