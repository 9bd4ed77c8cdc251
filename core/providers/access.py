"""Chooses the key for a provider: a key is sent only to the origin it was given for, and never
unencrypted.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from core.config import Settings
from core.config.directories import config_directory
from core.config.keys import clean_key, origin_of, stored_key
from core.dataclass import dataclass, field, replace
from core.errors import AuthFailed
from core.regex import regex
from core.providers.addresses import Addresses, own_url
from core.providers.hosts import Host, find_host, hosts

_SECRET_HEADER = regex(r"auth|key|token|secret|cookie|password", re.IGNORECASE)
# carrier-grade NAT and overlay networks such as Tailscale
_SHARED = ipaddress.ip_network("100.64.0.0/10")
_OWN_DOMAINS = (".local", ".lan", ".home", ".internal", ".home.arpa", ".localhost")


@dataclass(frozen=True, slots=True)
class Access:
    """The key and headers to send. `note` says why an existing key is not sent, as a hint for
    errors.
    """

    key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Found:
    """A key, its description for messages, and the addresses it was given for. `shared` keys come
    from the environment.
    """

    key: str
    words: str
    urls: tuple[str, ...]
    shared: bool = False


class KeyRing:
    """The keys of one run, from the environment, the configuration file, the keyring and the key
    file.
    """

    def __init__(self, settings: Settings, addresses: Addresses) -> None:
        self._settings = settings
        self._addresses = addresses

    def access(self, name: str, host: Host, base_url: str) -> Access:
        """Return the key and headers for this address.

        Raises AuthFailed if a key is needed and none may be sent.
        """
        if not host.server:
            return Access()
        without = self._headers(name, host, base_url)
        found = self._find(name, host, base_url)
        if found is None:
            self._require(name, host, base_url)
            return without
        refusal = _refusal(found, base_url)
        if refusal is None:
            return replace(without, key=found.key)
        if found.shared and host.kind != "cloud":
            return replace(without, note=refusal.message)
        raise refusal

    def _find(self, name: str, host: Host, base_url: str) -> _Found | None:
        named = [url for url in (*self._addresses.named(name), own_url(host, name)) if url]
        # a provider without its own address uses the given one
        urls = tuple(named or [base_url])
        own = clean_key(str(self._addresses.entry(name).get("api_key") or ""))
        if own:
            return _Found(own, f"The key of {name} in the configuration", urls)
        for variable in host.key_variables:
            key = clean_key(str(self._settings.environment.get(variable) or ""))
            if key:
                return _Found(key, variable, urls, shared=True)
        return self._stored(name, host, urls)

    def _stored(self, name: str, host: Host, urls: tuple[str, ...]) -> _Found | None:
        """Return the stored key, for the origin it was stored for and for addresses that the user
        named for it.

        The keyring is read only if a key is needed or the key file exists.
        """
        directory = config_directory(self._settings.environment)
        if host.kind != "cloud" and not os.path.exists(os.path.join(directory, "keys.json")):
            return None
        same = [row.name for row in hosts()
                if row.key_variables == host.key_variables and row.name != name]
        for owner in (name, *(same if host.key_variables else ())):
            stored = stored_key(self._settings.environment, (owner,))
            if stored is not None:
                key, place = stored
                bound = (place or own_url(host, name),)
                return _Found(clean_key(key), f"The stored key of {owner}",
                              (*bound, *urls) if owner == name else bound)
        return None

    def _headers(self, name: str, host: Host, base_url: str) -> Access:
        """Return the configured headers. They may contain a key, so they are only sent to
        configured addresses.
        """
        headers: Mapping[str, str] = self._addresses.entry(name).get("headers") or {}
        if not any(map(_SECRET_HEADER.search, headers)):
            return Access(None, headers)
        words = f"The headers of {name} in the configuration"
        refusal = _refusal(_Found("", words, tuple(self._addresses.named(name)) or (base_url,)),
                           base_url)
        if refusal is None:
            return Access(None, headers)
        if host.kind == "cloud":
            raise refusal
        plain = {header: value for header, value in headers.items()
                 if not _SECRET_HEADER.search(header)}
        return Access(None, plain, refusal.message)

    def _require(self, name: str, host: Host, base_url: str) -> None:
        if not self.needed(name, host, base_url):
            return
        missing = self._addresses.entry(name).get("missing", {}).get("api_key")
        hint = f"Set {' or '.join(host.key_variables) or 'api_key'}, or run --set-key {name}"
        if self._addresses.entry(find_owner_of_top_key()).get("api_key") and not missing:
            hint += ("\n`api_key` at the top of a configuration file is "
                     f"{find_owner_of_top_key()}'s; {name}'s is `{name}_api_key`.")
        raise AuthFailed(missing or f"{name} needs a key, and none is set.", hint)

    def needed(self, name: str, host: Host, base_url: str) -> bool:
        """Return whether a key is needed: by cloud providers at their own addresses. A server
        elsewhere (a proxy, a test) may need none.

        `requires_key` in the configuration overrides this.
        """
        entry, row = self._addresses.entry(name), find_host(name)
        if entry.get("requires_key") is not None:
            return bool(entry["requires_key"])
        cloud = host.kind == "cloud" and bool(host.key_variables)
        return bool(cloud and row is not None and base_url == row.base_url.rstrip("/")
                    or entry.get("missing", {}).get("api_key"))


def find_owner_of_top_key() -> str:
    from core.config.migration import OLD_KEYS
    return OLD_KEYS["api_key"]


def _refusal(found: _Found, base_url: str) -> AuthFailed | None:
    """Return why this key must not be sent to this address, or None."""
    origins = [origin_of(url if "://" in url else f"http://{url}") for url in found.urls if url]
    if origin_of(base_url) not in origins:
        places = " and ".join(dict.fromkeys(found.urls)) or "no address"
        return AuthFailed(f"{found.words} is for {places}, and {base_url} is another address.",
                          "To send the key there, set the address with --base-url or in the "
                          "configuration file.")
    if in_the_clear(base_url):
        return AuthFailed(f"{found.words} is not sent to {base_url}: without TLS anyone on the way "
                          "can read it.",
                          "Use an https:// address, or a tunnel to that host.")
    return None


def in_the_clear(url: str) -> bool:
    """Return whether data sent there crosses foreign networks unencrypted.

    Loopback, private addresses and plain names count as the user's own network.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".").lower()
    if parts.scheme.lower() != "http" or not host:
        return False
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "." in host and not host.endswith(_OWN_DOMAINS)
    address = getattr(address, "ipv4_mapped", None) or address
    own = (address.is_private or address.is_loopback or address.is_link_local
           or address.is_unspecified)
    return not (own or address.version == 4 and address in _SHARED)
