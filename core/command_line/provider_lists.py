"""--list-providers, --list-models and --check: configured providers, their models and state."""

from __future__ import annotations

import asyncio

from core.config import Settings
from core.console.tables import show
from core.model_manager import Providers, build_model_list, provider_name
from core.models.tables import agent_table, health_table, model_table, provider_table


def run(settings: Settings) -> int:
    """Show the requested list; return the exit code."""
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> int:
    providers = Providers(settings)
    try:
        return await (_check if settings.check else _list)(settings, providers)
    finally:
        await providers.close()


async def _list(settings: Settings, providers: Providers) -> int:
    if settings.list_providers:
        show(settings, provider_table(providers))
    if settings.list_agents:
        show(settings, agent_table(settings))
    if settings.list_models:
        only = (provider_name(settings.provider)
                if settings.provider and "provider" in settings.flags else "")
        show(settings, await model_table(providers, only))
    return 0


async def _check(settings: Settings, providers: Providers) -> int:
    """Check the providers; return the exit code for the one that would be used."""
    table, found = await health_table(providers)
    show(settings, table)
    first = build_model_list(settings)[0].provider
    return 0 if any(health.ok for health in found if health.provider == first) else 1
