"""Connects through proxies: HTTP CONNECT and SOCKS 5."""

from __future__ import annotations

import base64
from urllib.parse import unquote, urlsplit

from core.providers.http.connection import BadAddress, Connection, Origin, ProxyRefused, ascii_host

MAX_PROXY_ANSWER = 65_536   # bytes


class Proxy:
    """An HTTP or SOCKS 5 proxy."""

    def __init__(self, url: str) -> None:
        self._parts = parts = urlsplit(url)
        kinds = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
        try:
            port = parts.port or kinds[parts.scheme]
        except (KeyError, ValueError):
            raise BadAddress(f"a proxy address cannot start with {parts.scheme}://, or its port "
                             "is not valid") from None
        if not parts.hostname:
            raise BadAddress("the proxy address has no host")
        self.origin = Origin(parts.scheme == "https", ascii_host(parts.hostname), port)
        self.is_socks = parts.scheme.startswith("socks")

    @property
    def _login(self) -> tuple[str, str]:
        return unquote(self._parts.username or ""), unquote(self._parts.password or "")

    @property
    def headers(self) -> dict[str, str]:
        """The authentication header, if needed."""
        if self._parts.username is None:
            return {}
        return {"proxy-authorization": "Basic "
                + base64.b64encode(":".join(self._login).encode()).decode()}

    async def lead(self, connection: Connection, origin: Origin) -> None:
        """Make the proxy connect to `origin`. Raises OSError."""
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
                                   else "the proxy did not respond with HTTP")
        said = answer.split(b"\r\n", 1)[0].decode("latin-1")
        status = said.split(" ", 2)[1:2]
        if not said.startswith("HTTP/") or not status or not status[0].startswith("2"):
            raise ProxyRefused(f"the proxy refused to connect: {said[:100]}")

    async def _socks(self, connection: Connection, origin: Origin) -> None:
        """Connect with SOCKS 5 (RFC 1928, 1929); the proxy looks up the name."""
        answers = _Answers(connection)
        name, password = self._login
        await connection.write(b"\x05\x02\x00\x02" if name else b"\x05\x01\x00")
        chosen = (await answers.take(2))[1]
        if chosen == 2:
            login = b"".join(bytes([len(word)]) + word
                             for word in (name.encode()[:255], password.encode()[:255]))
            await connection.write(b"\x01" + login)
            if (await answers.take(2))[1] != 0:
                raise ProxyRefused("the proxy rejected the user name or password")
        elif chosen != 0:
            raise ProxyRefused("the proxy requires an unsupported authentication method")
        host = origin.host.encode()
        await connection.write(b"\x05\x01\x00\x03" + bytes([len(host)]) + host
                               + origin.port.to_bytes(2, "big"))
        _, code, _, kind = await answers.take(4)
        if code != 0:
            raise ProxyRefused(f"the proxy could not connect to {origin.host} (SOCKS {code})")
        size = {1: 4, 4: 16}.get(kind) or (await answers.take(1))[0]
        await answers.take(size + 2)


class _Answers:
    """Reads a given number of bytes from a connection."""

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
