"""Connects tools to public addresses only: each address is checked after its name was resolved.

One place parses the URL, resolves, checks and connects, so no second parser or look-up can give a
different result. Redirects are not followed here.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from core.dataclass import dataclass, field
from core.errors import ToolError
from core.safe_text import safe_line

if TYPE_CHECKING:
    import requests

LONGEST_URL = 4_000
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# The IANA special-purpose registries and the metadata addresses of clouds. The standard library's
# is_private and is_global are not used because they differ between Python versions.
NOT_PUBLIC_4 = tuple(map(ipaddress.IPv4Network, (
    "0.0.0.0/8",          # this network
    "10.0.0.0/8",         # private
    "100.64.0.0/10",      # carrier-grade NAT
    "127.0.0.0/8",        # loopback
    "168.63.129.16/32",   # Azure's own services
    "169.254.0.0/16",     # link-local, metadata of most clouds
    "172.16.0.0/12",      # private
    "192.0.0.0/24",       # protocol assignments
    "192.0.2.0/24",       # documentation
    "192.88.99.0/24",     # 6to4 relays
    "192.168.0.0/16",     # private
    "198.18.0.0/15",      # benchmarks
    "198.51.100.0/24",    # documentation
    "203.0.113.0/24",     # documentation
    "224.0.0.0/4",        # multicast
    "240.0.0.0/4",        # reserved, broadcast
)))
PUBLIC_6 = ipaddress.IPv6Network("2000::/3")   # the only range allocated so far
NOT_PUBLIC_6 = tuple(map(ipaddress.IPv6Network, (
    "2001::/23",          # protocol assignments: Teredo, benchmarks, ORCHID
    "2001:db8::/32",      # documentation
    "2002::/16",          # 6to4: an IPv4 address inside, by way of a relay
    "3fff::/20",          # documentation
)))
MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
ISATAP = (0x00005EFE, 0x02005EFE)


@dataclass(frozen=True, slots=True)
class Url:
    """A parsed http(s) address; `host` is lower-case ASCII without a trailing dot, `target` starts
    with /.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (host if self.port == {"http": 80, "https": 443}[self.scheme]
                else f"{host}:{self.port}")

    @property
    def place(self) -> str:
        """host:port, the form used in permissions."""
        return f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_url(text: str) -> Url:
    """Parse an address strictly. Raises ToolError for anything that parsers could interpret
    differently.
    """
    if len(text) > LONGEST_URL:
        raise ToolError(f"The address is longer than {LONGEST_URL:,} characters.")
    if re.search(r"[\x00-\x20\x7f-\x9f\\\u2028\u2029]", text.strip(" ")) or not text.isprintable():
        raise ToolError("The address contains spaces, backslashes or control characters.")
    try:
        parts = urlsplit(text.strip(" "))
        port = parts.port
    except ValueError as problem:
        raise ToolError(f"This is not a valid address: {problem}.") from None
    if parts.scheme not in ("http", "https"):
        raise ToolError("Only http:// and https:// addresses can be fetched.")
    if "@" in parts.netloc or "%" in parts.netloc:
        raise ToolError("An address with a user name, a zone or %-signs before its path is not "
                        "fetched.")
    host = normal_host(parts.hostname or "")
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (
        "?" + quote(parts.query, safe="/%?:@!$&'()*+,;=~-._[]") if parts.query else "")
    return Url(parts.scheme, host, _checked_port(parts.scheme, port),
               target if target.startswith("/") else "/" + target)


def normal_host(host: str) -> str:
    """The host in lower-case ASCII, with internationalised names as xn--.

    Numbers are accepted only as a complete address. Raises ToolError.
    """
    host = host.lower()
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            raise ToolError("This is not a valid IPv6 address.") from None
    if not host.isascii():
        host = _idna(host)
    host = host.removesuffix(".")
    labels = host.split(".")
    if len(host) > 253 or not all(re.fullmatch(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", label)
                                  for label in labels):
        raise ToolError(f"{safe_line(host, 80)!r} is not a valid host name.")
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ToolError(f"{safe_line(host, 80)!r} is not a valid IPv4 address.",
                            "Write it as four decimal numbers.") from None
    return host


def _idna(host: str) -> str:
    import idna
    try:
        return idna.encode(host, uts46=True, std3_rules=True).decode()
    except (idna.IDNAError, UnicodeError):
        raise ToolError(f"{safe_line(host, 80)!r} is not a valid host name.") from None


def _checked_port(scheme: str, port: int | None) -> int:
    """The port. Raises ToolError for other ports below 1024: services there could be attacked with
    an HTTP request that they read as their own protocol.
    """
    if port is None:
        return 443 if scheme == "https" else 80
    if port not in (80, 443) and port < 1_024:
        raise ToolError(f"Port {port} is not allowed.")
    return port


def is_public(address: Address) -> bool:
    """Whether an address is on the public internet; IPv4 inside IPv6 counts as the IPv4 address."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in NOT_PUBLIC_4)
    if address.scope_id:
        return False
    number = int(address)
    inner = ipaddress.IPv4Address(number & 0xFFFFFFFF)
    if address in MAPPED or address in NAT64:
        return is_public(inner)
    if number >> 32 & 0xFFFFFFFF in ISATAP and not is_public(inner):
        return False
    return address in PUBLIC_6 and not any(address in network for network in NOT_PUBLIC_6)


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name, as text. Raises ToolError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as problem:
        raise ToolError(
            f"{host} was not found: {getattr(problem, 'strerror', None) or problem}.") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True, slots=True)
class NetworkGuard:
    """Connects only to addresses that a tool may access.

    `local` are host:port pairs whose addresses need not be public. `deadline` is a time of
    time.monotonic(). `resolve` maps names to addresses.
    """

    local: frozenset[str] = frozenset()
    deadline: float = float("inf")
    resolve: Callable[[str, int], list[str]] = resolve
    watched: list[tuple[threading.Timer, socket.socket]] = field(default_factory=list)

    def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host. Raises ToolError if any of them is not public, since such a
        result is an attack or a mistake.
        """
        host = normal_host(host.strip("[]"))
        found = self.resolve(host, port)
        if not found:
            raise ToolError(f"{host} has no address.")
        if f"{host}:{port}" not in self.local:
            for text in found:
                if not is_public(ipaddress.ip_address(text)):
                    raise ToolError(f"{host} has the address {text}, which is not on the public "
                                    "internet, so it is not allowed.")
        return found

    def connect(self, host: str, port: int, timeout: float) -> socket.socket:
        """Connect to an address right after checking it. Raises ToolError or OSError."""
        problem: OSError | None = None
        for text in self.addresses(host, port)[:4]:
            left = min(timeout, self.deadline - time.monotonic())
            if left <= 0:
                break
            try:
                return self._watch(_connect_to(text, port, left))
            except OSError as failure:
                problem = failure
        raise problem or TimeoutError(f"no connection to {host} in time")

    def _watch(self, made: socket.socket) -> socket.socket:
        """Cut the connection at the deadline: a server that sends a byte now and then never exceeds
        the time limit of a single read.
        """
        if self.deadline != float("inf"):
            copy = made.dup()   # TLS takes the original over
            left = max(0.0, self.deadline - time.monotonic())
            timer = threading.Timer(left, _cut, (copy,))
            timer.daemon = True
            timer.start()
            self.watched.append((timer, copy))
        return made

    def close(self) -> None:
        """Stop watching connections."""
        while self.watched:
            timer, copy = self.watched.pop()
            timer.cancel()
            copy.close()

    def session(self) -> requests.Session:
        """A requests session that connects only through this guard, without proxies, stored
        credentials or cookies.
        """
        import requests
        made = requests.Session()
        made.trust_env = False
        made.headers.update({"User-Agent": "stream-chat", "Accept-Language": "en;q=0.8, *;q=0.5"})
        adapter = _adapter(self)
        made.mount("http://", adapter)
        made.mount("https://", adapter)
        return made


def _connect_to(address: str, port: int, timeout: float) -> socket.socket:
    """Connect to a numeric address, whose form gives the family, so nothing is resolved again."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.settimeout(timeout)
        made.connect((address, port))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        made.close()
        raise
    return made


def _cut(copy: socket.socket) -> None:
    with contextlib.suppress(OSError):
        copy.shutdown(socket.SHUT_RDWR)


def _adapter(guard: NetworkGuard) -> Any:
    """A transport for requests: the guard connects, urllib3 does everything else (such as TLS by
    host name).
    """
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    def connect(connection: HTTPConnection) -> socket.socket:
        timeout = connection.timeout if isinstance(connection.timeout, (int, float)) else 10.0
        return guard.connect(connection.host, connection.port or connection.default_port, timeout)

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return connect(self)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return connect(self)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    class Guarded(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            super().init_poolmanager(*arguments, **options)
            self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}

    return Guarded(max_retries=0)
