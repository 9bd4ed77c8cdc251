"""Capabilities and prices of models: from the server, else from a built-in table; the configuration
overrides both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from core.dataclass import dataclass, replace
from core.errors import ProviderError
from core.messages import Usage
from core.model_manager import Providers, Target
from core.regex import regex
from core.providers import CanShow, ModelInfo
from core.providers.hosts import Kind, find_host, hosts

TABLE = Path(__file__).resolve().parent / "models.json"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The known facts of a model; None where unknown.

    Windows and limits are in tokens, prices in dollars per million tokens.
    """

    tools: bool | None = None
    vision: bool | None = None
    thinking: bool | None = None
    system: bool = True
    temperature: bool | None = None
    streaming: bool = True
    context_window: int | None = None
    output_limit: int | None = None
    input_price: float | None = None
    output_price: float | None = None
    cached_price: float | None = None
    kind: Kind = "hybrid"
    needs_key: bool = False
    custom_endpoint: bool = True


# Capabilities of model families, used if neither server nor table has them: pattern, tools, vision,
# thinking, temperature.
_FAMILIES: tuple[tuple[re.Pattern[str], bool, bool, bool, bool], ...] = tuple(
    (regex(pattern), tools, vision, thinking, temperature) for pattern, tools, vision, thinking,
    temperature in (
        #  pattern                                                    tools
        #  vision thinking temperature
        (r"embed|rerank|moderation|whisper|tts|dall-e|image-gen",     False, False, False, False),
        (r"claude-(3-7|[a-z]+-[4-9])",                                True,  True,  True,  True),
        (r"claude-(3|[a-z]+-3)",                                      True,  True,  False, True),
        (r"gpt-5.*-chat|chatgpt-4o|gpt-4o|gpt-4\.1|gpt-4\.5|gpt-4-turbo", True,  True,  False,
         True),
        (r"gpt-[5-9]|(^|/)o[1-9](-|$)",                               True,  True,  True,  False),
        (r"gpt-oss",                                                  True,  False, True,  True),
        (r"gpt-(4|3\.5)",                                             True,  False, False, True),
        (r"gemini-(2\.5|[3-9])",                                      True,  True,  True,  True),
        (r"gemini-",                                                  True,  True,  False, True),
        (r"deepseek-(reasoner|r1|flash|v[4-9])",                      True,  False, True,  True),
        (r"deepseek",                                                 True,  False, False, True),
        (r"magistral",                                                True,  True,  True,  True),
        (r"pixtral|mistral-(small|medium|large)-latest",              True,  True,  False, True),
        (r"(mi|mini|code|dev)stral",                                  True,  False, False, True),
        (r"command-a-reasoning",                                      True,  False, True,  True),
        (r"command-a-vision",                                         False, True,  False, True),
        (r"command-(a|r)",                                            True,  False, False, True),
        (r"grok-(4|[5-9])",                                           True,  True,  True,  True),
        (r"grok-[23].*vision",                                        True,  True,  False, True),
        (r"grok-[23]",                                                True,  False, False, True),
        (r"llama-?4|llama-3\.2-(11|90)b",                             True,  True,  False, True),
        (r"llama-?3",                                                 True,  False, False, True),
    ))


async def facts_of(target: Target, providers: Providers) -> ModelFacts:
    """Return everything known about a model.

    If the server does not respond, only the table is used; that is not an error here.
    """
    shown: ModelInfo | None = None
    try:
        provider, ask = providers.open(target.provider), providers.ask
        if isinstance(provider, CanShow):
            shown = await ask(target.provider, provider.show(target.model))
        else:
            listed = await ask(target.provider, provider.models())
            shown = next((info for info in listed if info.name == target.model), None)
    except ProviderError:
        pass
    return known_facts(target, providers, shown)


async def learn(target: Target, providers: Providers) -> ModelFacts:
    """Return the facts, asking the server only once per run. Features that the model certainly
    lacks are left out of its requests from now on.
    """
    if target not in providers.learned:
        facts = await facts_of(target, providers)
        providers.learned[target] = facts
        lacks = {name for name in ("tools", "vision") if getattr(facts, name) is False}
        if lacks:
            providers.lacks.setdefault(target, set()).update(lacks)
    found: ModelFacts = providers.learned[target]
    return found


def known_facts(target: Target, providers: Providers, shown: ModelInfo | None = None) -> ModelFacts:
    """Return the facts without asking the server: the table, overridden by `shown` (what the server
    reported), overridden by the configuration.
    """
    host = providers.host(target.provider)
    row = find_host(target.provider)
    facts = replace(_table_facts(target), kind=host.kind,
                    needs_key=host.kind == "cloud" and bool(host.key_variables),
                    custom_endpoint=row is None or host.server)
    if shown is not None:
        facts = _with_shown(facts, shown)
    known = {field.name for field in fields(ModelFacts)}
    own: Mapping[str, Any] = providers.entry(target.provider).get("models", {}).get(target.model,
                                                                                    {})
    return replace(facts, **{name: value for name, value in own.items() if name in known})


def _with_shown(facts: ModelFacts, shown: ModelInfo) -> ModelFacts:
    facts = replace(facts, context_window=shown.context_window or facts.context_window,
                    output_limit=shown.output_limit or facts.output_limit)
    able = shown.capabilities or frozenset()
    said: dict[str, Any] = {name: name in able for name in ("tools", "vision", "thinking")
                            if name in able or name in shown.lacking}
    return replace(facts, **said)


def _table_facts(target: Target) -> ModelFacts:
    row = find_row(target)
    window, price_in, price_out, cached = (*row, None, None, None, None)[:4]
    facts = ModelFacts(context_window=window, input_price=price_in, output_price=price_out,
                       cached_price=cached)
    known = find_host(target.provider)
    for pattern, tools, vision, thinking, temperature in _FAMILIES:
        if (known is None or known.family_names) and pattern.search(target.model.lower()):
            return replace(facts, tools=tools, vision=vision, thinking=thinking,
                           temperature=temperature)
    return facts


# ---- the shipped table

@cache
def _table() -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return loaded


def table_date() -> str:
    return str(_table()["made"])


def table_source() -> str:
    return str(_table()["source"])


def find_row(target: Target) -> list[Any]:
    """Return [context window, input price, output price, cached price], as far as known.

    Dates and -latest at the end of the name are ignored.
    """
    known = find_host(target.provider)
    provider = known.priced_as if known is not None and known.priced_as else target.provider
    rows: Mapping[str, list[Any]] = _table()["models"].get(provider, {})
    name = target.model.removeprefix("models/")
    for candidate in (name, f"{name}-latest",
                      re.sub(r"(-latest|[-@:](20\d{6}|20\d\d-\d\d-\d\d|latest))$", "", name)):
        if candidate in rows:
            return rows[candidate]
    return []


def provider_of(model: str) -> str:
    """Return the cloud provider of a model by its name; empty if unknown."""
    providers = [host.name for host in hosts() if host.maker]
    return next((provider for provider in providers if find_row(Target(provider, model))), "")


def cost_of(usage: Usage, target: Target, providers: Providers | None = None) -> float | None:
    """Return the cost in dollars, or None if the price is unknown.

    The provider's own figure is preferred over this estimate.
    """
    said = (usage.details or {}).get("cost")
    if isinstance(said, (int, float)) and not isinstance(said, bool):
        return float(said)
    facts = known_facts(target, providers) if providers is not None else _table_facts(target)
    if facts.input_price is None or facts.output_price is None or usage.input_tokens is None:
        return None
    cached = min(usage.cached_tokens or 0, usage.input_tokens)
    cached_price = facts.input_price if facts.cached_price is None else facts.cached_price
    fresh = usage.input_tokens - cached
    return (fresh * facts.input_price + cached * cached_price
            + (usage.output_tokens or 0) * facts.output_price) / 1_000_000


# ---- text

def yes_no(value: bool | None) -> str:
    return "?" if value is None else "yes" if value else "no"


def short_count(tokens: int | None) -> str:
    """Format tokens: 8192 -> 8k, 1048576 -> 1M."""
    if tokens is None:
        return "?"
    if tokens >= 1_000_000:
        return f"{tokens / (1 << 20) if tokens % (1 << 20) == 0 else tokens / 1_000_000:.3g}M"
    unit = 1000 if tokens % 1000 == 0 or tokens % 1024 else 1024
    return f"{tokens // unit}k" if tokens >= unit else str(tokens)


def summary(facts: ModelFacts) -> str:
    """Describe the facts, as in "context 8k, tools, no vision"."""
    parts = [f"context {short_count(facts.context_window)}"] if facts.context_window else []
    for name in ("tools", "vision", "thinking"):
        known = getattr(facts, name)
        parts += [] if known is None else [name if known else f"no {name}"]
    return ", ".join(parts)


def changes(old: ModelFacts, new: ModelFacts) -> str:
    """Describe the differences, as in "context 8k -> 200k, vision: no -> yes"; empty if there are
    none.
    """
    parts = []
    if old.context_window != new.context_window:
        parts.append(f"context {short_count(old.context_window)} \u2192 "
                     f"{short_count(new.context_window)}")
    for name in ("tools", "vision", "thinking"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            parts.append(f"{name}: {yes_no(before)} \u2192 {yes_no(after)}")
    return ", ".join(parts)
