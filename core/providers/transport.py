"""The wire under every HTTP dialect: one connection pool, one decoder, errors with their cause; it knows no dialect.

Facts behind it: bytes are split on line ends and decoded whole, so the result never depends on how the network cut them;
redirects are refused because they would carry the key to another origin; proxies are bypassed for loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2

from core.errors import BadResponse, ConnectFailed, ProviderError, StreamBroken
from core.events import Delta, TextDelta, ThinkingDelta
from core.providers import Endpoint

FRAME = 1 / 60            # seconds: reads closer together than this are taken as one
BUSY = 16_384             # bytes: a read this large is not waited for any longer
MAX_ERROR_BODY = 65_536   # bytes of an error answer that are looked at
MAX_LINE = 64 << 20       # bytes of one line or event; more is no chat protocol

ErrorMapper = Callable[[int, Mapping[str, str], bytes], ProviderError]


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event: its name ("message" when it had none) and its data lines joined."""

    name: str
    data: str


def is_loopback(url: str) -> bool:
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    return host == "localhost" or host.endswith(".localhost") or host.startswith("127.") or host == "::1"


def open_client(endpoint: Endpoint, headers: Mapping[str, str] | None = None) -> httpx2.AsyncClient:
    """A client bound to the endpoint's origin. For http:// the trust store is not read (measured: 36 ms)."""
    import ssl
    secure = urlsplit(endpoint.base_url).scheme != "http"
    return httpx2.AsyncClient(
        headers=dict(headers or {}),
        follow_redirects=False,
        trust_env=not is_loopback(endpoint.base_url),
        verify=True if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        timeout=httpx2.Timeout(endpoint.idle_timeout, connect=endpoint.connect_timeout),
    )


@contextlib.asynccontextmanager
async def exchange(client: httpx2.AsyncClient, endpoint: Endpoint, path: str, body: Any, error_from: ErrorMapper, *,
                   headers: Mapping[str, str] | None = None, method: str = "POST") -> AsyncIterator[httpx2.Response]:
    """Send JSON and hand over the answer while it streams. Only status 200 gets through; all else raises.

    Leaving the block closes the connection if the answer was not read to its end, so that the server stops computing.
    """
    url = endpoint.base_url.rstrip("/") + path
    content = None if body is None else json.dumps(body, ensure_ascii=True, separators=(",", ":")).encode()
    request = client.build_request(method, url, content=content, headers={
        "content-type": "application/json", "accept-encoding": "identity", **(headers or {})})
    with _named_failures(endpoint):
        response = await client.send(request, stream=True)
    try:
        if 300 <= response.status_code < 400:
            raise BadResponse(f"{endpoint.base_url} redirects elsewhere ({response.status_code}), which is not followed: the key "
                              "would go along.", "Set --base-url to the final address.", status=response.status_code)
        if response.status_code >= 400:
            raise error_from(response.status_code, response.headers, await _read_limited(response, endpoint))
        yield response
    finally:
        with contextlib.suppress(httpx2.HTTPError):
            await response.aclose()


async def fetch_json(client: httpx2.AsyncClient, endpoint: Endpoint, path: str, error_from: ErrorMapper, *, body: Any = None,
                     headers: Mapping[str, str] | None = None) -> Any:
    """GET (or POST, with a body) one whole JSON document."""
    method = "GET" if body is None else "POST"
    async with exchange(client, endpoint, path, body, error_from, headers=headers, method=method) as response:
        with _named_failures(endpoint):
            content = await response.aread()
    try:
        return json.loads(content)
    except ValueError as problem:
        raise _not_the_protocol(endpoint, content) from problem


async def _read_limited(response: httpx2.Response, endpoint: Endpoint) -> bytes:
    content = b""
    with _named_failures(endpoint):
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > MAX_ERROR_BODY:
                break
    return content


@contextlib.contextmanager
def _named_failures(endpoint: Endpoint, *, begun: bool = False) -> Iterator[None]:
    """Let no exception of the HTTP library out. `begun` says that part of an answer has already come."""
    where = endpoint.base_url
    try:
        yield
    except httpx2.ConnectTimeout as problem:
        raise ConnectFailed(f"No connection to {where} within {endpoint.connect_timeout:g} s.") from problem
    except httpx2.TimeoutException as problem:
        message = f"{where} has sent nothing for {endpoint.idle_timeout:g} s."
        raise (StreamBroken(message) if begun else ConnectFailed(message)) from problem
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as problem:
        raise ProviderError(f"{where} is not an address of a server: {problem}.", "Check --base-url.") from problem
    except httpx2.ConnectError as problem:
        raise ConnectFailed(f"No connection to {where}: {_reason(problem)}.") from problem
    except httpx2.HTTPError as problem:
        message = f"The connection to {where} broke off: {_reason(problem)}."
        raise (StreamBroken(message) if begun else ConnectFailed(message)) from problem


def _reason(problem: BaseException) -> str:
    """The innermost cause in words: what the operating system said is more use than what the library made of it."""
    cause: BaseException | None = problem
    text = str(problem)
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            text = cause.strerror
        cause = cause.__cause__ or cause.__context__
    return (text or type(problem).__name__).rstrip(".")


# ---- reading: bytes -> lists of what one read held

async def _reads(response: httpx2.Response, endpoint: Endpoint) -> AsyncGenerator[bytes, None]:
    """The body as it arrives. After a small read, wait out the frame: what comes meanwhile is one read, one commit, one paint."""
    chunks = response.aiter_bytes()
    with _named_failures(endpoint, begun=True):
        async for chunk in chunks:
            taken = time.monotonic()
            yield chunk
            if len(chunk) < BUSY:
                spare = FRAME - (time.monotonic() - taken)
                if spare > 0:
                    await asyncio.sleep(spare)


async def read_lines(response: httpx2.Response, endpoint: Endpoint) -> AsyncGenerator[list[bytes], None]:
    """Lines without their ends, a list per read. A last line without an end still counts."""
    rest = b""
    async with contextlib.aclosing(_reads(response, endpoint)) as reads:
        async for chunk in reads:
            lines = (rest + chunk).split(b"\n") if b"\n" in chunk else [rest + chunk]
            rest = lines.pop()
            if len(rest) > MAX_LINE:
                raise _not_the_protocol(endpoint, rest)
            if lines:
                yield lines
    if rest:
        yield [rest]


async def read_json_lines(response: httpx2.Response, endpoint: Endpoint) -> AsyncGenerator[list[Any], None]:
    """NDJSON objects, a list per read; blank lines are skipped."""
    async with contextlib.aclosing(read_lines(response, endpoint)) as batches:
        async for lines in batches:
            yield [parse_json(line, endpoint) for line in lines if line.strip()]


async def read_events(response: httpx2.Response, endpoint: Endpoint) -> AsyncGenerator[list[ServerEvent], None]:
    """Server-sent events, a list per read. Comments are skipped; a last event without a blank line still counts."""
    decoder = EventDecoder()
    async with contextlib.aclosing(_reads(response, endpoint)) as reads:
        async for chunk in reads:
            events = decoder.feed(chunk)
            if decoder.held > MAX_LINE:
                raise _not_the_protocol(endpoint, chunk)
            if events:
                yield events
    last = decoder.close()
    if last:
        yield last


class EventDecoder:
    """Bytes in any cut -> server-sent events (WHATWG HTML, section 9.2). Line ends may be LF, CRLF or CR."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: list[str] = []

    @property
    def held(self) -> int:
        return len(self._rest)

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        buffer = self._rest + chunk
        if b"\r" in buffer:
            held_back = buffer.endswith(b"\r")   # may be the first half of a CRLF
            body = buffer[:-1] if held_back else buffer
            buffer = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n") + (b"\r" if held_back else b"")
        lines = buffer.split(b"\n")
        self._rest = lines.pop()
        return [event for line in lines if (event := self._take(line)) is not None]

    def close(self) -> list[ServerEvent]:
        """What is left at the end of the body."""
        events = [event for line in self._rest.split(b"\r") if (event := self._take(line)) is not None]
        self._rest = b""
        last = self._take(b"")
        return [*events, last] if last else events

    def _take(self, line: bytes) -> ServerEvent | None:
        if not line:
            event = ServerEvent(self._name or "message", "\n".join(self._data)) if self._data else None
            self._name, self._data = "", []
            return event
        name, _, value = line.partition(b":")
        text = (value[1:] if value.startswith(b" ") else value).decode("utf-8", "replace")
        if name == b"data":
            self._data.append(text)
        elif name == b"event":
            self._name = text
        return None


def parse_json(text: bytes | str, endpoint: Endpoint) -> Any:
    """One JSON value of a stream; raises BadResponse. Bytes that are not UTF-8 become U+FFFD rather than an end."""
    try:
        return json.loads(text if isinstance(text, str) else text.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as problem:
        raise _not_the_protocol(endpoint, text) from problem


def _not_the_protocol(endpoint: Endpoint, content: bytes | str) -> BadResponse:
    shown = (content.decode("utf-8", "replace") if isinstance(content, bytes) else content).strip()[:80]
    return BadResponse(f"{endpoint.base_url} did not answer as a {endpoint.host or 'chat'} server does: {shown!r}",
                       "Check --base-url and --provider.")


# ---- joining: one delta per part and read

def join_deltas(deltas: Iterable[Delta]) -> Iterator[Delta]:
    """Join neighbours of the same part, so that what one read brought is stored and painted once."""
    held: TextDelta | ThinkingDelta | None = None
    pieces: list[str] = []
    for delta in deltas:
        if held is not None and type(delta) is type(held) and delta.extra is None and delta.part == held.part:
            pieces.append(delta.text)
            continue
        if held is not None:
            yield _joined(held, pieces)
            held = None
        if isinstance(delta, (TextDelta, ThinkingDelta)) and delta.extra is None:
            held, pieces = delta, [delta.text]
        else:
            yield delta
    if held is not None:
        yield _joined(held, pieces)


def _joined(first: TextDelta | ThinkingDelta, pieces: list[str]) -> TextDelta | ThinkingDelta:
    return first if len(pieces) == 1 else type(first)("".join(pieces), first.part)


# ---- delays that servers ask for

def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds from retry-after-ms, or Retry-After as seconds or an HTTP date. None when absent or unreadable."""
    milliseconds = headers.get("retry-after-ms")
    if milliseconds is not None:
        with contextlib.suppress(ValueError):
            return max(0.0, float(milliseconds) / 1000)
    value = headers.get("retry-after")
    if value is None:
        return None
    with contextlib.suppress(ValueError):
        seconds = float(value)
        return max(0.0, seconds) if seconds == seconds and seconds != float("inf") else None
    from email.utils import parsedate_to_datetime
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now))
    return None
