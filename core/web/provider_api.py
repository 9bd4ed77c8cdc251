"""What the page asks about providers: which there are, whether they respond, their models,
keys and downloads.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.commands import all_commands
from core.config.keys import keep_key
from core.config.provider_settings import FIELDS, set_provider
from core.config.sources import load_providers
from core.dataclass import dataclass
from core.errors import ChatError, UsageError
from core.model_manager import Target, build_model_list, can_fetch, find_target, provider_name
from core.models.facts import known_facts
from core.models.health import (Listed, all_names, check, list_models, missing_for, set_up,
                                stored_names)
from core.providers import ModelInfo
from core.config.network import is_loopback
from core.providers.parameters import lacks_of
from core.stats.report import ModelStats, day_of, days_between, quantile, summarise
from core.store.rows import CallRow
from core.web.api import body_of, guarded, text_of
from core.web.pulls import Pulls
from core.web.shared import Shared
from db import Store

KINDS = ("cloud", "local")      # of a hybrid one: elsewhere, on this computer
FRESH_SECONDS = 60.0    # for which a list of models is not asked for again


@dataclass(frozen=True, slots=True)
class _Checked:
    state: str
    why: str
    at: float


class ProviderApi:
    """The routes about models and providers, and the figures of what was asked of them."""

    def __init__(self, shared: Shared, store: Store | None) -> None:
        self._shared, self._store = shared, store
        self._pulls = Pulls(shared)
        self._checked: dict[str, _Checked] = {}
        self._listed: tuple[float, list[Listed]] = (0.0, [])

    def routes(self) -> list[Route]:
        one = "/api/providers/{name}"
        rows = [
            ("GET", "/api/start", self.start), ("GET", "/api/commands", self.commands),
            ("GET", "/api/models", self.models), ("GET", "/api/providers", self.providers),
            ("POST", f"{one}/test", self.test), ("PUT", f"{one}/key", self.key),
            ("GET", one, self.one), ("PUT", f"{one}/settings", self.change),
            ("GET", "/api/pulls", self.pulls), ("POST", "/api/pulls", self.pull),
            ("DELETE", "/api/pulls/{model:path}", self.stop_pull),
            ("GET", "/api/numbers", self.numbers),
        ]
        return [Route(path, guarded(handler), methods=[method]) for method, path, handler in rows]

    async def close(self) -> None:
        await self._pulls.close()
        await self._shared.close()

    async def start(self, request: Request) -> Response:
        target = build_model_list(self._shared.settings)[0]
        local = [name for name in self._names() if self._runs_here(name)]
        return JSONResponse(dict(model=str(target), local=local))

    async def commands(self, request: Request) -> Response:
        rows = [{"name": entry.name, "usage": entry.usage, "help": entry.help.splitlines()[0],
                 "completes": False, "prompt": False} for entry in all_commands().values()]
        return JSONResponse({"commands": rows})

    # ---- providers

    async def models(self, request: Request) -> Response:
        at, listed = self._listed
        if time.monotonic() - at > FRESH_SECONDS or request.query_params.get("again"):
            listed = await list_models(self._shared.providers, set_up(self._shared.providers))
            self._listed = (time.monotonic(), listed)
            for entry in listed:
                self._note(entry.provider, entry.error)
        return JSONResponse({"providers": [self._with_models(entry) for entry in listed]})

    def _with_models(self, listed: Listed) -> dict[str, Any]:
        return {**self._row(listed.provider),
                "models": [self._model(listed.provider, info) for info in listed.models]}

    def _model(self, provider: str, info: ModelInfo) -> dict[str, Any]:
        facts = known_facts(Target(provider, info.name), self._shared.providers, info)
        return {"name": info.name, "window": facts.context_window, "tools": bool(facts.tools),
                "vision": bool(facts.vision), "thinking": bool(facts.thinking), "size": info.size,
                "input_price": facts.input_price, "output_price": facts.output_price}

    async def providers(self, request: Request) -> Response:
        return JSONResponse({"providers": [self._row(name) for name in self._names()]})

    def _row(self, name: str) -> dict[str, Any]:
        missing = missing_for(name, self._shared.providers)
        checked = self._checked.get(name)
        row: dict[str, Any] = {"name": name, "kind": self._kind(name), "state": "unknown",
                               "why": missing}
        try:
            host = self._shared.providers.host(name)
            address = self._shared.providers.base_url(name, host) if host.base_url else ""
            row |= {"dialect": host.dialect, "default_model": host.default_model or "",
                    "address": address,
                    "takes_key": bool(host.key_variables), "has_key": self._has_key(name)}
        except ChatError as error:
            row["why"] = error.message
        if missing:
            return {**row, "state": "warn"}
        if checked is not None:
            row |= {"state": checked.state, "why": checked.why,
                    "when": _ago(time.monotonic() - checked.at)}
        return row

    def _has_key(self, name: str) -> bool:
        """Whether a key is known, wherever it is; some providers need none."""
        providers = self._shared.providers
        environment = providers.settings.environment
        return (any(environment.get(variable) for variable in providers.host(name).key_variables)
                or bool(providers.entry(name).get("api_key")) or name in stored_names(environment))

    def _kind(self, name: str) -> str:
        """Under which heading a provider is listed: a hybrid one by its address."""
        try:
            kind = self._shared.providers.host(name).kind
        except ChatError:
            return "cloud"
        return kind if kind != "hybrid" else KINDS[self._runs_here(name)]

    def _runs_here(self, name: str) -> bool:
        """Whether nothing leaves this computer, as far as the address shows."""
        try:
            host = self._shared.providers.host(name)
            address = self._shared.providers.base_url(name, host) if host.base_url else ""
        except ChatError:
            return False
        return host.kind != "cloud" and (is_loopback(address) if address else host.kind == "local")

    def _names(self) -> list[str]:
        return all_names(self._shared.providers)

    def _note(self, name: str, error: ChatError | None) -> None:
        self._checked[name] = _Checked("bad" if error else "ok", error.message if error else "",
                                       time.monotonic())

    async def test(self, request: Request) -> Response:
        name = self._named(request)
        health = await check(self._shared.providers, name)
        said = health.said if not health.ok else f"{health.said} ({health.seconds * 1000:.0f} ms)"
        why = ". ".join([said, *health.advice])
        self._checked[name] = _Checked("ok" if health.ok else "bad", why, time.monotonic())
        return JSONResponse(self._row(name))

    async def key(self, request: Request) -> Response:
        name, body = self._named(request), await body_of(request)
        base_url = self._shared.providers.base_url(name, self._shared.providers.host(name))
        place = keep_key(self._shared.settings.environment, name, text_of(body, "key"), base_url)
        self._listed = (0.0, [])
        await self._shared.providers.close()       # what was opened without it is opened anew
        return JSONResponse({"said": f"Stored in {place}. It is sent to {base_url} and "
                             "nowhere else."})

    async def one(self, request: Request) -> Response:
        """A provider with its models and what can be set for it;
        the provider is asked for its models.
        """
        name = self._named(request)
        [listed] = await list_models(self._shared.providers, [name])
        self._note(name, listed.error)
        entry, lacks = (self._shared.providers.entry(name),
                        lacks_of(self._shared.providers.host(name).dialect))
        fields = [{"name": field, "value": _written(entry.get(field))}
                  for field in FIELDS if field not in lacks]
        return JSONResponse({**self._with_models(listed), "fields": fields,
                             "pulls": self._can_pull(name)})

    def _can_pull(self, name: str) -> bool:
        try:
            return can_fetch(Target(name, "any"), self._shared.providers)
        except ChatError:
            return False

    async def change(self, request: Request) -> Response:
        """Set the address, the default model and parameters of a provider,
        for all sessions from now on.
        """
        name, body = self._named(request), await body_of(request)
        environment = self._shared.settings.environment
        set_provider(environment, name, {field: text_of(body, field) for field in body})
        await self._shared.change(
            self._shared.settings.replace(providers=load_providers(self._shared.settings)))
        self._listed = (0.0, [])
        return JSONResponse(self._row(name))

    def _named(self, request: Request) -> str:
        name = provider_name(str(request.path_params["name"]))
        self._shared.providers.host(name)          # raises UsageError for an unknown one
        return name

    # ---- pulling models

    async def pulls(self, request: Request) -> Response:
        return JSONResponse({"pulls": self._pulls.rows()})

    async def pull(self, request: Request) -> Response:
        model = text_of(await body_of(request), "model").strip()
        if not model:
            raise UsageError("The model has no name.", "For example llama3.2:3b.")
        self._pulls.start(find_target(model, self._shared.settings))
        return JSONResponse({"pulls": self._pulls.rows()}, 202)

    async def stop_pull(self, request: Request) -> Response:
        await self._pulls.stop(str(request.path_params["model"]))
        return JSONResponse({"pulls": self._pulls.rows()})

    # ---- numbers

    async def numbers(self, request: Request) -> Response:
        written = request.query_params.get("days", "7")
        days = min(int(written), 3660) if written.isascii() and written.isdigit() else 7
        since = time.time() - days * 86_400
        calls = self._store.calls(since) if self._store is not None else []
        found = summarise(calls)
        rows = [_row_of(entry) for entry in found]
        return JSONResponse({"days": self._days(calls, since if days <= 31 else None),
                             "figures": _figures(found), "table": {
            "columns": list(rows[0]) if rows else [], "rows": [list(row.values()) for row in rows],
            "note": "Prices are estimates from a dated table."}})

    def _days(self, calls: Sequence[CallRow], since: float | None) -> list[dict[str, Any]]:
        """Tokens of each day from then on (None: from the first call on),
        on this computer and elsewhere.
        """
        tokens: Counter[tuple[str, bool]] = Counter()
        for call in calls:
            tokens[day_of(call.created), self._runs_here(call.provider)] += (
                (call.input_tokens or 0) + (call.output_tokens or 0))
        seen = [day for day, _ in tokens]
        first = min(seen, default="") if since is None else day_of(since)
        shown = days_between(first, max(*seen, day_of(time.time()))) if seen else []
        return [dict(day=day, local=tokens[day, True], cloud=tokens[day, False]) for day in shown]


def _written(value: object) -> str:
    return "" if value is None else str(value)


def _figures(found: Sequence[ModelStats]) -> list[dict[str, str]]:
    """The four figures at the top of the page."""
    given = sum(entry.input_tokens for entry in found)
    made = sum(entry.output_tokens for entry in found)
    calls = sum(entry.calls for entry in found)
    failed = sum(entry.errors.total() for entry in found)
    cost = sum(entry.cost or 0.0 for entry in found)
    firsts = [first for entry in found for first in entry.firsts]
    median, most = quantile(firsts, 0.5), quantile(firsts, 0.95)
    return [
        {"label": "Tokens", "value": f"{given + made:,}", "note": f"{given:,} in, {made:,} out"},
        {"label": "Cost", "value": f"${cost:.2f}", "note": f"{calls:,} calls"},
        {"label": "First word", "value": "" if median is None else f"{median:.2f} s",
         "note": "" if most is None else f"median; 95 % under {most:.1f} s"},
        {"label": "Complete calls", "value": f"{100 * (calls - failed) / calls:.1f} %" if calls
         else "",
         "note": f"{failed:,} failed"},
    ]


def _row_of(stats: ModelStats) -> dict[str, str]:
    entry = stats.to_dict()
    first = entry["first_content_seconds"]["median"]
    speed = entry["tokens_per_second"]["median"]
    return {"model": f"{entry['provider']}/{entry['model']}", "calls": f"{entry['calls']:,}",
            "tokens in": f"{entry['input_tokens']:,}", "tokens out": f"{entry['output_tokens']:,}",
            "cached": f"{entry['cached_tokens']:,}",
            "cost": "" if entry["cost"] is None else f"${entry['cost']:.4f}",
            "first token": "" if first is None else f"{first:.2f} s",
            "tokens/s": "" if speed is None else f"{speed:.0f}",
            "failed": f"{entry['failed']:,}"}


def _ago(seconds: float) -> str:
    return "checked just now" if seconds < 60 else f"checked {seconds / 60:.0f} min ago"
