"""Sends requests for every HTTP dialect and reads responses in frames, with two time limits.

Redirects are rejected because they would send the key to another origin. Proxies are not used for
loopback addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from core.config.network import is_loopback
from core.errors import AuthFailed, BadResponse, ConnectFailed, ProviderError, StreamBroken
from core.providers import Endpoint
from core.providers.http.connection import BadAddress, TooLate, split_url
from core.providers.http.decoder import (EventDecoder, LineDecoder, ServerEvent, TooMuch, load_json,
                                         not_the_protocol, parse_json, too_much)
from core.providers.http.http1 import (Client, ConnectTimeout, HttpError, NoConnection, Response,
                                       Silence)
from core.providers.written import as_json

FRAME = 0.025             # seconds: data that arrives this soon after a read is read as one frame
BUSY = 16_384             # bytes: after a read of this size the next one does not wait
MAX_ERROR_BODY = 65_536   # bytes read of the body of an error
ANEW = b""                # marks a new connection among the reads: the next one begins an event
LONGEST_PLACE = 200       # characters of an address in a message
ERROR_BODY_TIME = 10.0    # seconds for the body of an error, whose status is already known

ErrorMapper = Callable[[int, Mapping[str, str], bytes], ProviderError]


def open_client(endpoint: Endpoint, headers: Mapping[str, str] | None = None) -> Client:
    """Return a client for the endpoint's origin.

    Over http:// the trust store is not read, which saves 36 ms, and each request opens a new
    connection: local engines close connections that they promised to keep (llama.cpp lost 1 of 4
    requests that reused one immediately).

    Raises:
        AuthFailed: HTTP cannot carry a header, such as a key with a line end.
        ProviderError: the address or the settings of proxies are not valid.
    """
    headers = {**(endpoint.quirks.get("headers") or {}), **(headers or {})}
    _check_headers(endpoint, headers)
    try:
        split_url(endpoint.base_url)
    except BadAddress as problem:
        raise _no_address(endpoint.base_url, problem) from problem
    try:
        return Client(endpoint.base_url, headers, connect_timeout=endpoint.connect_timeout,
                      proxied=not is_loopback(endpoint.base_url))
    except (ValueError, OSError) as problem:
        raise ProviderError(f"The connection cannot be set up: {problem}.",
                            "Check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY and "
                            "SSL_CERT_FILE.") from problem


def _no_address(where: str, problem: Exception) -> ProviderError:
    return ProviderError(f"{where} is not an address of a server: {problem}.", "Check --base-url.")


def _redirected(endpoint: Endpoint, response: Response) -> BadResponse:
    """Return the error for a redirect, with the address that it names, without its query."""
    from urllib.parse import urljoin, urlsplit
    status, place = response.status_code, ""
    with contextlib.suppress(ValueError):
        there = urlsplit(urljoin(endpoint.base_url, response.headers.get("location", "")))
        place = f"{there.scheme}://{there.netloc.rpartition('@')[2]}{there.path}"
    if "location" not in response.headers:
        return BadResponse(f"{endpoint.base_url} responded with {status} instead of an answer.",
                           "Check --base-url and --provider.", status=status)
    where = f"to {place[:LONGEST_PLACE]}" if place else "elsewhere"
    return BadResponse(f"{endpoint.base_url} redirects {where} ({status}), which is not followed: "
                       "the key would go along.",
                       "Set --base-url to the final address.", status=status)


def _check_headers(endpoint: Endpoint, headers: Mapping[str, str]) -> None:
    """Reject what HTTP cannot carry, before a library does so in an error that quotes the key."""
    if not all(character == "\t" or " " <= character <= "~" for value in headers.values()
               for character in value):
        where = endpoint.host or endpoint.base_url
        raise AuthFailed(f"The key for {where} holds a character that no key has.",
                         "Look for a line end, a quotation mark or a letter with an accent in it.")


@contextlib.asynccontextmanager
async def exchange(client: Client, endpoint: Endpoint, path: str, body: Any,
                   error_from: ErrorMapper, *, headers: Mapping[str, str] | None = None,
                   method: str = "POST") -> AsyncIterator[Response]:
    """Send JSON and yield the response while it is being received.

    Leaving the block before the end of the response closes the connection, so that the server
    stops computing.

    Raises:
        ProviderError: the connection failed, or the status is a redirect or an error.
    """
    url = endpoint.base_url.rstrip("/") + path
    content = None if body is None else as_json(body)
    _check_headers(endpoint, headers or {})
    if endpoint.sent is not None:
        endpoint.sent.note(endpoint.host, method, url, content, with_key=endpoint.key is not None)
    with _named_failures(endpoint):
        response = await client.send(
            method, url, content, silence=_longest_silence(endpoint, begins=body is not None),
            before=endpoint.sent.ready if endpoint.sent is not None else None,
            headers={"content-type": "application/json", "accept-encoding": "identity",
                     **(headers or {})})
    try:
        if 300 <= response.status_code < 400:
            raise _redirected(endpoint, response)
        if response.status_code >= 400:
            raise error_from(response.status_code, response.headers, await _read_limited(response))
        yield response
    finally:
        response.close()


def _longest_silence(endpoint: Endpoint, *, begins: bool) -> float:
    """Return the seconds that the server may send nothing before its response begins."""
    return (max(first_byte_timeout(endpoint), endpoint.idle_timeout) if begins
            else endpoint.idle_timeout)


def first_byte_timeout(endpoint: Endpoint) -> float:
    return (endpoint.idle_timeout if endpoint.first_byte_timeout is None
            else endpoint.first_byte_timeout)


async def fetch_json(client: Client, endpoint: Endpoint, path: str, error_from: ErrorMapper, *,
                     body: Any = None,
                     headers: Mapping[str, str] | None = None) -> Any:
    """Return one JSON document, requested with GET, or with POST if there is a body."""
    method = "GET" if body is None else "POST"
    async with exchange(client, endpoint, path, body, error_from, headers=headers,
                        method=method) as response:
        with _named_failures(endpoint):
            content = await _read_whole(response, endpoint)
    try:
        return load_json(content.decode("utf-8-sig"))
    except TooMuch as problem:
        raise too_much(endpoint) from problem
    except (ValueError, RecursionError) as problem:
        raise not_the_protocol(endpoint, content) from problem


async def _read_whole(response: Response, endpoint: Endpoint) -> bytes:
    """Return the body, limited in size: a small compressed one can unpack to a large one."""
    pieces: list[bytes] = []
    size = 0
    while piece := await _read_in_time(response, endpoint.idle_timeout):
        pieces.append(piece)
        size += len(piece)
        if size > endpoint.longest:
            raise too_much(endpoint)
    return b"".join(pieces)


async def _read_in_time(response: Response, seconds: float) -> bytes:
    try:
        async with asyncio.timeout(seconds):
            return await response.read()
    except TimeoutError as problem:
        raise Silence from problem


async def _read_limited(response: Response) -> bytes:
    """Return the start of an error's body, or the part that arrived before it broke off."""
    content = b""
    with contextlib.suppress(HttpError, TimeoutError):
        async with asyncio.timeout(ERROR_BODY_TIME):
            while len(content) <= MAX_ERROR_BODY and (piece := await response.read()):
                content += piece
    return content[:MAX_ERROR_BODY]


@contextlib.contextmanager
def _named_failures(endpoint: Endpoint, *, begun: bool = False) -> Iterator[None]:
    """Convert failures of the connection to our errors.

    `begun` says that part of the response has been received.
    """
    where = endpoint.base_url
    try:
        yield
    except ConnectTimeout as problem:
        raise ConnectFailed(f"No connection to {where} within "
                            f"{endpoint.connect_timeout:g} s.") from problem
    except Silence as problem:
        longest = (endpoint.idle_timeout if begun
                   else max(first_byte_timeout(endpoint), endpoint.idle_timeout))
        flag = ("--idle-timeout" if begun or longest == endpoint.idle_timeout
                else "--first-byte-timeout")
        message, hint = (f"{where} has sent nothing for {longest:g} s.",
                         f"A larger {flag} gives it more time.")
        raise (StreamBroken(message, hint) if begun else ConnectFailed(message, hint)) from problem
    except BadAddress as problem:
        raise _no_address(where, problem) from problem
    except NoConnection as problem:
        raise _no_connection(where, problem) from problem
    except HttpError as problem:
        message = f"The connection to {where} broke off: {_reason(problem)}."
        raise (StreamBroken(message) if begun else ConnectFailed(message)) from problem


def _no_connection(where: str, problem: NoConnection) -> ConnectFailed:
    """Return the error, not to be retried for an unknown name or a local server that is down."""
    error = ConnectFailed(f"No connection to {where}: {_reason(problem)}.")
    causes = list(_causes(problem))
    unknown = any(isinstance(cause, socket.gaierror) for cause in causes)
    # the last two: a Unix socket's file
    closed = (ConnectionRefusedError, FileNotFoundError, PermissionError)
    refused = any(isinstance(cause, closed) for cause in causes)
    error.retryable = not unknown and not (refused and is_loopback(where))
    return error


def _causes(problem: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = problem
    while cause is not None:
        yield cause
        inner = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else None
        cause = inner or cause.__cause__ or cause.__context__


def _reason(problem: BaseException) -> str:
    """Describe the innermost cause: the operating system's words say more than a library's."""
    text = str(problem)
    for cause in _causes(problem):
        if isinstance(cause, OSError) and cause.errno is not None:
            # an SSLError's number is not one of the system's
            from_system = cause.errno > 0 and not hasattr(cause, "library")
            text = os.strerror(cause.errno) if from_system else cause.strerror or text
    return (text or type(problem).__name__).rstrip(".")


class _Body:
    """Reads a response one frame at a time.

    Servers send an HTTP chunk per token, and waking up for each costs 80 us a token instead of 10.
    So data stays in the system's buffer for `_rest` seconds after each take. The rest grows to the
    length of a frame, so that the end of a short reply is not delayed.
    """

    def __init__(self, response: Response, endpoint: Endpoint, clock: ContentClock | None) -> None:
        self._response, self._endpoint, self._clock = response, endpoint, clock
        self._rest, self._rest_until = FRAME / 8, 0.0

    async def take(self) -> bytes:
        """Return all data received since the last call, waiting for some; b"" at the end.

        Raises the error that ended the body early; Silence or StreamBroken if nothing is received.
        """
        spare = self._rest_until - time.monotonic()
        if spare > 0:
            self._response.rest(spare)
        clock = self._clock
        limit = self._endpoint.idle_timeout if clock is None else clock.limit
        try:
            data = await self._response.read(asyncio.get_running_loop().time() + limit)
        except TooLate as problem:
            raise (Silence() if clock is None else clock.broken()) from problem
        if len(data) < BUSY:
            self._rest_until = time.monotonic() + self._rest
            self._rest = min(FRAME, self._rest * 2)
        return data


class ContentClock:
    """Counts the time spent waiting since content was received; keep-alives do not reset it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._waited = 0.0
        self.limit, self._flag = first_byte_timeout(endpoint), "--first-byte-timeout"
        if endpoint.first_byte_timeout is None:
            self._flag = "--idle-timeout"

    def reset(self) -> None:
        self._waited = 0.0
        self.limit, self._flag = self._endpoint.idle_timeout, "--idle-timeout"

    def add(self, seconds: float) -> None:
        self._waited += seconds
        if self._waited > self.limit:
            raise self.broken("nothing but signs of life")

    def broken(self, what: str = "nothing") -> StreamBroken:
        return StreamBroken(f"{self._endpoint.base_url} has sent {what} for {self.limit:g} s.",
                            f"A larger {self._flag} gives it more time.")


async def read_chunks(response: Response, endpoint: Endpoint,
                      clock: ContentClock | None = None) -> AsyncGenerator[bytes, None]:
    """Yield the body as it is received: the first bytes immediately, then a frame at a time."""
    body = _Body(response, endpoint, clock)
    with _named_failures(endpoint, begun=True):
        asked = time.monotonic()
        while chunk := await body.take():
            waited = time.monotonic() - asked
            yield chunk
            if clock is not None:
                clock.add(waited)
            asked = time.monotonic()


def read_lines(response: Response, endpoint: Endpoint,
               clock: ContentClock | None = None) -> AsyncGenerator[list[bytes], None]:
    return lines_of(read_chunks(response, endpoint, clock), endpoint)


async def lines_of(reads: AsyncGenerator[bytes, None],
                   endpoint: Endpoint) -> AsyncGenerator[list[bytes], None]:
    """Yield the lines without their ends, a list per read; the last one may lack its end.

    For ANEW, drop an unfinished line and yield an empty list.
    """
    lines = LineDecoder()
    async with contextlib.aclosing(reads):
        async for chunk in reads:
            if chunk == ANEW:
                lines = LineDecoder()
            whole = lines.feed(chunk)
            if whole or chunk == ANEW:
                yield whole
            if lines.size > endpoint.longest:
                raise too_much(endpoint)
    if lines.size:
        yield [lines.close()]


async def read_json_lines(response: Response, endpoint: Endpoint, *,
                          counts: Callable[[Any], bool] = bool) -> AsyncGenerator[list[Any], None]:
    """Yield the objects of NDJSON, a list per read; blank lines are skipped.

    `counts` says which objects are content and so restart the idle timeout.
    """
    clock = ContentClock(endpoint)
    async with contextlib.aclosing(read_lines(response, endpoint, clock)) as batches:
        async for lines in batches:
            values, failure = _parse_lines(lines, endpoint)
            if any(map(counts, values)):
                clock.reset()
            if values:
                yield values
            if failure is not None:
                raise failure


def _parse_lines(lines: list[bytes], endpoint: Endpoint) -> tuple[list[Any], BadResponse | None]:
    """Return the values before the first invalid line, and the error for that line."""
    values = []
    for line in lines:
        if line and not line.isspace():
            try:
                values.append(parse_json(line, endpoint))
            except BadResponse as failure:
                return values, failure
    return values, None


def _is_content(event: ServerEvent) -> bool:
    return event.name != "ping" and event.data.strip() not in ("", "{}")


async def read_events(response: Response, endpoint: Endpoint, *,
                      counts: Callable[[ServerEvent], bool] = _is_content) -> AsyncGenerator[
                          list[ServerEvent], None]:
    """Yield server-sent events, a list per read; the last one may lack its blank line.

    `counts` says which events are content and so restart the idle timeout. Comments are skipped
    and do not.
    """
    decoder = EventDecoder()
    clock = ContentClock(endpoint)
    async with contextlib.aclosing(read_chunks(response, endpoint, clock)) as reads:
        async for chunk in reads:
            events = decoder.feed(chunk)
            if any(map(counts, events)):
                clock.reset()
            if events:
                yield events
            if decoder.held > endpoint.longest:
                raise too_much(endpoint)
    last = decoder.close()
    if last:
        yield last
