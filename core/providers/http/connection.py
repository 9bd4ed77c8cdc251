"""The address of a server, and a connection to it with flow control."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import Any
from urllib.parse import SplitResult, urlsplit

from core.config.network import unix_socket
from core.dataclass import dataclass

# bytes buffered for a slow reader; then the server has to wait
MAX_HELD = 1 << 20
# bytes returned per read: while they are processed, Ctrl-C has to wait
MOST_READ = 1 << 14
BUFFER = 1 << 15          # bytes that are received at once


class BadAddress(ValueError):
    """An invalid URL of a server or proxy; the message says why."""


class ProxyRefused(OSError):
    """The proxy did not connect; the message says why."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The scheme, host and port of a server, or its socket file."""

    secure: bool
    host: str
    port: int
    file: str = ""       # the path of a Unix socket

    @property
    def authority(self) -> str:
        if self.file:
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


def split_url(url: str) -> tuple[Origin, SplitResult]:
    """Split an http, https or unix URL into the server and its parts. Raises BadAddress."""
    try:
        named = unix_socket(url)
        if named is not None:
            return Origin(False, "localhost", 0, named[0]), urlsplit(named[1])
        parts = urlsplit(url)
        port = parts.port
    except ValueError as problem:
        raise BadAddress(str(problem)) from problem
    if parts.scheme not in ("http", "https"):
        raise BadAddress("it does not start with http://, https:// or unix:///")
    if not parts.hostname:
        raise BadAddress("it has no host")
    secure = parts.scheme == "https"
    return Origin(secure, ascii_host(parts.hostname),
                  (443 if secure else 80) if port is None else port), parts


def ascii_host(host: str) -> str:
    """Return a host name in ASCII (IDNA)."""
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode()
    except UnicodeError as problem:
        raise BadAddress(f"{host} is not a valid host name") from problem


class Connection(asyncio.BufferedProtocol):
    """One connection. Data is received in the background until MAX_HELD bytes are buffered.

    One buffer receives everything: asyncio's own would be asked of the system anew each time.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._buffer = memoryview(bytearray(BUFFER))
        self._resting: asyncio.TimerHandle | None = None
        self._over = False
        self._failure: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether it is open without unexpected data."""
        return not (self._over or self._pieces or self._transport is None
                    or self._transport.is_closing())

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._pieces.append(bytes(self._buffer[:nbytes]))
        self._size += nbytes
        if self._size > MAX_HELD:
            self._pause()
        _wake(self._reader)

    def eof_received(self) -> bool:
        self._over = True
        _wake(self._reader)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._over, self._failure = True, exc
        _wake(self._reader)
        _wake(self._writer)

    def pause_writing(self) -> None:
        self._writer = self.loop.create_future()

    def resume_writing(self) -> None:
        _wake(self._writer)
        self._writer = None

    def rest(self, seconds: float) -> None:
        """Let the system collect what comes for so long, and give nothing out meanwhile: each look
        at it costs as much as a hundred tokens.
        """
        self._pause()
        self._cancel_rest()
        self._resting = self.loop.call_later(seconds, self.release)

    def release(self) -> None:
        """End the rest now."""
        self._cancel_rest()
        self._resume()
        if self._pieces:
            _wake(self._reader)

    def _cancel_rest(self) -> None:
        resting, self._resting = self._resting, None
        if resting is not None:
            resting.cancel()

    def _pause(self) -> None:
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def _resume(self) -> None:
        transport = self._transport
        if (transport is not None and self._resting is None and not transport.is_reading()
            and not transport.is_closing()):
            transport.resume_reading()

    async def read(self) -> bytes:
        """Return received data, at most MOST_READ bytes, waiting for some. b"" is the end.

        Raises OSError for a connection that broke.
        """
        while not self._over and (self._resting is not None or not self._pieces):
            self._reader = self.loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        if not self._pieces:
            if self._failure is not None:
                raise self._failure
            return b""
        if self._size > MOST_READ:
            await asyncio.sleep(0)      # a flood of data must not delay Ctrl-C
        return self._taken()

    def _taken(self) -> bytes:
        """Return the oldest buffered bytes, at most MOST_READ."""
        taken: list[bytes] = []
        room = MOST_READ
        while self._pieces and room:
            piece = self._pieces.popleft()
            if len(piece) > room:
                self._pieces.appendleft(piece[room:])
                piece = piece[:room]
            taken.append(piece)
            room -= len(piece)
        self._size -= MOST_READ - room
        if self._size <= MAX_HELD:
            self._resume()
        return taken[0] if len(taken) == 1 else b"".join(taken)

    async def write(self, data: bytes) -> None:
        """Write data; return when it is passed to the system.

        Data that the server sends meanwhile (such as an error) is not lost.
        """
        assert self._transport is not None
        self._transport.write(data)
        if self._writer is not None and not self._over:
            await self._writer

    def close(self) -> None:
        self._cancel_rest()
        if self._transport is not None:
            self._transport.abort()

    async def secure(self, host: str, context: ssl.SSLContext) -> None:
        """Begin TLS. Raises OSError."""
        assert self._transport is not None
        self._transport = await self.loop.start_tls(self._transport, self, context,
                                                    server_hostname=host)
        if self._transport is None:
            raise ConnectionResetError("the connection was closed")


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
