"""Serves the team page: checks that the configuration is safe, listens, and runs until stopped."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from contextlib import closing
from importlib.util import find_spec
from urllib.parse import urlsplit

from core.config import Settings
from core.config.installed import install_command
from core.errors import UsageError
from core.setup.passwords import require_argon2
from core.setup.saved import open_place
from core.store.accounts import Accounts
from core.store.postgres.store import PostgresStore
from core.web.metrics import Metrics
from core.web.running import TOKEN_VARIABLE
from core.web.server import bind, serve
from core.web.team.gate import Address, Gate
from core.web.team.openid import BACK, SECRET_VARIABLE, OpenId, Provider
from core.web.team.pages import TeamApp, Workspaces


def serve_team(settings: Settings) -> int:
    """Serve the page; return the exit code. Raises UsageError and StoreError."""
    require_argon2()
    address = address_of(settings)
    store = open_place(settings.replace(user=None))
    with closing(store):
        if not isinstance(store, PostgresStore):
            raise UsageError(
                "The team page needs its sessions in PostgreSQL.",
                "Name the database with --database-url postgresql://... (--help teams).",
            )
        if not store.postgres.may_act():
            raise UsageError(
                "The role in --database-url may not act for the members of the team.",
                "The database's owner can allow it: stream-chat --db-init --server ROLE",
            )
        listener = bind(settings.port, settings.host)
        with closing(listener):
            gate = Gate(address, Accounts(store.postgres).key_of, settings.user_rate)
            token = settings.environment.get(TOKEN_VARIABLE, "").strip()
            openid = openid_of(settings, address)
            app = TeamApp(gate, Workspaces(settings, store), Metrics(token), openid)
            print(f"Stream Chat is at {_shown(settings, address)}", file=sys.stderr, flush=True)
            serve(
                app,
                listener,
                _tls(settings),
                is_busy=lambda: app.is_busy,
                drain=settings.drain_seconds,
            )
    return 0


def address_of(settings: Settings) -> Address:
    """Return the address of the page. Raises UsageError if passwords would be sent unencrypted."""
    tls, proxies = bool(settings.tls_cert), frozenset(settings.trusted_proxies)
    if settings.tls_cert and not settings.tls_key:
        raise UsageError("--tls-cert needs the certificate's key.", "Name it with --tls-key FILE.")
    for proxy in proxies:
        _require_address(proxy)
    if not _is_loopback(settings.host) and not tls and not proxies:
        raise UsageError(
            f"On {settings.host} passwords would be sent unencrypted.",
            "Give --tls-cert and --tls-key, or --trusted-proxy with the address of the proxy that"
            " does TLS.",
        )
    if settings.user_header and not proxies:
        raise UsageError(
            "--user-header needs a trusted proxy.", "Set its address with --trusted-proxy."
        )
    scheme, hosts = "https" if tls else "http", _own_hosts(settings)
    if settings.public_url:
        public = urlsplit(settings.public_url)
        if public.scheme not in ("http", "https") or not public.netloc or "@" in public.netloc:
            raise UsageError(
                f"{settings.public_url!r} is not a valid page address.",
                "Example: https://chat.example.org",
            )
        scheme, hosts = public.scheme, frozenset({public.netloc})
    only = not _is_loopback(settings.host) and not tls
    return Address(scheme, hosts, proxies, settings.user_header or "", only)


def openid_of(settings: Settings, address: Address) -> OpenId | None:
    """Return the OpenID provider for signing in, or None. Raises UsageError."""
    issuer, client = settings.oidc_issuer, settings.oidc_client
    if not issuer:
        return None
    if find_spec("authlib") is None:
        raise UsageError(
            "Signing in at an OpenID provider needs the package authlib, which is not installed.",
            f"Install it: {install_command('authlib')}",
        )
    parts = urlsplit(issuer)
    if parts.scheme != "https" and not _is_loopback(parts.hostname or ""):
        raise UsageError(f"--oidc-issuer {issuer} is not an https:// address.")
    if not client:
        raise UsageError("--oidc-issuer needs --oidc-client, the page's client ID at the provider.")
    return OpenId(
        Provider(
            issuer,
            client,
            settings.environment.get(SECRET_VARIABLE, "").strip(),
            _shown(settings, address).rstrip("/") + BACK,
            settings.oidc_name,
            tuple(each.lower() for each in settings.oidc_domains),
            settings.oidc_groups,
            settings.oidc_new_users,
        )
    )


def _own_hosts(settings: Settings) -> frozenset[str]:
    names = [settings.host, socket.gethostname()]
    names += ["127.0.0.1", "localhost"] if _is_loopback(settings.host) else []
    return frozenset(f"{f'[{name}]' if ':' in name else name}:{settings.port}" for name in names)


def _require_address(text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError as problem:
        raise UsageError(
            f"--trusted-proxy {text} is not an address.", "Example: 127.0.0.1"
        ) from problem


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls(settings: Settings) -> tuple[str, str] | None:
    if not settings.tls_cert or not settings.tls_key:
        return None
    for path in (settings.tls_cert, settings.tls_key):
        if not os.path.isfile(path):
            raise UsageError(f"File not found: {path}.")
    return settings.tls_cert, settings.tls_key


def _shown(settings: Settings, address: Address) -> str:
    return settings.public_url or f"{address.scheme}://{settings.host}:{settings.port}"
