"""Identifies the sender of a request to the team page, and decides which requests members may send.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie

from core.dataclass import dataclass, field
from core.regex import regex
from core.web.guard import (MOST_BYTES, PAGE_HEADER, SAFE_METHODS, Scope, is_own_origin, length_of,
                            values_of)
from core.web.team.openid import BACK
from core.web.team.tickets import is_genuine, name_in

COOKIE = "stream_chat"
# headers of a browser that followed a link: origin, mode and purpose
LINKS = tuple([[site], ["navigate"], ["document"]] for site in ("cross-site", "same-site"))
PAGES = ("/", "/providers", "/numbers")
KNOWN_SECONDS = 5.0  # seconds for which an account's existence is cached
# Changes here would affect the whole team: keys, addresses, downloads. Everything else belongs to
# the member.
KEPT_FROM_MEMBERS = ("/api/providers", "/api/pulls", "/api/first")
COUNTED = ("/messages", "/edits", "/retry", "/continue", "/compare", "/commands", "/v1/")
_TEST = regex(r"/api/providers/[^/]+/test")  # checks whether a provider responds
Refusal = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Address:
    """The address of the page. `scheme` and `hosts` are what browsers send; only requests from
    `proxies` may name a user in `user_header` ("": none may). `only_proxies`: other requests are
    rejected.
    """

    scheme: str
    hosts: frozenset[str]
    proxies: frozenset[str] = frozenset()
    user_header: str = ""
    only_proxies: bool = False


@dataclass(slots=True)
class Gate:
    """`key_of` returns the key of an account, "" if unknown; `rate` is the number of questions
    allowed per user and minute, 0 for no limit.
    """

    address: Address
    key_of: Callable[[str], str]
    rate: int = 0
    _known: dict[str, tuple[float, str]] = field(default_factory=dict)
    _asked: dict[str, list[float]] = field(default_factory=dict)

    def foreign(self, scope: Scope) -> Refusal | None:
        """Return why a request cannot come from this page; None if it can."""
        headers = list(scope["headers"])
        hosts = values_of(headers, b"host")
        if self.address.only_proxies and self._peer(scope) not in self.address.proxies:
            return 403, "Requests have to come through the proxy."
        if len(hosts) != 1 or hosts[0] not in self.address.hosts:
            return 421, "This address is not served here."
        unsafe = scope["method"] not in SAFE_METHODS
        comes_back = scope["path"] == BACK and not unsafe
        if comes_back or self.is_link(scope):
            return None
        if not is_own_origin(headers, hosts[0], unsafe=unsafe, scheme=self.address.scheme):
            return 403, "Requests from other sites are refused."
        if length_of(headers) > MOST_BYTES:
            return 413, f"At most {MOST_BYTES // 1024 // 1024} MB a request."
        return None

    @staticmethod
    def is_link(scope: Scope) -> bool:
        """Return whether a link on another site was followed to a page. Such a request carries no
        cookie of ours.
        """
        headers, path = list(scope["headers"]), str(scope["path"])
        fetched = [values_of(headers, b"sec-fetch-" + name) for name in (b"site", b"mode", b"dest")]
        return (
            scope["method"] == "GET"
            and (path in PAGES or path.startswith("/s/"))
            and fetched in LINKS
            and not values_of(headers, b"origin")
        )

    def user(self, scope: Scope) -> str:
        """Return the signed-in user who sends the request; empty if none. Raises StoreError."""
        headers = list(scope["headers"])
        if self.address.user_header:
            named = values_of(headers, self.address.user_header.lower().encode())
            if self._peer(scope) in self.address.proxies and len(named) == 1 and named[0].strip():
                return named[0].strip()
        for ticket in _tickets(headers):
            name = name_in(ticket)
            if name and is_genuine(ticket, self._hash(name)):
                return name
        return ""

    def forget(self, name: str) -> None:
        self._known.pop(name, None)

    def refusal(self, scope: Scope, user: str) -> Refusal | None:
        """Return why this user may not send the request, or None."""
        method, path = scope["method"], str(scope["path"])
        if method in SAFE_METHODS:
            return None
        if not path.startswith("/v1/") and not values_of(list(scope["headers"]), PAGE_HEADER):
            return 403, "The page's own header is missing."
        if path.startswith(KEPT_FROM_MEMBERS) and not _TEST.fullmatch(path):
            return 403, "Keys, addresses and models are set up by the administrator of this server."
        if self.rate and path.endswith(COUNTED[:-1]) or self.rate and path.startswith(COUNTED[-1]):
            return self._too_fast(user)
        return None

    def from_address(self, scope: Scope) -> str:
        """Return the sender's address: as reported by a trusted proxy, otherwise the peer's."""
        forwarded = values_of(list(scope["headers"]), b"x-forwarded-for")
        peer = self._peer(scope)
        if peer in self.address.proxies and forwarded:
            return forwarded[-1].rpartition(",")[2].strip()
        return peer

    def _too_fast(self, user: str) -> Refusal | None:
        now = time.monotonic()
        recent = [moment for moment in self._asked.get(user, ()) if moment > now - 60]
        self._asked[user] = recent
        if len(recent) >= self.rate:
            return 429, f"At most {self.rate} questions per minute. Try again in a moment."
        recent.append(now)
        return None

    def _hash(self, name: str) -> str:
        now = time.monotonic()
        at, found = self._known.get(name, (0.0, ""))
        if not found or now - at > KNOWN_SECONDS:
            found = self.key_of(name)
            if found:
                self._known[name] = now, found
            else:
                self._known.pop(name, None)
        return found

    @staticmethod
    def _peer(scope: Mapping[str, object]) -> str:
        client = scope.get("client")
        return str(client[0]) if isinstance(client, (tuple, list)) and client else ""


def _tickets(headers: list[tuple[bytes, bytes]]) -> list[str]:
    """Return the tickets in a request, not yet verified."""
    found = []
    for value in values_of(headers, b"cookie"):
        try:
            morsel = SimpleCookie(value).get(COOKIE)
        except CookieError:
            continue
        if morsel is not None:
            found.append(morsel.value)
    for value in values_of(headers, b"authorization"):
        scheme, _, given = value.partition(" ")
        if scheme.lower() == "bearer":
            found.append(given.strip())
    return found
