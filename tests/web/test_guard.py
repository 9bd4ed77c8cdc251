"""Which requests pass the guard, by host, origin, site, sign-in, method and path."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import MutableMapping
from typing import Any

import pytest

from core.web.guard import MOST_BYTES, Guard, bounded

HOST = "127.0.0.1:8421"
SECRET, TOKEN = "s" * 32, "t" * 32
HOSTS = (HOST, "localhost:8421", "evil.example:8421", "127.0.0.1:80", "127.0.0.1:8421.evil.example",
         "", None)
ORIGINS = (None, "own", "null", "http://evil.example", f"https://{HOST}", "http://127.0.0.1:8422",
           "")
SITES = (None, "same-origin", "none", "cross-site", "same-site", "unheard-of")
SIGNED = (None, "cookie", "bearer", "wrong cookie", "wrong bearer", "other scheme")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW")
PATHS = ("/", "/api/sessions", "/v1/chat/completions", "/static/main.js", "/healthz", "/open",
         "/..//api")


def headers_of(host: str | None, origin: str | None, site: str | None, signed: str | None, *,
               own: bool = True) -> list[tuple[bytes, bytes]]:
    headers: list[tuple[bytes, bytes]] = []
    if host is not None:
        headers.append((b"host", host.encode()))
    if origin is not None:
        headers.append((b"origin", (f"http://{host}" if origin == "own" else origin).encode()))
    if site is not None:
        headers.append((b"sec-fetch-site", site.encode()))
    given = {"cookie": (b"cookie", f"a=b; page={SECRET}"),
             "wrong cookie": (b"cookie", "page=guess"),
             "bearer": (b"authorization", f"Bearer {TOKEN}"),
             "wrong bearer": (b"authorization", "Bearer guess"),
             "other scheme": (b"authorization", f"Basic {TOKEN}")}
    if signed is not None:
        name, value = given[signed]
        headers.append((name, value.encode()))
    return headers + ([(b"x-stream-chat", b"page")] if own else [])


def status_of(scope: MutableMapping[str, Any], token: str = TOKEN, body: bytes = b"") -> int:
    """The status that a request gets; the application behind the guard answers 200."""
    sent: list[MutableMapping[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)
    guard = Guard(app, hosts=[HOST, "localhost:8421"], cookie="page", secret=SECRET, token=token)
    asyncio.run(guard(scope, receive, send))
    names = {name for name, _ in sent[0]["headers"]}
    assert {b"content-security-policy", b"x-content-type-options", b"cache-control"} <= names
    return int(sent[0]["status"])


def scope_of(method: str, path: str,
             headers: list[tuple[bytes, bytes]]) -> MutableMapping[str, Any]:
    return {"type": "http", "method": method, "path": path, "headers": headers}


def should_pass(host: str | None, origin: str | None, site: str | None, signed: str | None,
                method: str, path: str) -> bool:
    """The rule, written a second time in other words."""
    reads = method in ("GET", "HEAD")
    ours = host in (HOST, "localhost:8421")
    alone = (origin in (None, "own")
             and site in ((None, "same-origin", "none") if reads else (None, "same-origin")))
    public = path in ("/healthz", "/open") or path.startswith("/static/")
    return ours and alone and (reads if public else signed in ("cookie", "bearer"))


def test_nothing_passes_that_should_not() -> None:
    tried = 0
    guard = Guard(None, hosts=[HOST, "localhost:8421"], cookie="page", secret=SECRET, token=TOKEN)  # type: ignore[arg-type]
    for host, origin, site, signed, method, path in itertools.product(HOSTS, ORIGINS, SITES, SIGNED,
                                                                      METHODS, PATHS):
        scope = scope_of(method, path, headers_of(host, origin, site, signed))
        passed = guard.refusal(scope) is None
        assert passed == should_pass(host, origin, site, signed, method,
                                     path), (host, origin, site, signed, method, path)
        tried += 1
    assert tried == len(HOSTS) * len(ORIGINS) * len(SITES) * len(SIGNED) * len(METHODS) * len(PATHS)


def test_a_change_with_the_cookie_needs_the_pages_own_header() -> None:
    without = headers_of(HOST, "own", "same-origin", "cookie", own=False)
    assert status_of(scope_of("POST", "/api/sessions", without)) == 403
    assert status_of(scope_of("POST", "/api/sessions",
                              headers_of(HOST, "own", "same-origin", "cookie"))) == 200


def test_two_hosts_are_none() -> None:
    twice = [*headers_of(HOST, None, None, "cookie"), (b"host", HOST.encode())]
    assert status_of(scope_of("GET", "/", twice)) == 421


@pytest.mark.parametrize("given", ["Bearer ", "Bearer  ", "bearer", "Bearer x y"])
def test_no_token_lets_no_program_in(given: str) -> None:
    headers = [(b"host", HOST.encode()), (b"authorization", given.encode())]
    assert status_of(scope_of("GET", "/v1/models", headers), token="") == 401


def test_a_body_that_says_it_is_too_long_is_refused() -> None:
    headers = [*headers_of(HOST, None, None, "bearer"),
               (b"content-length", str(MOST_BYTES + 1).encode())]
    assert status_of(scope_of("POST", "/v1/chat/completions", headers)) == 413


@pytest.mark.parametrize("over, passed", [(0, True), (1, False)])
def test_a_body_that_only_becomes_too_long_ends(over: int, passed: bool) -> None:
    pieces = [b"x" * (MOST_BYTES // 2), b"x" * (MOST_BYTES - MOST_BYTES // 2 + over)]

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def read() -> list[str]:
        receiving = bounded(receive)
        return [(await receiving())["type"] for _ in range(2)]
    last = "http.request" if passed else "http.disconnect"
    assert asyncio.run(read()) == ["http.request", last]
