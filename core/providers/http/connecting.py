"""Opens connections to servers: name lookup, TLS and proxies."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from core.config.network import certificates, proxy_for
from core.providers.http.connection import Connection, Origin, split_url
from core.providers.http.proxies import Proxy

# seconds after which the next address is tried in parallel (RFC 8305)
ATTEMPT_SECONDS = 0.25
# Where systems keep trusted certificates, for a Python built elsewhere that looks in the wrong
# place.
CERTIFICATE_FILES = ("/etc/ssl/cert.pem", "/etc/ssl/certs/ca-certificates.crt",
                     "/etc/pki/tls/certs/ca-bundle.crt",
                     "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/ca-bundle.pem")


# ---- TLS

def trust() -> ssl.SSLContext:
    """Return a TLS context with the certificates in SSL_CERT_FILE or SSL_CERT_DIR, or the system's.

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
    """The route to an origin: direct or through a proxy.

    Raises BadAddress for an invalid proxy address.
    """

    def __init__(self, url: str, *, proxied: bool = True) -> None:
        self.origin, _ = split_url(url)
        self.proxy = Proxy(found) if proxied and (found := proxy_for(url)) else None
        self._context: ssl.SSLContext | None = None

    @property
    def forwards(self) -> bool:
        """Whether requests go to an HTTP proxy, so that they contain the full URL."""
        return self.proxy is not None and not self.origin.secure and not self.proxy.is_socks

    def prepare(self) -> None:
        """Load the certificates if they are needed. Raises OSError."""
        if self.origin.secure or self.proxy is not None and self.proxy.origin.secure:
            self._tls()

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = trust()
        return self._context

    async def open(self) -> Connection:
        """Open a connection that is ready for requests. Raises OSError."""
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
        # on Windows the loop reads by itself even while reading is paused
        plain = None if origin.secure or sys.platform == "win32" else found
        try:
            _, connection = await loop.create_connection(
                partial(Connection, plain), sock=found, ssl=self._tls() if origin.secure else None,
                server_hostname=origin.host if origin.secure else None)
        except BaseException:
            found.close()
            raise
        return connection


async def _addresses(origin: Origin) -> Sequence[tuple[Any, ...]]:
    """Look up a name with getaddrinfo().

    Raises OSError, also for an invalid name.
    """
    if origin.file:
        return [(getattr(socket, "AF_UNIX", -1), socket.SOCK_STREAM, 0, "", origin.file)]
    port = origin.port
    name = origin.host.encode("ascii")   # bytes, since a str would load the IDNA codec: 3 ms
    try:
        return socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except OSError:
        return await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)


async def connect(addresses: Sequence[tuple[Any, ...]]) -> socket.socket:
    """Connect to the first address that responds, trying another after a short delay. Raises the
    first failure.
    """
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
