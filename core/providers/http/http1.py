"""An HTTP/1.1 client for streams: one request at a time per connection, responses read as they
arrive.
"""

from __future__ import annotations

import asyncio
import math
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult, quote

from core import __version__
from core.providers.http.connecting import Route
from core.providers.http.connection import Connection, split_url
from core.providers.http.parser import AnswerParser, Head, NotHttp
from core.regex import regex

LARGEST_PIECE = 1 << 20    # bytes decompressed at once: little on the wire can be a lot
IDLE_SECONDS = 5.0  # seconds for which an idle connection is reused, since servers close them
_HEADER = regex(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): [^\x00\r\n]*")
_IN_A_PATH = "/%:@!$&'()*+,;=-._~"


class HttpError(Exception):
    """A failure between us and the server, before or within a response."""


class NoConnection(HttpError):
    """Connecting failed; the cause says why."""


class ConnectTimeout(HttpError):
    """Connecting timed out."""


class Silence(HttpError):
    """The server did not begin its response in time."""


class BrokenAnswer(HttpError):
    """The connection ended within the response, or the response is not valid HTTP."""


class Client:
    """A client for one origin.

    Connections are reused only over TLS, where connecting takes long.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, *,
                 connect_timeout: float = 10.0,
                 proxied: bool = True) -> None:
        """Raises BadAddress for an invalid proxy and OSError for unreadable certificates."""
        self.headers = {name.lower(): value for name, value in (headers or {}).items()}
        self._route = Route(url, proxied=proxied)
        self._route.prepare()
        self._connect_timeout = connect_timeout
        self._idle: list[tuple[float, Connection]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close idle connections."""
        while self._idle:
            self._idle.pop()[1].close()

    async def send(self, method: str, url: str, content: bytes | None = None, *,
                   headers: Mapping[str, str], silence: float,
                   before: Callable[[], Awaitable[None]] | None = None) -> Response:
        """Send a request; return when the response's headers have arrived. Fails after `silence`
        seconds without a byte.

        `url` must be of the client's origin; `before` is awaited once connected. Raises HttpError
        and BadAddress.
        """
        request = self._request(method, url, content, headers)
        connection, parser = await self._connect(), AnswerParser()
        try:
            if before is not None:
                await before()
            async with asyncio.timeout(silence):
                await connection.write(request)
                head = await _head(connection, parser)
        except TimeoutError as problem:
            connection.close()
            raise Silence from problem
        except OSError as problem:
            connection.close()
            raise BrokenAnswer(str(problem)) from problem
        except BaseException:
            connection.close()
            raise
        return Response(head, connection, parser, self._take_back)

    def _request(self, method: str, url: str, content: bytes | None,
                 headers: Mapping[str, str]) -> bytes:
        origin, parts = split_url(url)
        target = _target(parts)
        given = {"host": origin.authority, "accept": "*/*",
                 "user-agent": f"stream-chat/{__version__}",
                 **self.headers, **{name.lower(): value for name, value in headers.items()}}
        if content is not None:
            given["content-length"] = str(len(content))
        if self._route.forwards and self._route.proxy is not None:
            given |= self._route.proxy.headers
            target = f"http://{origin.authority}{target}"
        lines = [f"{name}: {value}" for name, value in given.items()]
        check_headers(lines)
        head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1")
        return head + content if content else head

    async def _connect(self) -> Connection:
        while self._idle:
            since, connection = self._idle.pop()
            if (connection.idle and connection.loop is asyncio.get_running_loop()
                and time.monotonic() - since < IDLE_SECONDS):
                return connection
            connection.close()
        try:
            async with asyncio.timeout(self._connect_timeout):
                return await self._route.open()
        except TimeoutError as problem:
            raise ConnectTimeout from problem
        except OSError as problem:
            raise NoConnection(str(problem)) from problem

    def _take_back(self, connection: Connection, parser: AnswerParser) -> None:
        """Keep a connection for reuse if its response was read completely, it uses TLS, and both
        sides allow it.
        """
        if self._route.origin.secure and parser.reusable and connection.idle:
            self._idle.append((time.monotonic(), connection))
        else:
            connection.close()


def check_headers(lines: Sequence[str]) -> None:
    """Raise HttpError for an invalid header."""
    if not all(map(_HEADER.fullmatch, lines)):
        raise HttpError("a header has a name or value that is not valid in HTTP")


def _target(parts: SplitResult) -> str:
    """Return path and query as sent in the request."""
    query = f"?{quote(parts.query, safe=_IN_A_PATH + '?')}" if parts.query else ""
    return (quote(parts.path, safe=_IN_A_PATH) or "/") + query


async def _head(connection: Connection, parser: AnswerParser) -> Head:
    try:
        while (head := parser.read_head()) is None:
            parser.feed(await connection.read())
    except NotHttp as problem:
        raise BrokenAnswer(str(problem)) from problem
    return head


class Response:
    """A response whose body is still arriving. `headers` are as in Head."""

    def __init__(self, head: Head, connection: Connection, parser: AnswerParser,
                 take_back: Callable[[Connection, AnswerParser], None]) -> None:
        self.status_code, self.headers = head.status, head.headers
        self._connection, self._parser, self._take_back = connection, parser, take_back
        self._unpack = _unpacker(self.headers.get("content-encoding", ""))

    async def read(self, deadline: float = math.inf) -> bytes:
        """Return the body received since the last call, waiting for some. b"" is the end.

        Raises BrokenAnswer, and TooLate when nothing has arrived at `deadline`, a time of the loop.
        """
        try:
            while True:
                data = self._parser.read_body()
                if self._unpack is not None:
                    data = self._unpack.take(data, last=self._parser.over)
                if data or self._parser.over:
                    return data
                self._parser.feed(await self._connection.read(deadline))
        except (OSError, NotHttp) as problem:
            raise BrokenAnswer(str(problem)) from problem

    def rest(self, seconds: float) -> None:
        """Leave what comes with the system for so long; read() waits for the end of it."""
        self._connection.rest(seconds)

    def close(self) -> None:
        """Release the connection; it is closed if the response was not read completely, so that the
        server stops computing.
        """
        self._connection.release()
        self._take_back(self._connection, self._parser)


def _unpacker(encoding: str) -> _Unpacker | None:
    """Return a decompressor for an unrequested Content-Encoding; None for none or an unknown one.
    """
    names = [name for name in encoding.lower().replace(" ", "").split(",")
             if name not in ("", "identity")]
    return _Unpacker() if names in (["gzip"], ["x-gzip"], ["deflate"]) else None


class _Unpacker:
    """Decompresses gzip and deflate (with or without zlib header), at most LARGEST_PIECE bytes at a
    time.
    """

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._begun = False

    def take(self, data: bytes, *, last: bool) -> bytes:
        """Decompress data, continuing with input left from the last call.

        With `last`, b"" is the end. Raises BrokenAnswer.
        """
        try:
            made = self._unpacked(self._inner.unconsumed_tail + data)
            return made or (self._inner.flush() if last else b"")
        except zlib.error as problem:
            raise BrokenAnswer(f"the response cannot be decompressed: {problem}") from problem

    def _unpacked(self, data: bytes) -> bytes:
        begun, self._begun = self._begun, self._begun or bool(data)
        try:
            return self._inner.decompress(data, LARGEST_PIECE)
        except zlib.error:
            if begun:
                raise
            self._inner = zlib.decompressobj(-zlib.MAX_WBITS)
            return self._inner.decompress(data, LARGEST_PIECE)
