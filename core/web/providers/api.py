"""The page's API for providers: list, state, models and downloads."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.commands import all_commands
from core.config.provider_settings import FIELDS
from core.errors import ChatError, UsageError
from core.model_manager import Target, build_model_list, can_fetch, find_target
from core.models.facts import known_facts
from core.models.health import Listed, check, list_models, set_up
from core.providers import ModelInfo
from core.providers.hosts import find_host
from core.providers.parameters import lacks_of
from core.providers.purpose import chats
from core.web.api import body_of, guarded, text_of
from core.web.number_api import NumberApi
from core.web.providers.pulls import Pulls
from core.web.providers.rows import ProviderRows
from core.web.providers.setup import ProviderSetup, known_name
from core.web.shared import Shared
from core.web.team.member_limits import may_use
from db import Store

FRESH_SECONDS = 60.0    # seconds for which a model list is cached
USED_DAYS = 90          # days after which a model counts as unused


class ProviderApi:
    """The routes about models and providers."""

    def __init__(self, shared: Shared, store: Store | None) -> None:
        self._shared, self._store = shared, store
        self._rows = ProviderRows(shared)
        self._setup = ProviderSetup(shared, self._rows)
        self._numbers = NumberApi(store, self._rows.runs_here)
        self._pulls = Pulls(shared)
        self._listed: tuple[float, list[Listed]] = (0.0, [])
        shared.followers.append(self._ask_again)

    def routes(self) -> list[Route]:
        one = "/api/providers/{name}"
        rows = [
            ("GET", "/api/start", self.start), ("GET", "/api/commands", self.commands),
            ("GET", "/api/models", self.models), ("GET", "/api/providers", self.providers),
            ("GET", one, self.one), ("POST", f"{one}/test", self.test),
            ("GET", "/api/pulls", self.pulls), ("POST", "/api/pulls", self.pull),
            ("DELETE", "/api/pulls/{model:path}", self.stop_pull),
        ]
        own = [Route(path, guarded(handler), methods=[method]) for method, path, handler in rows]
        return [*own, *self._setup.routes(), *self._numbers.routes()]

    async def close(self) -> None:
        await self._pulls.close()
        await self._shared.close()

    async def start(self, request: Request) -> Response:
        target = build_model_list(self._shared.settings)[0]
        local = [name for name in self._rows.names() if self._rows.runs_here(name)]
        settings = self._shared.settings
        member = settings.user if settings.team else None
        return JSONResponse(
            dict(model=str(target), local=local, member=member, signs_out=not settings.user_header)
        )

    async def commands(self, request: Request) -> Response:
        rows = [{"name": entry.name, "usage": entry.usage, "help": entry.help.splitlines()[0],
                 "completes": False, "prompt": False} for entry in all_commands().values()
                if not self._shared.settings.team or may_use(entry.name)]
        return JSONResponse({"commands": rows})

    # ---- models

    async def models(self, request: Request) -> Response:
        """Return the models of all configured providers; other offered providers have none."""
        at, listed = self._listed
        if time.monotonic() - at > FRESH_SECONDS or request.query_params.get("again"):
            names = set_up(self._shared.providers)
            listed = await list_models(self._shared.providers, names)
            self._listed = (time.monotonic(), listed)
            for entry in listed:
                self._rows.note_error(entry.provider, entry.error)
        mine = {entry.provider for entry in listed}
        offered = [Listed(name) for name in self._rows.listed() if name not in mine]
        return JSONResponse({"providers": [
            {**self._rows.row(entry.provider), "models": self._models(entry)}
            for entry in [*listed, *offered]]})

    async def _ask_again(self) -> None:
        self._listed = (0.0, [])

    def _models(self, listed: Listed) -> list[dict[str, Any]]:
        return [self._model(listed.provider, info) for info in listed.models]

    def _model(self, provider: str, info: ModelInfo) -> dict[str, Any]:
        facts = known_facts(Target(provider, info.name), self._shared.providers, info)
        return {"name": info.name, "window": facts.context_window, "tools": bool(facts.tools),
                "vision": bool(facts.vision), "thinking": bool(facts.thinking), "size": info.size,
                "chats": chats(info),
                "input_price": facts.input_price, "output_price": facts.output_price}

    # ---- providers

    async def providers(self, request: Request) -> Response:
        return JSONResponse({"providers": self._rows.rows()})

    async def test(self, request: Request) -> Response:
        name = known_name(self._shared, request)
        self._rows.note(name, await check(self._shared.providers, name))
        return JSONResponse(self._rows.row(name))

    async def one(self, request: Request) -> Response:
        """Return a provider with its settings and its models, which are requested from it."""
        name = known_name(self._shared, request)
        [listed] = await list_models(self._shared.providers, [name])
        self._rows.note_error(name, listed.error)
        used = self._used(name)
        models = [{**row, "used": used.get(row["name"])} for row in self._models(listed)]
        host = find_host(name)
        return JSONResponse({
            **self._rows.row(name), "models": models, "fields": self._fields(name),
            "default_model": self._shared.providers.host(name).default_model,
            "pulls": self._can_pull(name), "first_model": host.first_model if host else ""})

    def _fields(self, name: str) -> list[dict[str, str]]:
        """Return the settings of a provider with the user's values."""
        providers = self._shared.providers
        entry, host = providers.entry(name), providers.host(name)
        lacks = {*lacks_of(host.dialect), *(() if host.server else ("base_url",))}
        return [{"name": field, "value": _written(entry.get(field))}
                for field in FIELDS if field not in lacks]

    def _used(self, name: str) -> dict[str, int]:
        """Return how many days ago each model of a provider was last used."""
        now = time.time()
        since = now - USED_DAYS * 86_400
        calls = self._store.calls(since) if self._store is not None else []
        return {call.model: int((now - call.created) // 86_400)
                for call in calls if call.provider == name}

    def _can_pull(self, name: str) -> bool:
        try:
            return can_fetch(Target(name, "any"), self._shared.providers)
        except ChatError:
            return False

    # ---- pulling models

    async def pulls(self, request: Request) -> Response:
        return JSONResponse({"pulls": self._pulls.rows()})

    async def pull(self, request: Request) -> Response:
        model = text_of(await body_of(request), "model").strip()
        if not model:
            raise UsageError("The model name is missing.", "For example llama3.2:3b.")
        self._pulls.start(find_target(model, self._shared.settings))
        return JSONResponse({"pulls": self._pulls.rows()}, 202)

    async def stop_pull(self, request: Request) -> Response:
        await self._pulls.stop(str(request.path_params["model"]))
        return JSONResponse({"pulls": self._pulls.rows()})


def _written(value: object) -> str:
    return "" if value is None else str(value)
