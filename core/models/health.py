"""Checks all configured providers at the same time, and gives advice about those that do not work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from core.config.keys import read_key_file
from core.dataclass import dataclass
from core.errors import ChatError, ConfigError, ConnectFailed, ProviderError
from core.model_manager import Providers, build_model_list, provider_name
from core.providers import CanAdvise, CanCheck, ModelInfo, Provider, installed_names
from core.providers.hosts import hosts, row_of_dialect
from core.config.network import is_loopback

TIMEOUT = 8.0     # seconds for each provider


@dataclass(frozen=True, slots=True)
class Health:
    """The result of checking one provider.

    `said` is its description or the error; `advice` is what to do.
    """

    provider: str
    address: str
    ok: bool
    seconds: float
    said: str
    advice: tuple[str, ...] = ()
    error: ChatError | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A provider's models, or the error of listing them."""

    provider: str
    models: tuple[ModelInfo, ...] = ()
    error: ChatError | None = None


def set_up(providers: Providers) -> list[str]:
    """Return the user's providers: chosen ones, those in the configuration, those with a key, and a
    local Ollama.
    """
    settings = providers.settings
    names = [target.provider for target in build_model_list(settings)]
    names += [*map(provider_name, settings.providers), *installed_names()]
    stored = stored_names(settings.environment)
    for host in hosts():
        if (any(settings.environment.get(variable) for variable in host.key_variables)
            or host.name in stored):
            names.append(host.name)
    return list(dict.fromkeys([*names, *(host.name for host in hosts() if host.looked_for)]))


def all_names(providers: Providers) -> list[str]:
    """Return all known providers: built-in ones, those in the configuration, and those of installed
    packages.
    """
    own = [host.name for host in hosts()]
    return list(dict.fromkeys([*own, *map(provider_name, providers.settings.providers),
                               *installed_names()]))


def stored_names(environment: Mapping[str, str]) -> set[str]:
    """Return the providers with a stored key; none if the key file cannot be used."""
    try:
        return set(read_key_file(environment))
    except ConfigError:
        return set()


def missing_for(name: str, providers: Providers) -> str:
    """Return what is missing before this provider can be used, or "". Does not use the network."""
    try:
        if providers.lacks_address(name):
            return "an address: --base-url or base_url in the configuration"
        providers.open(name)
    except ConfigError as error:
        return error.message
    except ChatError as error:
        missing = providers.entry(name).get("missing", {}).get("api_key")
        names = (" or ".join(providers.host(name).key_variables) if isinstance(error, ProviderError)
                 else "")
        return str(missing or (f"a key: {names}, or --set-key {name}" if names else error.message))
    return ""


# ---- models

async def list_models(providers: Providers, names: list[str],
                      timeout: float = TIMEOUT) -> list[Listed]:
    """List the models of all these providers at the same time."""
    return list(await asyncio.gather(*(_list(providers, name, timeout) for name in names)))


async def _list(providers: Providers, name: str, timeout: float) -> Listed:
    try:
        async with asyncio.timeout(timeout):
            found = tuple(await providers.ask(name, providers.open(name).models()))
    except ChatError as error:
        return Listed(name, error=error)
    except TimeoutError:
        return Listed(name, error=ConnectFailed(f"No answer within {timeout:g} s."))
    providers.names[name] = [info.name for info in found]
    return Listed(name, found)


# ---- health

async def check_all(providers: Providers, names: list[str], timeout: float = TIMEOUT,
                    usual: str = "") -> list[Health]:
    return list(await asyncio.gather(*(check(providers, name, timeout, usual) for name in names)))


async def check(providers: Providers, name: str, timeout: float = TIMEOUT,
                usual: str = "") -> Health:
    """Check one provider and add advice. Never raises: errors are part of the result.

    `usual` is the default address to try if it does not respond at its own; "" means its row's.
    """
    started = time.monotonic()
    address, provider = "", None
    try:
        provider = providers.open(name)
        address = provider.endpoint.base_url
        async with asyncio.timeout(timeout):
            said = await providers.ask(name, _describe(provider))
        seconds = time.monotonic() - started
        return Health(name, address, True, seconds, said,
                      tuple(await _advice(provider, said, name, providers, timeout)))
    except TimeoutError:
        error: ChatError = ConnectFailed(f"No answer within {timeout:g} s.")
    except ChatError as problem:
        error = problem
    seconds = time.monotonic() - started
    advice = [error.hint] if error.hint else []
    if isinstance(error, ConnectFailed) and provider is not None and address:
        own = await _advice_when_down(provider, name, providers, usual)
        proxy = proxy_advice(address, providers.settings.environment)
        advice = [*(own or advice), *([proxy] if proxy else [])]
    return Health(name, address, False, seconds, error.message, tuple(advice), error)


async def _describe(provider: Provider) -> str:
    return (await provider.check() if isinstance(provider, CanCheck)
            else f"{len(await provider.models())} models")


async def _advice_when_down(provider: Provider, name: str, providers: Providers,
                            usual: str) -> list[str]:
    found: list[str] = []
    if isinstance(provider, CanAdvise):
        row = row_of_dialect(providers.host(name).dialect)
        wanted = (str(getattr(providers.settings, row.address_setting) or "")
                  if row and row.address_setting else "")
        await _collect(provider.advice_when_down(wanted, usual or (row.base_url if row else "")),
                       found)
    return found


async def _advice(provider: Provider, said: str, name: str, providers: Providers,
                  timeout: float) -> list[str]:
    """Return advice about a server that responds."""
    found: list[str] = []
    if not isinstance(provider, CanAdvise):
        return found
    chosen = build_model_list(providers.settings)[0]
    model = chosen.model if chosen.provider == name else ""
    try:
        async with asyncio.timeout(timeout):
            await _collect(provider.advice(said, model, providers.settings.num_ctx), found)
    except ChatError as problem:
        found.append(problem.message)
    except TimeoutError:
        found.append("Its list of models could not be loaded.")
    return found


async def _collect(sentences: AsyncGenerator[str, None], found: list[str]) -> None:
    async with aclosing(sentences):
        async for sentence in sentences:
            found.append(sentence)


def proxy_advice(address: str, environment: Mapping[str, str]) -> str:
    """Return advice about a proxy between us and a machine of the own network, a common reason for
    no response.
    """
    from urllib.parse import urlsplit

    host = urlsplit(address).hostname or ""
    scheme = urlsplit(address).scheme.upper()
    names = (f"{scheme}_PROXY", f"{scheme.lower()}_proxy", "ALL_PROXY", "all_proxy")
    variable = next((name for name in names if environment.get(name)), "")
    spared = f"{environment.get('NO_PROXY', '')},{environment.get('no_proxy', '')}".split(",")
    if not variable or is_loopback(address) or host in (entry.strip() for entry in spared):
        return ""
    return (f"{variable} is set, so {host} is reached through that proxy. If it is on your own "
            f"network, set NO_PROXY={host}")
