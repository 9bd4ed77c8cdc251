"""Filters requests to the page: only from this machine, this origin, and a signed-in browser or
program.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PAGE_HEADER = b"x-stream-chat"     # our own header, which forms and other sites' pages cannot send
MOST_BYTES = 32 * 1024 * 1024      # bytes of a request's body
SAFE_METHODS = frozenset({"GET", "HEAD"})
OPEN_PATHS = frozenset({"/healthz", "/open", "/favicon.ico"})
OPEN_FOLDER = "/static/"

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """ASGI middleware that rejects forbidden requests with status 4xx.

    `hosts` are the accepted values of Host. `cookie` and `secret` are the name and value of a
    signed-in browser's cookie; `token` is the bearer token of programs ("" rejects all programs).
    """

    def __init__(self, app: App, *, hosts: Iterable[str], cookie: str, secret: str,
                 token: str) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._cookie, self._secret, self._token = cookie, secret, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return      # WebSockets are not supported; the server closes them
        refusal = self.refusal(scope)
        if refusal is not None:
            await refuse(send, *refusal)
            return
        await self._app(scope, bounded(receive), with_headers(send))

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Return the status and reason to reject this request; None to accept it."""
        headers: list[tuple[bytes, bytes]] = list(scope["headers"])
        hosts = values_of(headers, b"host")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return 421, "This address is not served here."
        unsafe = scope["method"] not in SAFE_METHODS
        if not is_own_origin(headers, hosts[0], unsafe=unsafe):
            return 403, "Requests from other sites are refused."
        if length_of(headers) > MOST_BYTES:
            return 413, f"At most {MOST_BYTES // 1024 // 1024} MB a request."
        path = str(scope["path"])
        if path in OPEN_PATHS or path.startswith(OPEN_FOLDER):
            return None if not unsafe else (405, "Not allowed here.")
        if self._is_program(headers):
            return None
        if not self._is_browser(headers):
            return 401, "Sign in with the link that the program printed when it started."
        if unsafe and not values_of(headers, PAGE_HEADER):
            return 403, "The page's own header is missing."
        return None

    def _is_program(self, headers: list[tuple[bytes, bytes]]) -> bool:
        values = values_of(headers, b"authorization")
        if not self._token or len(values) != 1:
            return False
        scheme, _, given = values[0].partition(" ")
        return scheme.lower() == "bearer" and _same(given.strip(), self._token)

    def _is_browser(self, headers: list[tuple[bytes, bytes]]) -> bool:
        for value in values_of(headers, b"cookie"):
            try:
                morsel = SimpleCookie(value).get(self._cookie)
            except CookieError:
                continue
            if morsel is not None and _same(morsel.value, self._secret):
                return True
        return False


def values_of(headers: list[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key.lower() == name]


def _same(given: str, wanted: str) -> bool:
    return bool(wanted) and hmac.compare_digest(given.encode(), wanted.encode())


def is_own_origin(headers: list[tuple[bytes, bytes]], host: str, *, unsafe: bool,
                  scheme: str = "http") -> bool:
    """Return whether a request comes from our own site.

    A missing header proves nothing.
    """
    if any(origin != f"{scheme}://{host}" for origin in values_of(headers, b"origin")):
        return False
    allowed = {"same-origin"} if unsafe else {"same-origin", "none"}
    return all(site in allowed for site in values_of(headers, b"sec-fetch-site"))


def length_of(headers: list[tuple[bytes, bytes]]) -> int:
    lengths = values_of(headers, b"content-length")
    return max((int(length) for length in lengths if length.isascii() and length.isdigit()),
               default=0)


def bounded(receive: Receive) -> Receive:
    """Return a receive function that simulates a lost connection if the body exceeds the limit
    unannounced.
    """
    taken = 0

    async def receiving() -> MutableMapping[str, Any]:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        return message if taken <= MOST_BYTES else {"type": "http.disconnect"}
    return receiving


def with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            present = {key.lower() for key, _ in message.get("headers", ())}
            extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()
                     if name.encode() not in present]
            if b"cache-control" not in present:
                extra.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        await send(message)
    return sending


async def refuse(send: Send, status: int, reason: str) -> None:
    sending = with_headers(send)
    body = f"{reason}\n".encode()
    await sending({"type": "http.response.start", "status": status,
                   "headers": [(b"content-type", b"text/plain; charset=utf-8"),
                               (b"content-length", str(len(body)).encode())]})
    await sending({"type": "http.response.body", "body": body})
