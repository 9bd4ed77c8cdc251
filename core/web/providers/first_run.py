"""The first page, when nothing is configured: possible sources of answers, and the demo."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.config import Settings
from core.config.network import is_loopback
from core.engine.models import SMALLEST
from core.errors import ChatError, ProviderError, UsageError
from core.model_manager import Providers, Target, build_model_list, chosen, resolve_target
from core.models.health import check, list_models, missing_for
from core.providers.hosts import DEFAULT_PROVIDER, DEMO, find_host, hosts
from core.setup.model import (
    DEMO_TARGET, first_target, newest_local, no_model, remember, without_engine)
from core.web.api import body_of, guarded, text_of
from core.web.shared import Shared


class FirstRun:
    """The routes under /api/first."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        # whether the demo was chosen in this run; with --no-save this is not saved
        self._demo = False
        # what new sessions use while the chosen server cannot be reached
        self._instead: Target | None = None

    def routes(self) -> list[Route]:
        return [Route("/api/first", guarded(self.look), methods=["GET"]),
                Route("/api/first", guarded(self.choose_demo), methods=["POST"])]

    async def look(self, request: Request) -> Response:
        """Return the model for a new session, or the choices if none is configured (`set_up`
        false).
        """
        try:
            target = await self._first()
        except ProviderError as error:
            said = str(error) if chosen(self._shared.settings) else ""
            return JSONResponse({"set_up": False, "server": await self._server(),
                                 "small": self._small(), "cloud": _cloud(), "chosen": said})
        return JSONResponse({"set_up": True, "model": str(target)})

    async def _first(self) -> Target:
        named = build_model_list(self._shared.settings)[0]
        if named.model:
            return named
        if chosen(self._shared.settings):
            return await self._default_of(named)
        return (await first_target(self._shared.settings, self._shared.providers,
                                   self.choose_model))[0]

    async def _default_of(self, named: Target) -> Target:
        """Return the chosen provider's default model, or a target without a model if the user can
        choose among its models. While it has none, lacks its key or cannot be reached: what was
        chosen on the page, or a model on this computer.

        Raises ProviderError without any of these.
        """
        providers = self._shared.providers
        self._instead = None
        try:
            missing = missing_for(named.provider, providers)
            if missing:
                raise UsageError(f"{named.provider} needs {missing}.")
            return await resolve_target(named, providers)
        except ChatError as error:
            if (await list_models(providers, [named.provider]))[0].models:
                return named
            self._instead = DEMO_TARGET if self._demo else newest_local(providers)
            if self._instead is None:
                raise ProviderError(error.message, error.hint) from error
            return self._instead

    async def for_new_session(self) -> Settings:
        """Return the settings of a new session: the page's, with what is used instead of the chosen
        server while that cannot be reached.
        """
        settings = self._shared.settings
        if self._instead is not None:
            with suppress(ProviderError):
                await self._first()
        if self._instead is None:
            return settings
        return settings.replace(provider=None, base_url=None, model=str(self._instead))

    async def choose_model(self, error: ProviderError, providers: Providers) -> Target:
        """Return the model for a chat if nothing is configured.

        Raises ProviderError before anything is chosen.
        """
        if not self._demo:
            raise no_model(error, providers) from error
        return DEMO_TARGET

    async def _server(self) -> dict[str, Any]:
        """Return the state of the default server, and the model to download if it has none."""
        health = await check(self._shared.providers, DEFAULT_PROVIDER)
        host = find_host(DEFAULT_PROVIDER)
        return {"ok": health.ok, "address": health.address, "here": is_loopback(health.address),
                "model": f"{DEFAULT_PROVIDER}/{host.first_model if host else ''}"}

    def _small(self) -> dict[str, Any]:
        return {"name": SMALLEST.name, "size": SMALLEST.download_size, "licence": SMALLEST.licence,
                "good_for": SMALLEST.good_for, "missing": without_engine(self._shared.providers)}

    async def choose_demo(self, request: Request) -> Response:
        if text_of(await body_of(request), "choice") != DEMO:
            raise UsageError("Only the demo can be chosen here.",
                             "Set up a provider to use a model.")
        self._demo = True
        settings = self._shared.settings
        if chosen(settings) and not build_model_list(settings)[0].model:
            self._instead = DEMO_TARGET
        remember(self._shared.settings, DEMO_TARGET)
        return JSONResponse({"model": str(DEMO_TARGET)})


def _cloud() -> dict[str, Any]:
    cloud = [host for host in hosts() if host.kind == "cloud"]
    named = [host.title or host.name for host in cloud if host.offered]
    return {"named": named, "others": len(cloud) - len(named)}
