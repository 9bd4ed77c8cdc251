"""Which addresses are this machine's own, which proxy leads to others,
and which certificates are trusted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit


def proxy_for(url: str, environment: Mapping[str, str] | None = None) -> str | None:
    """The proxy's URL, as HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY say; None for none.

    Where they say nothing, macOS and Windows may have one in their settings.
    """
    known = _proxies(os.environ if environment is None else environment)
    target = urlsplit(url)
    proxy = known.get(target.scheme) or known.get("all")
    host = (target.hostname or "").rstrip(".")
    port = target.port or (443 if target.scheme == "https" else 80)
    if not proxy or any(_covers(entry.strip().lower(), host, port)
                        for entry in known.get("no", "").split(",")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _proxies(environment: Mapping[str, str]) -> Mapping[str, str]:
    """By scheme; `no` are the addresses without one. Names in small letters win, as with curl."""
    found = {kind: environment.get(f"{kind}_proxy") or environment.get(f"{kind.upper()}_PROXY")
             or ""
             for kind in ("http", "https", "all", "no")}
    # a web server: HTTP_PROXY may be a header that a visitor sent
    if "REQUEST_METHOD" in environment:
        found["http"] = environment.get("http_proxy", "")
    if not any(found.values()) and sys.platform in ("darwin", "win32"):
        from urllib.request import getproxies
        return getproxies()
    return found


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether one entry of NO_PROXY means this host:
    a name with all below it, an address, a network, with a port or not.
    """
    if entry == "*":
        return True
    entry = entry.rpartition("://")[2]
    name, colon, number = entry.rpartition(":")
    if colon and number.isdigit() and ("]" in name or ":" not in name):
        if int(number) != port:
            return False
        entry = name
    entry = entry.replace("[", "").replace("]", "").removeprefix("*").strip(".")
    if not entry:
        return False
    from ipaddress import ip_address, ip_network    # 4 ms, and nearly nobody needs them
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        return host == entry or host.endswith(f".{entry}")


def certificates(environment: Mapping[str, str] | None = None) -> tuple[str | None, str | None]:
    """The file and the directory of certificates that are trusted in place of the system's;
    None where none is named.
    """
    known = os.environ if environment is None else environment
    return known.get("SSL_CERT_FILE") or None, known.get("SSL_CERT_DIR") or None


def unix_socket(url: str) -> tuple[str, str] | None:
    """The file of the socket that a unix: URL names, and what follows it; None for other URLs.

    A name that ends with .sock or .socket ends the file, any other ends at a colon before a slash:
    unix:///run/llama.sock/v1, unix:///run/llama:/v1. Raises ValueError for one that names no file.
    """
    if url[:6].lower() != "unix:/":
        return None
    path = url[5:].removeprefix("//")
    names = path.split("/")
    if names[0] or not path.strip("/"):
        raise ValueError("a socket is named by its whole path, such as unix:///run/server.sock")
    for count, name in enumerate(names, 1):
        plain = name.removesuffix(":")
        if plain != name or plain.endswith((".sock", ".socket")):
            rest = "".join(f"/{other}" for other in names[count:])
            return "/".join([*names[:count - 1], plain]), rest
    return path.rstrip("/"), ""


def plain_unix_url(url: str) -> str:
    """A unix: URL in the form to which the path of a request can be appended. Raises ValueError."""
    named = unix_socket(url)
    if named is None:
        return url
    file, rest = named
    return f"unix://{file}{'' if file.endswith(('.sock', '.socket')) else ':'}{rest.rstrip('/')}"


def is_loopback(url: str) -> bool:
    """True for an address of this machine, 0.0.0.0, :: and sockets in files included.

    A URL that cannot be read is not one.
    """
    import ipaddress
    try:
        if unix_socket(url) is not None:
            return True
        host = (urlsplit(url).hostname or "").rstrip(".")
        if host == "localhost" or host.endswith(".localhost"):
            return True
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified
