"""Tables of providers, models and their health, for slash commands and command line options."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from core.config import Settings
from core.config.agents import described
from core.errors import ChatError
from core.model_manager import POOL, Providers, Target, pool_entry
from core.models.facts import ModelFacts, known_facts, short_count, yes_no
from core.models.health import (Health, Listed, all_names, check_all, list_models, missing_for,
                                set_up)
from core.providers import CanListRunning, ModelInfo
from core.providers.foreign import AT_ONCE, MOST_ENTRIES
from core.providers.parameters import lacks_of
from core.rendering.table import Choices, Table

PRICED = "Prices are estimates for a million tokens of input and output."
WITHIN = "/model NAME switches, /models pull NAME downloads."


def provider_table(providers: Providers) -> Table:
    """Return a table of all known providers, without using the network."""
    names = all_names(providers)
    pools = _pool_records(providers)
    return Table(("provider", "dialect", "kind", "address", "default model", "window", "formats",
                  "missing"),
                 (*(_provider_row(name, providers) for name in names), *map(_pool_row, pools)),
                 "Details: --help providers. The configuration file can add others "
                 "(--help configuration).",
                 optional=("formats", "window", "dialect", "address", "default model"),
                 records=(*(_provider_record(name, providers) for name in names), *pools))


def _provider_record(name: str, providers: Providers) -> dict[str, object]:
    try:
        host = providers.host(name)
        address = providers.base_url(name, host) if host.base_url else ""
    except ChatError as error:
        return {"provider": name, "missing": error.message}
    model = host.default_model
    window = known_facts(Target(name, model), providers).context_window if model else None
    formats = (["text"] if "response_format" in lacks_of(host.dialect)
               else ["text", "json", "schema"])
    return {"provider": name, "dialect": host.dialect, "kind": host.kind,
            "address": address or None,
            "default_model": model or None, "context_window": window, "formats": formats,
            "missing": missing_for(name, providers) or None}


def _provider_row(name: str, providers: Providers) -> tuple[str, ...]:
    record = _provider_record(name, providers)
    if "dialect" not in record:
        return (name, "", "", "", "", "", "", str(record["missing"]))
    window, formats = record["context_window"], record["formats"]
    assert isinstance(formats, list) and (window is None or isinstance(window, int))
    shown = [str(record[key] or "-") for key in ("dialect", "kind", "address", "default_model")]
    return (name, *shown, short_count(window), ", ".join(formats), str(record["missing"] or "-"))


def _pool_records(providers: Providers) -> list[dict[str, object]]:
    """Return rows for the pools in the configuration."""
    records: list[dict[str, object]] = []
    for name in providers.settings.pools:
        record: dict[str, object] = {"provider": f"{POOL}/{name}", "kind": POOL, "missing": None}
        try:
            members, prefer = pool_entry(str(name), providers.settings)
            record |= {"members": [str(member) for member in members], "prefer": prefer}
        except ChatError as error:
            record |= {"members": [], "prefer": None, "missing": error.message}
        records.append(record)
    return records


def _pool_row(record: Mapping[str, object]) -> tuple[str, ...]:
    members = record["members"]
    assert isinstance(members, list)
    by = f"by {record['prefer']}" if members else ""
    return (str(record["provider"]), "", POOL, by, ", ".join(members), "", "",
            str(record["missing"] or "-"))


def agent_table(settings: Settings) -> Table:
    """Return a table of the agents in the configuration."""
    rows = tuple((str(name), *described(entry)) for name, entry in settings.agents.items())
    return Table(("agent", "model", "about", "also sets"), rows,
                 "Start as one with --as NAME, or switch with /as NAME.")


async def model_table(providers: Providers, only: str = "", current: Target | None = None) -> Table:
    """Return a table of the models of all configured providers, listed at the same time; a provider
    that failed shows why.

    `current` is the model in use.
    """
    names = [only] if only else set_up(providers)
    found = await list_models(providers, names)
    loaded = await _loaded(found, providers)
    rows: list[tuple[str, ...]] = []
    records: list[dict[str, object]] = []
    for listed in found:
        rows += ([_unlisted_row(listed, providers)] if listed.error is not None or not listed.models
                 else [])
        records += [_unlisted_record(listed)] if listed.error is not None else []
        for number, info in enumerate(listed.models):
            target = Target(listed.provider, info.name)
            facts = known_facts(target, providers, info)
            rows.append(_model_row(target, info, facts, loaded=target in loaded))
            records.append(_model_record(target, info, facts, loaded=target in loaded))
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        rows += [_cut_row(listed)] if len(listed.models) >= MOST_ENTRIES else []
    groups = [row[0].partition("/")[0] for row in rows]
    names = [row[0].partition("/")[2] for row in rows]
    used = frozenset(number for number, row in enumerate(rows)
                     if current and row[0].removesuffix(":latest")
                     == str(current).removesuffix(":latest"))
    priced = PRICED if any("$" in row[3] for row in rows) else ""
    return Table(("model", "window", "can", "size or price", "note"), tuple(rows),
                 " ".join(filter(None, (priced, WITHIN if current else ""))),
                 optional=("can", "size or price"), records=tuple(records), choices=Choices(
                     tuple(groups), tuple(names), used, quiet=frozenset((3, 4)),
                     right=frozenset((1,))))


async def _loaded(found: list[Listed], providers: Providers) -> set[Target]:
    """Return the models loaded in a server's memory, if it reports them."""
    loaded: set[Target] = set()
    for listed in found:
        if listed.error is not None or not providers.lists_running(listed.provider):
            continue
        provider = providers.open(listed.provider)
        assert isinstance(provider, CanListRunning)
        try:
            running = await providers.ask(listed.provider, provider.running())
            loaded |= {Target(listed.provider, info.name) for info in running}
        except ChatError:
            continue
    return loaded


def _model_record(target: Target, info: ModelInfo, facts: ModelFacts, *,
                  loaded: bool) -> dict[str, object]:
    return {"provider": target.provider, "model": str(target),
            "context_window": facts.context_window,
            "output_limit": facts.output_limit, "tools": facts.tools, "vision": facts.vision,
            "thinking": facts.thinking, "input_price": facts.input_price,
            "output_price": facts.output_price,
            "bytes": info.size, "loaded": loaded}


def _model_row(target: Target, info: ModelInfo, facts: ModelFacts, *,
               loaded: bool) -> tuple[str, ...]:
    """Return a row; unknown cells are empty."""
    can = [name for name, able in (("tools", facts.tools), ("images", facts.vision),
                                   ("thinking", facts.thinking)) if able]
    return (str(target), short_count(facts.context_window) if facts.context_window else "",
            ", ".join(can),
            _size(info.size) if info.size is not None else _prices(facts),
            "loaded" if loaded else "")


def _unlisted_record(listed: Listed) -> dict[str, object]:
    return {"provider": listed.provider, "model": None,
            "error": listed.error.message if listed.error else None}


def _unlisted_row(listed: Listed, providers: Providers) -> tuple[str, ...]:
    """Return a row that says why no models of this provider are shown."""
    missing = missing_for(listed.provider, providers) if listed.error is not None else ""
    why = listed.error.message if listed.error is not None else "has no model yet"
    return _remark(listed, f"needs {missing}" if missing else why)


def _cut_row(listed: Listed) -> tuple[str, ...]:
    return _remark(listed, f"lists more; the first {MOST_ENTRIES:,} are shown")


def _remark(listed: Listed, note: str) -> tuple[str, ...]:
    return (f"{listed.provider}/", "", "", "", note)


def _prices(facts: ModelFacts) -> str:
    """Format prices, as in "$0.25 / $2.00"; empty if unknown."""
    if facts.kind == "local" or facts.input_price is None or facts.output_price is None:
        return ""
    return f"{_dollars(facts.input_price)} / {_dollars(facts.output_price)}"


def _dollars(price: float) -> str:
    return f"${price:.2f}" if round(price, 2) == price else f"${price:g}"


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def facts_table(target: Target, facts: ModelFacts, info: ModelInfo | None) -> Table:
    """Return a table of one model, one fact per row."""
    rows = [("model", str(target)),
            ("context window", f"{facts.context_window:,}" if facts.context_window else "?"),
            ("longest answer", f"{facts.output_limit:,}" if facts.output_limit else "?"),
            ("tools", yes_no(facts.tools)),
            ("vision", yes_no(facts.vision)), ("thinking", yes_no(facts.thinking)),
            ("temperature", yes_no(facts.temperature)),
            ("price a million tokens", _prices(facts) or "?"), ("runs", facts.kind),
            ("needs a key", yes_no(facts.needs_key))]
    if info is not None:
        rows.append(("size", "?" if info.size is None else _size(info.size)))
        rows += [(name.replace("_", " "), str(value)) for name, value in info.details.items()
                 if not isinstance(value, (dict, list))]
    return Table(("what", "value"), tuple(rows))


def _sentences(parts: list[str]) -> str:
    return " ".join(f"{part}." if part[-1:].isalnum() and place < len(parts) - 1 else part
                    for place, part in enumerate(parts))


async def health_table(providers: Providers) -> tuple[Table, list[Health]]:
    found = await check_all(providers, set_up(providers))
    rows = tuple((health.provider, "ok" if health.ok else "no", f"{health.seconds * 1000:,.0f} ms",
                  _sentences([health.said, *health.advice])) for health in found)
    records = tuple({"provider": health.provider, "address": health.address or None,
                     "answers": health.ok,
                     "seconds": round(health.seconds, 3), "said": health.said,
                     "advice": list(health.advice)}
                    for health in found)
    return Table(("provider", "answers", "after", "what it says"), rows, records=records), found
