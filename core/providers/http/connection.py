"""The address of a server, and a connection to it with flow control."""

from __future__ import annotations

import asyncio
import math
import socket
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


class TooLate(Exception):
    """Nothing arrived before the deadline of read()."""


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
    """One connection. Data is received in the background until MAX_HELD bytes are buffered, then
    again once all of it was read.

    One buffer receives everything: asyncio's own would be asked of the system anew each time.
    """

    def __init__(self, plain: socket.socket | None = None) -> None:
        """`plain`: the socket of a connection without TLS, which can be read without the loop."""
        self.loop = asyncio.get_running_loop()
        self._plain = plain
        self._transport: asyncio.Transport | None = None
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._buffer = memoryview(bytearray(BUFFER))
        self._resting: asyncio.TimerHandle | None = None
        self._over = False
        self._failure: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._deadline = math.inf     # when the reader stops waiting
        self._watch: asyncio.TimerHandle | None = None     # looks at the deadline, or earlier
        self._writer: asyncio.Future[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether it is open without unexpected data."""
        return not (self._over or self._pieces or self._transport is None
                    or self._transport.is_closing())

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        if transport.get_extra_info("socket") is None:     # a loop that does not read from it
            self._plain = None

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
        self._resting = self.loop.call_later(seconds, self._end_rest)

    def _end_rest(self) -> None:
        """Receive what has come. Only if that is nothing, the loop has to wait for it: telling it
        so costs two calls of the system and one more trip through it.
        """
        self._resting = None
        if self._plain is not None and not self._over:
            self._receive(self._plain)
        if self._pieces or self._over:
            _wake(self._reader)
        else:
            self._resume()

    def _receive(self, plain: socket.socket) -> None:
        """Receive without the loop. The end of the data is left to it."""
        try:
            received = plain.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as problem:     # the system reports it only once
            self.connection_lost(problem)
            return
        if received:
            self.buffer_updated(received)

    def release(self) -> None:
        """End the rest, and receive in the background again."""
        self._cancel_rest()
        self._cancel_watch()
        self._resume()
        if self._pieces:
            _wake(self._reader)

    def _cancel_rest(self) -> None:
        resting, self._resting = self._resting, None
        if resting is not None:
            resting.cancel()

    def _cancel_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()

    def _pause(self) -> None:
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def _resume(self) -> None:
        transport = self._transport
        if (transport is not None and self._resting is None and not transport.is_reading()
            and not transport.is_closing()):
            transport.resume_reading()

    async def read(self, deadline: float = math.inf) -> bytes:
        """Return received data, at most MOST_READ bytes, waiting for some. b"" is the end.

        Raises OSError for a connection that broke, and TooLate when nothing has arrived at
        `deadline`, a time of the loop.
        """
        while not self._over and (self._resting is not None or not self._pieces):
            if self._resting is None:
                self._resume()
            self._reader = self.loop.create_future()
            self._look_at(deadline)
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

    def _look_at(self, deadline: float) -> None:
        """Watch the deadline. One timer serves many reads: it is set anew only when it fires."""
        self._deadline = deadline
        if self._watch is not None and deadline < self._watch.when():
            self._cancel_watch()
        if self._watch is None and deadline < math.inf:
            self._watch = self.loop.call_at(deadline, self._look)

    def _look(self) -> None:
        self._watch = None
        if self._reader is None or self._reader.done():
            return
        if self.loop.time() < self._deadline:
            self._look_at(self._deadline)
        else:
            self._reader.set_exception(TooLate())

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
        self._cancel_watch()
        if self._transport is not None:
            self._transport.abort()

    async def secure(self, host: str, context: ssl.SSLContext) -> None:
        """Begin TLS. Raises OSError."""
        assert self._transport is not None
        self._plain = None
        self._transport = await self.loop.start_tls(self._transport, self, context,
                                                    server_hostname=host)
        if self._transport is None:
            raise ConnectionResetError("the connection was closed")


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
