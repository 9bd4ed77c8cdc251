"""No connection to a non-public address without approval, checked at the socket."""

from __future__ import annotations

import ipaddress
import random
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from typing import Any

import pytest

from core.errors import ToolError
from core.tools import ToolContext
from core.tools.fetch_url import fetch_url
from core.tools.guards.net import NetworkGuard, is_public, normal_host, parse_url

# Every way to write "this machine" or "a machine behind this one" that some parser
# somewhere understands.
INNER = (
    "127.0.0.1 127.1 127.0.1 127.127.127.127 0 0.0.0.0 0.0.0.0. 2130706433 017700000001 0x7f000001 "
    "0x7f.1 0x7F.0.0.1 0177.0.0.1 0177.0.0.01 127.0.0.1. 127.00.00.01 00127.0.0.1 ::1 :: "
    "::ffff:127.0.0.1 ::ffff:7f00:1 0:0:0:0:0:ffff:127.0.0.1 ::127.0.0.1 ::ffff:0:127.0.0.1 "
    "64:ff9b::127.0.0.1 64:ff9b::7f00:1 64:ff9b:1::7f00:1 2002:7f00:1:: 2002:7f00:0001::1 "
    "2001:0:7f00:1:: 2001::1 fe80::1 fec0::1 fc00::1 fd00:ec2::254 ff02::1 100::1 2001:db8::1 "
    "3fff::1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe:: "
    "2607:f8b0::5efe:7f00:1 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 169.254.169.254 "
    "172.16.0.1 172.31.255.255 192.0.0.1 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 "
    "198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 "
    "168.63.129.16 0xa9fea9fe 2852039166 0251.0376.0251.0376 169.254.43518 localhost LOCALHOST "
    "localhost. metadata.inner inner.test other.inner.test xn--inner.test \uff11\uff12\uff17.0.0.1 "
    "127\u30020\u30020\u30021 \u2460\u2461\u2466.0.0.1 loc\u00adalhost \uff4cocalhost"
).split()
FORMS = (
    "http://{}/", "https://{}/", "http://{}:80/x", "http://{}:8080/", "http://user@{}/",
    "http://public.test@{}/",
    "http://{}#@public.test/", "http://{}?@public.test/", "http://{}\\@public.test/", "HTTP://{}/",
)
OTHERS = (
    "file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1:70/_x", "//127.0.0.1/",
    "127.0.0.1", "http:127.0.0.1",
    "http:/127.0.0.1/", "http:///127.0.0.1/", "http://", "http://:80/", "http://127.0.0.1:22/",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:0/", "jar:http://x/", "http://[::1%25lo]/", "http://[fe80::1%eth0]/",
    "http://[::1", "http://::1/",
    "http://[127.0.0.1]/", "http://127.0.0.1\t/", "http://127.0.0.1\n.public.test/",
    "http://public.test\r\nHost: 127.0.0.1/",
    "http://public.test:80@127.0.0.1/", "http://%31%32%37.0.0.1/", "http://127%2e0%2e0%2e1/",
    "http://public.test%00.inner.test/", "http://public.test\x00.inner.test/", "data:text/plain,x",
    "http://a..b/",
    "http://-/", "http://" + "a" * 300 + "/", "http://" + "a/" * 5_000,
)


def urls() -> list[str]:
    hosts = [f"[{host}]" if ":" in host else host for host in INNER]
    return [form.format(host) for host in hosts for form in FORMS[:4]] + [
        form.format(host) for host in hosts[:8] for form in FORMS[4:]] + list(OTHERS)


def inner_resolver(host: str, port: int) -> list[str]:
    """An attacker's name server: names resolve alternately to internal and external addresses."""
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        return [] if host == "public.test" else ["93.184.216.34", "127.0.0.1"]


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Records every attempt to connect; those to this machine continue, all others time out."""
    seen: list[tuple[str, int]] = []
    connect = socket.socket.connect

    def recorded(self: socket.socket, address: tuple[str, int]) -> None:
        seen.append((str(address[0]), address[1]))
        if not str(address[0]).startswith("127."):
            raise TimeoutError("timed out")
        connect(self, address)
    monkeypatch.setattr(socket.socket, "connect", recorded)
    return seen


class Handler(BaseHTTPRequestHandler):
    """/to?URL redirects there; / is a page."""

    def do_GET(self) -> None:
        self.server.hits.append(self.headers["Host"])  # type: ignore[attr-defined]
        if self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.server.target)  # type: ignore[attr-defined]
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(b"INNER SECRET")

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    made.hits, made.target = [], "/"  # type: ignore[attr-defined]
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_no_url_form_reaches_inside(connections: list[tuple[str, int]]) -> None:
    tried = urls()
    assert len(tried) >= 400
    for url in tried:
        with pytest.raises(ToolError):
            fetch_url(ToolContext(resolve=inner_resolver), url)
    assert [place for place in connections if not is_public(ipaddress.ip_address(place[0]))] == []


def test_no_redirect_leads_inside(connections: list[tuple[str, int]],
                                  server: ThreadingHTTPServer) -> None:
    """The first server is allowed; the target of its redirect is not, however it is written."""
    port = server.server_port
    context = ToolContext(resolve=inner_resolver, local_hosts=frozenset({f"127.0.0.1:{port}"}))
    allowed = ("127.0.0.1", port)
    for url in urls()[::2]:
        target = url.encode("utf-8", "ignore").decode("latin-1").replace("\n", "").replace("\r", "")
        server.target = target  # type: ignore[attr-defined]
        try:
            fetch_url(context, f"http://127.0.0.1:{port}/to?")
        except ToolError:
            continue
    assert ({place for place in connections if not is_public(ipaddress.ip_address(place[0]))}
            == {allowed})
    assert set(server.hits) == {f"127.0.0.1:{port}"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("answers", [
    [["93.184.216.34"], ["127.0.0.1"]], [["127.0.0.1"], ["93.184.216.34"]],
    [["93.184.216.34", "127.0.0.1"]],
    [["::ffff:127.0.0.1"]], [["93.184.216.34"], ["93.184.216.34", "::1"]],
])
def test_a_name_that_changes_its_address_is_looked_up_once(
        answers: list[list[str]], connections: list[tuple[str, int]],
        server: ThreadingHTTPServer) -> None:
    """The address that was checked is the one connected to; the name is not looked up again."""
    turns = cycle(answers)
    context = ToolContext(resolve=lambda host, port: next(turns))
    for _ in range(4):
        with pytest.raises(ToolError):
            fetch_url(context, f"http://rebinding.test:{server.server_port}/")
    assert {address for address, _ in connections} <= {"93.184.216.34"}
    assert server.hits == []  # type: ignore[attr-defined]


def test_a_granted_place_is_reached_by_its_name_and_port_only(
        server: ThreadingHTTPServer, connections: list[tuple[str, int]]) -> None:
    port = server.server_port
    context = ToolContext(resolve=lambda host, port: ["127.0.0.1"],
                          local_hosts=frozenset({f"wiki.home:{port}"}))
    assert "INNER SECRET" in fetch_url(context, f"http://wiki.home:{port}/")
    assert server.hits == [f"wiki.home:{port}"]  # type: ignore[attr-defined]
    for other in (f"http://127.0.0.1:{port}/", f"http://wiki.home.evil.test:{port}/",
                  f"http://wiki.home:{port - 1}/"):
        with pytest.raises(ToolError, match="not on the public internet"):
            fetch_url(context, other)
    assert set(connections) == {("127.0.0.1", port)}


def test_a_proxy_from_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch,
                                                   connections: list[tuple[str, int]],
                                                   server: ThreadingHTTPServer) -> None:
    for name in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
    with pytest.raises(ToolError):
        fetch_url(ToolContext(resolve=lambda host, port: ["93.184.216.34"]), "http://public.test/")
    assert connections == [("93.184.216.34", 80)]


@pytest.mark.parametrize("address", [
    "8.8.8.8", "93.184.216.34", "172.15.255.255", "172.32.0.0", "100.63.255.255", "192.0.3.1",
    "2606:4700::1111", "2a00:1450::1",
    "::ffff:8.8.8.8", "64:ff9b::808:808",
])
def test_public_addresses(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_addresses_are_read_once_and_written_in_one_way() -> None:
    assert (str(parse_url("HTTP://Example.COM:80/a b?q=\u00e4#part".replace(" ", "%20")))
            == "http://example.com/a%20b?q=%C3%A4")
    assert (str(parse_url("https://b\u00fccher.example:8443"))
            == "https://xn--bcher-kva.example:8443/")
    assert normal_host("1.2.3.4") == "1.2.3.4"
    assert parse_url("http://[2606:4700:0::1111]/").authority == "[2606:4700::1111]"


# The IANA special-purpose registries for IPv4 and IPv6 as of 2026, written down a second time: what
# is not "globally reachable".
SPECIAL = """0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24
192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 255.255.255.255/32 168.63.129.16/32
::1/128 ::/128 ::/96 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/32 2001:2::/48 2001:10::/28 2001:20::/28 2001:db8::/32
2002::/16 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8""".split()
BESIDE = ("9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 "
          "172.15.255.255 172.32.0.0 198.17.255.255 "
          "198.20.0.0 223.255.255.255 2001:200:: 2003:: 2606:4700::1111")


def members(network: str, chance: random.Random) -> list[str]:
    """First, last and some addresses of a range;
    an IPv4 one also in the forms that IPv6 has for it.
    """
    inside = ipaddress.ip_network(network)
    last = inside.num_addresses - 1
    found = [inside[0], inside[last], *(inside[chance.randint(0, last)] for _ in range(20))]
    if inside.version == 6:
        return [str(address) for address in found]
    return [form.format(address) for address in found
            for form in ("{}", "::ffff:{}", "64:ff9b::{}")]


@pytest.mark.parametrize("network", SPECIAL)
def test_special_ranges_are_not_public(network: str) -> None:
    seed = random.randrange(10 ** 6)
    print("seed", seed)
    for text in members(network, random.Random(seed)):
        address = ipaddress.ip_address(text)
        assert not is_public(address), text
        host = f"[{text}]" if address.version == 6 else text
        with pytest.raises(ToolError, match="not on the public internet"):
            fetch_url(ToolContext(resolve=lambda host, port, text=text: [text]), f"http://{host}/")  # type: ignore[misc]
        with pytest.raises(ToolError, match="not on the public internet"):
            both = ["1.1.1.1", text]
            fetch_url(ToolContext(resolve=lambda host, port, both=both: both),
                      "http://two.example/")  # type: ignore[misc]


@pytest.mark.parametrize("address", BESIDE.split())
def test_what_lies_beside_them_is(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(("address", "public"), [
    ("2607:f8b0::5efe:808:808", True), ("2607:f8b0::200:5efe:808:808", True),
    ("2607:f8b0::200:5efe:a00:1", False), ("2607:f8b0::5efe:a00:1", False),
    ("2607:f8b0::5eff:a00:1", True), ("fe80::1%1", False), ("2607:f8b0::1%1", False),
])
def test_an_address_counts_as_what_it_leads_to(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


def test_an_address_has_bounds() -> None:
    """The longest one that is accepted, and one character more."""
    longest = "http://public.test/" + "a" * 3_981
    assert str(parse_url(longest)) == longest
    with pytest.raises(ToolError, match="longer than 4,000"):
        parse_url(longest + "a")
    label = "a" * 63
    assert normal_host(f"{label}.test") == f"{label}.test"
    host = ".".join([label, label, label, "a" * 61])
    assert len(host) == 253 and normal_host(host) == host
    for wrong in ("a" * 64 + ".test", f"{host}a", "-a.test", "a-.test", "a..test"):
        with pytest.raises(ToolError, match="not a valid host name"):
            normal_host(wrong)


@pytest.mark.parametrize(("url", "port"), [
    ("http://a.test/", 80), ("https://a.test/", 443), ("http://a.test:443/", 443),
    ("https://a.test:80/", 80), ("http://a.test:1024/", 1_024), ("http://a.test:65535/", 65_535),
])
def test_ports_that_are_fetched_from(url: str, port: int) -> None:
    found = parse_url(url)
    assert (found.port, found.place) == (port, f"a.test:{port}") and str(found) == url


@pytest.mark.parametrize("port", [1, 22, 79, 81, 442, 444, 1_023])
def test_ports_of_other_services_are_not(port: int) -> None:
    with pytest.raises(ToolError, match=f"Port {port} is not allowed"):
        parse_url(f"http://a.test:{port}/")


# ---- connecting

@pytest.fixture
def listening() -> Iterator[int]:
    """A server that accepts, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def granted(port: int, **options: Any) -> NetworkGuard:
    return NetworkGuard(local=frozenset({f"127.0.0.1:{port}"}), **options)


def test_a_connection_is_cut_at_the_deadline_though_its_server_still_sends(listening: int) -> None:
    guard = granted(listening, deadline=time.monotonic() + 0.3)
    with guard.connect("127.0.0.1", listening, 60) as made:
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        made.settimeout(60)
        assert made.recv(1) == b"", "cut, long before the time limit of a read"
    guard.close()


def test_a_connection_in_time_is_not_cut(listening: int) -> None:
    guard = granted(listening, deadline=time.monotonic() + 0.3)
    with guard.connect("127.0.0.1", listening, 60) as made:
        guard.close()
        made.settimeout(0.6)
        with pytest.raises(TimeoutError):
            made.recv(1)
    with granted(listening).connect("127.0.0.1", listening, 60) as made:
        assert made.getpeername() == ("127.0.0.1", listening), "without a deadline as well"


def test_nothing_is_connected_after_the_deadline(connections: list[tuple[str, int]]) -> None:
    guard = NetworkGuard(deadline=time.monotonic() - 1, resolve=lambda host, port: ["1.1.1.1"])
    with pytest.raises(TimeoutError, match="no connection to public.test in time"):
        guard.connect("public.test", 80, 60)
    assert connections == []


def test_four_addresses_of_a_name_are_tried(connections: list[tuple[str, int]]) -> None:
    found = [f"1.1.1.{number}" for number in range(1, 7)]
    with pytest.raises(TimeoutError):
        NetworkGuard(resolve=lambda host, port: found).connect("public.test", 80, 60)
    assert connections == [(address, 80) for address in found[:4]]


def test_a_name_is_looked_up_once_and_each_address_named_once() -> None:
    guard = NetworkGuard(local=frozenset({"127.0.0.1:80", "::1:80"}))
    assert guard.addresses("127.0.0.1", 80) == ["127.0.0.1"]
    assert guard.addresses("[::1]", 80) == ["::1"]
    with pytest.raises(ToolError, match="public.test has no address"):
        NetworkGuard(resolve=lambda host, port: []).addresses("public.test", 80)


@pytest.mark.parametrize(("given", "used"), [(3, 3.0), (0.5, 0.5), (None, 10.0)])
def test_connecting_takes_no_longer_than_is_given(monkeypatch: pytest.MonkeyPatch,
                                                  given: float | None, used: float) -> None:
    limits: list[float | None] = []

    def refused(self: socket.socket, address: tuple[str, int]) -> None:
        limits.append(self.gettimeout())
        raise ConnectionRefusedError("refused")
    monkeypatch.setattr(socket.socket, "connect", refused)
    guard = NetworkGuard(resolve=lambda host, port: ["1.1.1.1"])
    with pytest.raises(OSError):
        guard.session().get("http://public.test/", timeout=given)
    assert limits == [used]
