"""Network settings: loopback addresses, proxies, trusted certificates and unix sockets."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit


def proxy_for(url: str, environment: Mapping[str, str] | None = None) -> str | None:
    """The URL of the proxy for `url`, by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, or None.

    If none of them is set, the system settings of macOS and Windows are used.
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
    """Proxies by scheme; "no" lists the exceptions. Lower-case variables win, as with curl."""
    found = {kind: environment.get(f"{kind}_proxy") or environment.get(f"{kind.upper()}_PROXY")
             or ""
             for kind in ("http", "https", "all", "no")}
    # in a CGI process HTTP_PROXY may be the request's header "Proxy"
    if "REQUEST_METHOD" in environment:
        found["http"] = environment.get("http_proxy", "")
    if not any(found.values()) and sys.platform in ("darwin", "win32"):
        from urllib.request import getproxies
        return getproxies()
    return found


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY covers this host: a domain with its subdomains, an address or
    a network, with or without a port.
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
    from ipaddress import ip_address, ip_network    # takes 4 ms and is rarely needed
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        return host == entry or host.endswith(f".{entry}")


def certificates(environment: Mapping[str, str] | None = None) -> tuple[str | None, str | None]:
    """(file, directory) of certificates to trust instead of the system's; each may be None."""
    known = os.environ if environment is None else environment
    return known.get("SSL_CERT_FILE") or None, known.get("SSL_CERT_DIR") or None


def unix_socket(url: str) -> tuple[str, str] | None:
    """(socket file, path of the request) of a unix: URL; None for other URLs.

    The file ends with .sock, .socket or at a colon before a slash: unix:///run/llama.sock/v1,
    unix:///run/llama:/v1. Raises ValueError for a URL without an absolute path.
    """
    if url[:6].lower() != "unix:/":
        return None
    path = url[5:].removeprefix("//")
    names = path.split("/")
    if names[0] or not path.strip("/"):
        raise ValueError("a socket needs an absolute path, such as unix:///run/server.sock")
    for count, name in enumerate(names, 1):
        plain = name.removesuffix(":")
        if plain != name or plain.endswith((".sock", ".socket")):
            rest = "".join(f"/{other}" for other in names[count:])
            return "/".join([*names[:count - 1], plain]), rest
    return path.rstrip("/"), ""


def plain_unix_url(url: str) -> str:
    """The URL; a unix: URL in a form to which a request's path can be appended. Raises ValueError.
    """
    named = unix_socket(url)
    if named is None:
        return url
    file, rest = named
    return f"unix://{file}{'' if file.endswith(('.sock', '.socket')) else ':'}{rest.rstrip('/')}"


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine, including 0.0.0.0, :: and unix sockets.

    False for an invalid URL.
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
