"""Opens connections to servers: names, addresses, proxies and TLS."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import ssl
import sys
from collections import deque
from collections.abc import Sequence
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from core.config.network import certificates, proxy_for, unix_socket
from core.dataclass import dataclass

# after which the next address of a name is tried beside the first (RFC 8305)
ATTEMPT_SECONDS = 0.25
# bytes that are held for a reader who does not keep up; then the server has to wait
MAX_HELD = 1 << 20
# Bytes that are handed on at once: while they are read, saved and painted nothing can be stopped.
MOST_READ = 1 << 14
MAX_PROXY_ANSWER = 65_536
# Where systems keep the certificates that they trust, for a Python that was built elsewhere and
# looks in the wrong place.
CERTIFICATE_FILES = ("/etc/ssl/cert.pem", "/etc/ssl/certs/ca-certificates.crt",
                     "/etc/pki/tls/certs/ca-bundle.crt",
                     "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/ca-bundle.pem")


class BadAddress(ValueError):
    """A URL that leads to no server; the message says why."""


class ProxyRefused(OSError):
    """The proxy did not make the connection; the message says why."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a server is."""

    secure: bool
    host: str
    port: int
    file: str = ""       # the socket, where it is one of this machine's files

    @property
    def authority(self) -> str:
        if self.file:
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


def split_url(url: str) -> tuple[Origin, SplitResult]:
    """The server that an http, https or unix URL names, and its parts. Raises BadAddress."""
    try:
        named = unix_socket(url)
        if named is not None:
            return Origin(False, "localhost", 0, named[0]), urlsplit(named[1])
        parts = urlsplit(url)
        port = parts.port
    except ValueError as problem:
        raise BadAddress(str(problem)) from problem
    if parts.scheme not in ("http", "https"):
        raise BadAddress("it does not begin with http://, https:// or unix:///")
    if not parts.hostname:
        raise BadAddress("it names no host")
    secure = parts.scheme == "https"
    return Origin(secure, _ascii_host(parts.hostname),
                  (443 if secure else 80) if port is None else port), parts


def _ascii_host(host: str) -> str:
    """As names go over the wire: letters beyond ASCII in their encoded form."""
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode()
    except UnicodeError as problem:
        raise BadAddress(f"{host} is no name of a host") from problem


class Connection(asyncio.Protocol):
    """The bytes of one connection. Reading goes on until MAX_HELD bytes wait to be taken."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._held = self._over = False
        self._failure: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether it is open and nothing has come that nobody asked for."""
        return not (self._over or self._pieces or self._transport is None
                    or self._transport.is_closing())

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
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

    def hold(self) -> None:
        """Let the system collect what comes: each look at it costs as much as a hundred tokens."""
        self._held = True
        self._pause()

    def release(self) -> None:
        self._held = False
        self._resume()

    def _pause(self) -> None:
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def _resume(self) -> None:
        transport = self._transport
        if (transport is not None and not self._held and not transport.is_reading()
            and not transport.is_closing()):
            transport.resume_reading()

    async def read(self) -> bytes:
        """What has come, a part of it where it is much; waits for something. b"" is the end.

        Raises OSError for a connection that broke.
        """
        while not self._pieces:
            if self._over:
                if self._failure is not None:
                    raise self._failure
                return b""
            self._reader = self.loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        if self._size > MOST_READ:
            await asyncio.sleep(0)      # what pours in must not keep Ctrl-C from being heard
        return self._taken()

    def _taken(self) -> bytes:
        """The oldest of what waits, at most MOST_READ bytes."""
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
        """Returns when it is on its way.

        What the server sends meanwhile (a refusal) is not lost.
        """
        assert self._transport is not None
        self._transport.write(data)
        if self._writer is not None and not self._over:
            await self._writer

    def close(self) -> None:
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


# ---- TLS

def trust() -> ssl.SSLContext:
    """TLS with the certificates that SSL_CERT_FILE or SSL_CERT_DIR name, or the system's.

    Raises OSError.
    """
    file, directory = certificates()
    if file or directory:
        return ssl.create_default_context(cafile=file, capath=directory)
    if sys.platform in ("darwin", "win32"):
        import truststore
        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.create_default_context()
    places = ssl.get_default_verify_paths()
    if not context.cert_store_stats()["x509_ca"] and not places.capath:
        known = next(filter(os.path.isfile, CERTIFICATE_FILES), None)
        if known is None:
            import certifi
            known = certifi.where()
        context.load_verify_locations(known)
    return context


# ---- connections

class Route:
    """How an origin is reached: directly, or through a proxy.

    Raises BadAddress for a proxy that is none.
    """

    def __init__(self, url: str, *, proxied: bool = True) -> None:
        self.origin, _ = split_url(url)
        self.proxy = _Proxy(found) if proxied and (found := proxy_for(url)) else None
        self._context: ssl.SSLContext | None = None

    @property
    def forwards(self) -> bool:
        """Whether the proxy itself reads the requests, so that they name the whole URL."""
        return self.proxy is not None and not self.origin.secure and not self.proxy.is_socks

    def prepare(self) -> None:
        """Read the certificates, if they will be needed. Raises OSError."""
        if self.origin.secure or self.proxy is not None and self.proxy.origin.secure:
            self._tls()

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = trust()
        return self._context

    async def open(self) -> Connection:
        """A connection, ready for requests. Raises OSError."""
        connection = await self._to(self.proxy.origin if self.proxy is not None else self.origin)
        try:
            if self.proxy is not None and not self.forwards:
                await self.proxy.lead(connection, self.origin)
            if self.origin.secure and self.proxy is not None:
                await connection.secure(self.origin.host, self._tls())
        except BaseException:
            connection.close()
            raise
        return connection

    async def _to(self, origin: Origin) -> Connection:
        found = await connect(await _addresses(origin))
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                Connection, sock=found, ssl=self._tls() if origin.secure else None,
                server_hostname=origin.host if origin.secure else None)
        except BaseException:
            found.close()
            raise
        return connection


async def _addresses(origin: Origin) -> Sequence[tuple[Any, ...]]:
    """What a name stands for, as getaddrinfo() tells it.

    Raises OSError; also for what can be no name.
    """
    if origin.file:
        return [(getattr(socket, "AF_UNIX", -1), socket.SOCK_STREAM, 0, "", origin.file)]
    port = origin.port
    name = origin.host.encode("ascii")   # a str would load the codec for names beyond ASCII: 3 ms
    try:
        return socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except OSError:
        return await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)


async def connect(addresses: Sequence[tuple[Any, ...]]) -> socket.socket:
    """The first address that answers; each gets a short time alone. Raises the first failure."""
    waiting, failures = list(addresses), []
    running: set[asyncio.Task[socket.socket]] = set()
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.ensure_future(_attempt(waiting.pop(0))))
            done, running = await asyncio.wait(running,
                                               timeout=ATTEMPT_SECONDS if waiting else None,
                                               return_when=asyncio.FIRST_COMPLETED)
            good = [task for task in done if task.exception() is None]
            failures += [task.exception() for task in done if task not in good]
            for extra in good[1:]:
                extra.result().close()
            if good:
                return good[0].result()
    finally:
        for task in running:
            task.add_done_callback(_close_late)
            task.cancel()
    raise failures[0] or OSError("no address")


def _close_late(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _attempt(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, place = address
    found = socket.socket(family, kind, protocol)
    try:
        found.setblocking(False)
        await asyncio.get_running_loop().sock_connect(found, place)
    except BaseException:
        found.close()
        raise
    return found


# ---- proxies

class _Proxy:
    """A proxy that speaks HTTP, or SOCKS 5."""

    def __init__(self, url: str) -> None:
        self._parts = parts = urlsplit(url)
        kinds = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
        try:
            port = parts.port or kinds[parts.scheme]
        except (KeyError, ValueError):
            raise BadAddress(f"a proxy cannot begin with {parts.scheme}://, or its port "
                             "is none") from None
        if not parts.hostname:
            raise BadAddress("the proxy names no host")
        self.origin = Origin(parts.scheme == "https", _ascii_host(parts.hostname), port)
        self.is_socks = parts.scheme.startswith("socks")

    @property
    def _login(self) -> tuple[str, str]:
        return unquote(self._parts.username or ""), unquote(self._parts.password or "")

    @property
    def headers(self) -> dict[str, str]:
        """What it wants to know who asks."""
        if self._parts.username is None:
            return {}
        return {"proxy-authorization": "Basic "
                + base64.b64encode(":".join(self._login).encode()).decode()}

    async def lead(self, connection: Connection, origin: Origin) -> None:
        """Have it connect to `origin`. Raises OSError."""
        await (self._socks(connection, origin) if self.is_socks
               else self._connect(connection, origin))

    async def _connect(self, connection: Connection, origin: Origin) -> None:
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        target = f"{host}:{origin.port}"
        headers = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        await connection.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
                               f"{headers}\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            more = await connection.read()
            answer += more
            if not more or len(answer) > MAX_PROXY_ANSWER:
                raise ProxyRefused("the proxy closed the connection" if not more
                                   else "the proxy speaks no HTTP")
        said = answer.split(b"\r\n", 1)[0].decode("latin-1")
        status = said.split(" ", 2)[1:2]
        if not said.startswith("HTTP/") or not status or not status[0].startswith("2"):
            raise ProxyRefused(f"the proxy refused to connect: {said[:100]}")

    async def _socks(self, connection: Connection, origin: Origin) -> None:
        """SOCKS 5 (RFC 1928, 1929); the proxy looks the name up."""
        answers = _Answers(connection)
        name, password = self._login
        await connection.write(b"\x05\x02\x00\x02" if name else b"\x05\x01\x00")
        chosen = (await answers.take(2))[1]
        if chosen == 2:
            login = b"".join(bytes([len(word)]) + word
                             for word in (name.encode()[:255], password.encode()[:255]))
            await connection.write(b"\x01" + login)
            if (await answers.take(2))[1] != 0:
                raise ProxyRefused("the proxy refused the user name or the password")
        elif chosen != 0:
            raise ProxyRefused("the proxy wants to know who asks in a way that is not known here")
        host = origin.host.encode()
        await connection.write(b"\x05\x01\x00\x03" + bytes([len(host)]) + host
                               + origin.port.to_bytes(2, "big"))
        _, code, _, kind = await answers.take(4)
        if code != 0:
            raise ProxyRefused(f"the proxy could not connect to {origin.host} (SOCKS {code})")
        size = {1: 4, 4: 16}.get(kind) or (await answers.take(1))[0]
        await answers.take(size + 2)


class _Answers:
    """Takes a number of bytes at a time from a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._data = connection, b""

    async def take(self, size: int) -> bytes:
        while len(self._data) < size:
            more = await self._connection.read()
            if not more:
                raise ProxyRefused("the proxy closed the connection")
            self._data += more
        taken, self._data = self._data[:size], self._data[size:]
        return taken
