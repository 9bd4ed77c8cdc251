"""Sets up providers from the page: adds and removes them, stores keys and settings."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.config.keys import keep_key, remove_key, valid_key
from core.config.provider_settings import add_provider, remove_provider, set_provider
from core.config.sources import load_providers
from core.errors import UsageError
from core.model_manager import POOL, provider_name
from core.providers import installed_names
from core.providers.addresses import require_address
from core.providers.hosts import Host, find_host, hosts
from core.regex import regex
from core.web.api import body_of, guarded, text_of
from core.web.providers.rows import ProviderRows
from core.web.shared import Shared

_NAME = regex(r"[a-z0-9][a-z0-9._-]{0,39}")


class ProviderSetup:
    """The routes that change providers. Open sessions use the new settings from their next message
    on.
    """

    def __init__(self, shared: Shared, rows: ProviderRows) -> None:
        self._shared, self._rows = shared, rows

    def routes(self) -> list[Route]:
        one = "/api/providers/{name}"
        rows = [
            ("POST", "/api/providers", self.add), ("DELETE", one, self.remove),
            ("PUT", f"{one}/key", self.store_key), ("DELETE", f"{one}/key", self.delete_key),
            ("PUT", f"{one}/settings", self.change),
        ]
        return [Route(path, guarded(handler), methods=[method]) for method, path, handler in rows]

    async def add(self, request: Request) -> Response:
        """Set up a known provider, or the user's own server by its address."""
        body = await body_of(request)
        name, base_url = text_of(body, "name").strip(), text_of(body, "base_url").strip()
        key = valid_key(text_of(body, "key")) if body.get("key") else ""
        host = find_host(name)
        if base_url:
            require_address(name, base_url)
        if host is None:
            name = self._new_name(name)
            add_provider(self._environment, name, base_url, _dialect(text_of(body, "dialect")))
        else:
            name = host.name
            self._set_up(host, base_url)
        await self._reload(name)
        if key:
            self._keep(name, key)
            await self._reload(name)
        return JSONResponse(self._rows.row(name), 201)

    def _set_up(self, host: Host, base_url: str) -> None:
        """Store the address; by default that of a server on this computer."""
        address = base_url or ("" if host.kind == "cloud" else host.base_url)
        if address:
            set_provider(self._environment, host.name, {"base_url": address})

    def _new_name(self, written: str) -> str:
        name = re.sub(r"\s+", "-", written.lower())
        if not _NAME.fullmatch(name):
            raise UsageError("Not a valid provider name.",
                             "Use up to 40 letters, digits and - . _ and begin with a letter or "
                             "digit.")
        if name in (POOL, *self._rows.names(), *installed_names()):
            raise UsageError(f"The provider {name} exists already.", "Choose another name.")
        return name

    async def remove(self, request: Request) -> Response:
        """Remove what the page or --set-key stored for a provider."""
        name = self._named(request)
        if not self._rows.row(name)["removable"]:
            raise UsageError(f"{name} was not added here.",
                             "It is built in or defined in the configuration file.")
        remove_key(self._environment, name)
        remove_provider(self._environment, name)
        await self._reload(name)
        return JSONResponse({})

    async def store_key(self, request: Request) -> Response:
        name, body = self._named(request), await body_of(request)
        self._keep(name, text_of(body, "key"))
        await self._reload(name)
        return JSONResponse(self._rows.row(name))

    def _keep(self, name: str, key: str) -> None:
        """Store a key for the provider's current address."""
        providers = self._shared.providers
        keep_key(self._environment, name, key, providers.base_url(name, providers.host(name)))

    async def delete_key(self, request: Request) -> Response:
        name = self._named(request)
        remove_key(self._environment, name)
        await self._reload(name)
        return JSONResponse(self._rows.row(name))

    async def change(self, request: Request) -> Response:
        """Set address, default model and parameters for all sessions from now on."""
        name, body = self._named(request), await body_of(request)
        changes = {field: text_of(body, field).strip() for field in body}
        if changes.get("base_url"):
            require_address(name, changes["base_url"])
        set_provider(self._environment, name, changes)
        await self._reload(name)
        return JSONResponse(self._rows.row(name))

    async def _reload(self, name: str) -> None:
        """Use the stored settings and keys from now on."""
        self._rows.forget(name)
        settings = self._shared.settings
        await self._shared.change(settings.replace(providers=load_providers(settings)))

    @property
    def _environment(self) -> dict[str, str]:
        return dict(self._shared.settings.environment)

    def _named(self, request: Request) -> str:
        return known_name(self._shared, request)


def known_name(shared: Shared, request: Request) -> str:
    """Return the provider in a path. Raises UsageError for an unknown one."""
    name = provider_name(str(request.path_params["name"]))
    shared.providers.host(name)
    return name


def _dialect(written: str) -> str:
    known = sorted({host.dialect for host in hosts() if host.server})
    if written not in known:
        raise UsageError(f"{written or 'Nothing'} is not a known API.",
                         f"Known: {', '.join(known)}.")
    return written
