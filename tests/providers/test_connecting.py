"""Ways to a server: proxies, TLS, several addresses; each over real sockets."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from core.config.network import certificates, proxy_for
from core.errors import ConnectFailed, ProviderError
from core.providers import Endpoint
from core.providers.http import transport
from core.providers.http.connecting import connect
from core.providers.http.connection import MOST_READ, Connection

CERTIFICATE = Path(__file__).with_name("server.test.pem")
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


def refused(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    return ProviderError(body.decode(), status=status)


class Server:
    """Answers each request with its path, with or without TLS; records connections and request
    headers.
    """

    def __init__(self) -> None:
        self.connections = 0
        self.heads: list[str] = []
        self.port = 0
        self.closing = False       # close each connection after its answer, without a word

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                length = next((int(line.partition(":")[2]) for line in head.split("\r\n")
                               if line.lower().startswith("content-length:")), 0)
                await reader.readexactly(length)
                body = f'{{"path": "{head.split()[1]}"}}'.encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
                if self.closing:
                    break
        writer.close()

    @asynccontextmanager
    async def open(self, *, secure: bool = False) -> AsyncIterator[Server]:
        context = None
        if secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
        async with await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=context) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self


class Proxy:
    """Connects every name to one port of this machine, with CONNECT, forwarding, or SOCKS 5."""

    def __init__(self, port: int, login: str = "") -> None:
        self._port, self._login = port, login
        self.port = 0
        self.asked: list[str] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Proxy]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            first = await reader.readexactly(1)
            onward = await (self._socks if first == b"\x05" else self._http)(first, reader, writer)
            if onward is not None:
                inside, outside = await asyncio.open_connection("127.0.0.1", self._port)
                outside.write(onward)
                await asyncio.gather(pump(reader, outside), pump(inside, writer))
        writer.close()

    async def _http(self, first: bytes, reader: asyncio.StreamReader,
                    writer: asyncio.StreamWriter) -> bytes | None:
        head = first + await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.decode().split("\r\n")[0])
        expected = base64.b64encode(self._login.encode()).decode()
        if (self._login and f"proxy-authorization: basic {expected}".lower()
            not in head.decode().lower()):
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return None
        if not head.startswith(b"CONNECT"):
            return head
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return b""

    async def _socks(self, first: bytes, reader: asyncio.StreamReader,
                     writer: asyncio.StreamWriter) -> bytes | None:
        methods = await reader.readexactly((await reader.readexactly(1))[0])
        if self._login and 2 not in methods:
            writer.write(b"\x05\xff")
            return None
        writer.write(b"\x05\x02" if self._login else b"\x05\x00")
        if self._login:
            await reader.readexactly(1)
            words = [(await reader.readexactly((await reader.readexactly(1))[0])).decode()
                     for _ in range(2)]
            good = ":".join(words) == self._login
            writer.write(b"\x01\x00" if good else b"\x01\x01")
            if not good:
                return None
        await reader.readexactly(4)
        host = await reader.readexactly((await reader.readexactly(1))[0])
        self.asked.append(f"{host.decode()}:{int.from_bytes(await reader.readexactly(2), 'big')}")
        writer.write(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
        return b""


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))


async def fetch(url: str, times: int = 1) -> list[object]:
    endpoint = Endpoint(url, host="fake", connect_timeout=20.0, idle_timeout=20.0)
    async with transport.open_client(endpoint) as client:
        return [await transport.fetch_json(client, endpoint, f"/{number}", refused)
                for number in range(times)]


@pytest.mark.parametrize("login", ["", "ann:se cret"])
@pytest.mark.parametrize("kind", ["http", "socks5", "socks5h"])
@pytest.mark.parametrize("secure", [False, True])
def test_a_proxy_leads_to_the_server(kind: str, secure: bool, login: str, trusted: None,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    async def use() -> None:
        async with (Server().open(secure=secure) as server,
                    Proxy(server.port, login).open() as proxy):
            given = f"{login.replace(' ', '%20')}@" if login else ""
            monkeypatch.setenv("ALL_PROXY", f"{kind}://{given}127.0.0.1:{proxy.port}")
            scheme, port = ("https", 443) if secure else ("http", 80)
            answers = await fetch(f"{scheme}://server.test/v1")
            forwarded = kind == "http" and not secure
            assert answers == [{"path": f"{scheme}://server.test/v1/0" if forwarded else "/v1/0"}]
            assert proxy.asked == [{"http": f"CONNECT server.test:{port} HTTP/1.1"}
                                   .get(kind, f"server.test:{port}")
                                   if not forwarded else "GET http://server.test/v1/0 HTTP/1.1"]
            assert "\r\nhost: server.test\r\n" in server.heads[0]
    asyncio.run(use())


@pytest.mark.parametrize(("kind", "words"), [("http", "407"), ("socks5", "user name")])
def test_a_proxy_that_refuses_is_told_in_words(kind: str, words: str, trusted: None,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    async def use() -> None:
        async with (Server().open(secure=True) as server,
                    Proxy(server.port, "ann:secret").open() as proxy):
            monkeypatch.setenv("HTTPS_PROXY", f"{kind}://ann:wrong@127.0.0.1:{proxy.port}")
            with pytest.raises(ConnectFailed) as caught:
                await fetch("https://server.test")
            assert words in caught.value.message and "wrong" not in caught.value.message
            assert not server.heads
    asyncio.run(use())


def test_over_tls_a_connection_is_used_again(trusted: None) -> None:
    async def use() -> None:
        async with Server().open(secure=True) as server:
            assert len(await fetch(f"https://localhost:{server.port}", 3)) == 3
            assert server.connections == 1
    asyncio.run(use())


def test_a_connection_that_the_server_closed_is_not_used_again(trusted: None) -> None:
    async def use() -> None:
        async with Server().open(secure=True) as server:
            server.closing = True
            url = f"https://localhost:{server.port}"
            endpoint = Endpoint(url, host="fake", connect_timeout=20.0, idle_timeout=20.0)
            async with transport.open_client(endpoint) as client:
                for number in range(3):
                    await transport.fetch_json(client, endpoint, f"/{number}", refused)
                    await asyncio.sleep(0.05)      # its close is on the way
            assert server.connections == 3
    asyncio.run(use())


def test_a_certificate_that_is_not_trusted_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)

    async def use() -> None:
        async with Server().open(secure=True) as server:
            with pytest.raises(ConnectFailed, match="certificate"):
                await fetch(f"https://127.0.0.1:{server.port}")
            assert not server.heads
    asyncio.run(use())


def test_a_file_of_certificates_that_is_not_there_is_an_error_in_words(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/at/all.pem")
    with pytest.raises(ProviderError) as caught:
        asyncio.run(fetch("https://127.0.0.1:1"))
    assert "SSL_CERT_FILE" in caught.value.hint


def test_an_address_that_does_not_answer_does_not_hold_up_the_next() -> None:
    async def use() -> None:
        with (socket.create_server(("127.0.0.1", 0), backlog=0) as silent,
              socket.create_server(("127.0.0.1", 0)) as good):
            waiting = []
            # its queue is full: a further connection is neither made nor refused
            for _ in range(3):
                waiting.append(socket.socket())
                waiting[-1].setblocking(False)
                with suppress(BlockingIOError):
                    waiting[-1].connect(silent.getsockname())
            addresses = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", place.getsockname())
                         for place in (silent, good)]
            found = await connect(addresses)
            assert found.getpeername() == good.getsockname()
            for each in (found, *waiting):
                each.close()
    asyncio.run(use())


def test_what_pours_in_is_read_in_parts_between_which_others_have_their_turn() -> None:
    """A frame is read, saved and shown without a pause, so its duration delays Ctrl-C."""
    sent, turns = os.urandom(3_000_000), 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()
        writer.close()

    async def use() -> list[bytes]:
        async with await asyncio.start_server(pour, "127.0.0.1", 0) as server:
            place = server.sockets[0].getsockname()
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(Connection, *place)
            counting = asyncio.create_task(count())
            await asyncio.sleep(0.1)      # much has come when it is read
            read: list[bytes] = []
            before = turns
            while piece := await connection.read():
                read.append(piece)
                if len(read) == 20:
                    assert turns >= before + 19
            counting.cancel()
            connection.close()
            return read
    read = asyncio.run(use())
    assert b"".join(read) == sent and max(map(len, read)) <= MOST_READ


def test_what_comes_during_a_rest_is_given_out_at_its_end_all_at_once() -> None:
    """Each read of the socket costs as much as a hundred tokens."""
    async def two_pieces(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            for piece in (b"one, ", b"two"):
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def read(connection: Connection, seconds: float) -> bytes:
        """The two pieces, sent while the connection rests."""
        connection.rest(seconds)
        await connection.write(b"send\n")
        reading = asyncio.create_task(connection.read())
        if seconds > 1:
            await asyncio.sleep(0.05)
            assert not reading.done()
            connection.release()
        return await reading

    async def use() -> tuple[bytes, bytes, bytes]:
        async with await asyncio.start_server(two_pieces, "127.0.0.1", 0) as server:
            place = server.sockets[0].getsockname()
            _, connection = await asyncio.get_running_loop().create_connection(Connection, *place)
            # a rest that begins within another takes its place
            connection.rest(0.01)
            ended, over = await read(connection, 600.0), await read(connection, 0.05)
            connection.rest(600.0)
            connection.close()
            return ended, over, await asyncio.wait_for(connection.read(), 10)
    assert asyncio.run(use()) == (b"one, two", b"one, two", b"")


def test_when_no_address_answers_the_first_failure_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        place = closed.getsockname()
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(connect([(socket.AF_INET, socket.SOCK_STREAM, 0, "", place)] * 2))


@pytest.mark.parametrize(("environment", "url", "proxy"), [
    ({}, "https://a.org", None),
    ({"HTTPS_PROXY": "http://p:1"}, "https://a.org", "http://p:1"),
    ({"HTTPS_PROXY": "http://p:1"}, "http://a.org", None),
    ({"HTTP_PROXY": "p:1"}, "http://a.org", "http://p:1"),
    ({"ALL_PROXY": "socks5://p"}, "https://a.org", "socks5://p"),
    ({"ALL_PROXY": "http://x", "https_proxy": "http://y"}, "https://a.org", "http://y"),
    ({"HTTP_PROXY": "http://x", "REQUEST_METHOD": "GET"}, "http://a.org", None),
    ({"https_proxy": ""}, "https://a.org", None),
    *(({"ALL_PROXY": "http://p", "NO_PROXY": entries}, url, None) for entries, url in [
        ("*", "https://a.org"), ("a.org", "https://a.org"), ("a.org", "https://b.a.org"),
        (".a.org", "https://b.a.org"),
        ("x, A.ORG", "https://a.org"), ("*.a.org", "https://b.a.org"),
        ("a.org:443", "https://a.org"),
        ("10.0.0.0/8", "https://10.1.2.3"), ("10.1.2.3", "https://10.1.2.3:8443"),
        ("::1", "https://[::1]"),
        ("[fd00::]/8", "https://[fd00::7]"), ("https://a.org", "https://a.org"),
        ("a.org.", "https://a.org.")]),
    *(({"ALL_PROXY": "http://p", "NO_PROXY": entries}, url, "http://p") for entries, url in [
        ("", "https://a.org"), ("b.org", "https://a.org"), ("a.org", "https://xa.org"),
        ("a.org:80", "https://a.org"),
        ("10.0.0.0/8", "https://11.1.2.3"), (",,", "https://a.org"),
        ("10.0.0.0/99", "https://10.0.0.1")])])
def test_which_proxy_an_address_has(environment: Mapping[str, str], url: str,
                                    proxy: str | None) -> None:
    assert proxy_for(url, environment) == proxy


def test_which_certificates_are_trusted() -> None:
    assert certificates({}) == (None, None)
    assert certificates({"SSL_CERT_FILE": "a", "SSL_CERT_DIR": ""}) == ("a", None)
