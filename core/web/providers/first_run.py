"""The first page, when nothing is configured: possible sources of answers, and the demo."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.engine.models import SMALLEST
from core.errors import ChatError, ProviderError, UsageError
from core.model_manager import Providers, Target, build_model_list, chosen, resolve_target
from core.models.health import check
from core.providers.hosts import DEFAULT_PROVIDER, DEMO, hosts
from core.setup.model import DEMO_TARGET, first_target, no_model, remember, runner
from core.web.api import body_of, guarded, text_of
from core.web.shared import Shared


class FirstRun:
    """The routes under /api/first."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        # whether the demo was chosen in this run; with --no-save this is not saved
        self._demo = False

    def routes(self) -> list[Route]:
        return [Route("/api/first", guarded(self.look), methods=["GET"]),
                Route("/api/first", guarded(self.choose_demo), methods=["POST"])]

    async def look(self, request: Request) -> Response:
        """Return the model for a new session, or the choices if none is configured (`set_up`
        false).
        """
        try:
            target = await self._first()
        except ProviderError:
            return JSONResponse({"set_up": False, "server": await self._server(),
                                 "small": self._small(),
                                 "cloud": _cloud()})
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
        """Return a provider's default model; a target without a model if it has none."""
        try:
            return await resolve_target(named, self._shared.providers)
        except ChatError:
            return named

    async def choose_model(self, error: ProviderError, providers: Providers) -> Target:
        """Return the model for a chat if nothing is configured.

        Raises ProviderError before anything is chosen.
        """
        if not self._demo:
            raise no_model(error) from error
        return DEMO_TARGET

    async def _server(self) -> dict[str, Any]:
        """Return the state of the default server."""
        health = await check(self._shared.providers, DEFAULT_PROVIDER)
        return {"ok": health.ok, "address": health.address, "advice": " ".join(health.advice)}

    def _small(self) -> dict[str, Any]:
        missing = ""
        try:
            runner(self._shared.providers).engine_program()
        except ChatError as error:
            missing = f"{error.message} {error.hint}"
        return {"name": SMALLEST.name, "size": SMALLEST.download_size, "licence": SMALLEST.licence,
                "good_for": SMALLEST.good_for, "missing": missing}

    async def choose_demo(self, request: Request) -> Response:
        if text_of(await body_of(request), "choice") != DEMO:
            raise UsageError("Only the demo can be chosen here.",
                             "Set up a provider to use a model.")
        self._demo = True
        remember(self._shared.settings, DEMO_TARGET)
        return JSONResponse({"model": str(DEMO_TARGET)})


def _cloud() -> dict[str, Any]:
    cloud = [host for host in hosts() if host.kind == "cloud"]
    named = [host.title or host.name for host in cloud if host.offered]
    return {"named": named, "others": len(cloud) - len(named)}
