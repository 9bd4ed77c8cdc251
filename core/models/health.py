"""Asks every provider that is set up, at the same time, whether it answers, and says what to do about one that does not."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping

from core.config.keys import read_key_file
from core.dataclass import dataclass
from core.errors import ChatError, ConfigError, ConnectFailed, ProviderError
from core.model_manager import Providers, Target, build_model_list, provider_name
from core.providers import (
    CanCheck, CanShow, Endpoint, ModelInfo, Provider, installed_names, load_dialect)
from core.providers.loopback import is_loopback
from core.providers.hosts import hosts

TIMEOUT = 8.0                        # seconds that one provider may take
OLLAMA = "http://127.0.0.1:11434"    # where an Ollama is unless somebody moved it
OLD_OLLAMA = (0, 9)                  # thinking came with 0.9, tool calls that stream with 0.8
COMMON_WINDOW = 4096                 # what Ollama loads a model with when nobody says otherwise


@dataclass(frozen=True, slots=True)
class Health:
    """How one provider is. `said` is its own description or what went wrong; `advice` is what to do."""

    provider: str
    address: str
    ok: bool
    seconds: float
    said: str
    advice: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Listed:
    """A provider's models, or the error that stands in for them."""

    provider: str
    models: tuple[ModelInfo, ...] = ()
    error: ChatError | None = None


def set_up(providers: Providers) -> list[str]:
    """The providers that this user has: those chosen, those in the configuration, those with a key, and a local Ollama."""
    settings = providers.settings
    names = [target.provider for target in build_model_list(settings)]
    names += [*map(provider_name, settings.providers), *installed_names()]
    stored = stored_names(settings.environment)
    for host in hosts():
        if any(settings.environment.get(variable) for variable in host.key_variables) or host.name in stored:
            names.append(host.name)
    return list(dict.fromkeys([*names, *(host.name for host in hosts() if host.looked_for)]))


def all_names(providers: Providers) -> list[str]:
    """Every provider that this program knows: its own, those in the configuration, those that other packages bring."""
    own = [host.name for host in hosts()]
    return list(dict.fromkeys([*own, *map(provider_name, providers.settings.providers), *installed_names()]))


def stored_names(environment: Mapping[str, str]) -> set[str]:
    """The providers whose key is stored; none where the file of keys cannot be used."""
    try:
        return set(read_key_file(environment))
    except ConfigError:
        return set()


def missing_for(name: str, providers: Providers) -> str:
    """What has to be there before this provider can be used; empty when nothing is. Asks nobody."""
    try:
        if providers.lacks_address(name):
            return "an address: --base-url or base_url in the configuration"
        providers.open(name)
    except ConfigError as error:
        return error.message
    except ChatError as error:
        missing = providers.entry(name).get("missing", {}).get("api_key")
        names = " or ".join(providers.host(name).key_variables) if isinstance(error, ProviderError) else ""
        return str(missing or (f"a key: {names}, or --set-key {name}" if names else error.message))
    return ""


# ---- models

async def list_models(providers: Providers, names: list[str], timeout: float = TIMEOUT) -> list[Listed]:
    """The models of all these providers, asked for at the same time."""
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
                    usual_ollama: str = OLLAMA) -> list[Health]:
    return list(await asyncio.gather(*(check(providers, name, timeout, usual_ollama) for name in names)))


async def check(providers: Providers, name: str, timeout: float = TIMEOUT, usual_ollama: str = OLLAMA) -> Health:
    """Check one provider and add advice. Never raises: what is wrong is part of the result.

    `usual_ollama` is asked as well where an Ollama with another address does not answer.
    """
    started = time.monotonic()
    address = ""
    try:
        provider = providers.open(name)
        address = provider.endpoint.base_url
        async with asyncio.timeout(timeout):
            said = await providers.ask(name, _describe(provider))
        seconds = time.monotonic() - started
        return Health(name, address, True, seconds, said, tuple(await _ollama_advice(provider, said, name, providers, timeout)))
    except TimeoutError:
        error: ChatError = ConnectFailed(f"No answer within {timeout:g} s.")
    except ChatError as problem:
        error = problem
    seconds = time.monotonic() - started
    return Health(name, address, False, seconds, error.message, tuple(await _advice(name, address, error, providers, usual_ollama)))


async def _describe(provider: Provider) -> str:
    return await provider.check() if isinstance(provider, CanCheck) else f"{len(await provider.models())} models"


async def _advice(name: str, address: str, error: ChatError, providers: Providers, usual_ollama: str) -> list[str]:
    found = [error.hint] if error.hint else []
    if not isinstance(error, ConnectFailed) or not address:
        return found
    proxy = proxy_advice(address, providers.settings.environment)
    if proxy:
        found.append(proxy)
    if providers.host(name).dialect == "ollama":
        wanted = providers.settings.ollama_host or ""
        found = [*await _ollama_down(address, wanted, usual_ollama), *found[1:]]
    return found


def proxy_advice(address: str, environment: Mapping[str, str]) -> str:
    """A proxy that stands between us and a machine of the own network is a common reason for no answer."""
    from urllib.parse import urlsplit

    host = urlsplit(address).hostname or ""
    scheme = urlsplit(address).scheme.upper()
    names = (f"{scheme}_PROXY", f"{scheme.lower()}_proxy", "ALL_PROXY", "all_proxy")
    variable = next((name for name in names if environment.get(name)), "")
    spared = f"{environment.get('NO_PROXY', '')},{environment.get('no_proxy', '')}".split(",")
    if not variable or is_loopback(address) or host in (entry.strip() for entry in spared):
        return ""
    return f"{variable} is set, so {host} is asked through that proxy. If it is on your own network: NO_PROXY={host}"


async def _ollama_down(address: str, wanted: str, usual: str) -> list[str]:
    """Nothing answers where the Ollama should be."""
    found = []
    if address != usual and await _answers(usual):
        found.append(f"An Ollama answers at {usual}, and OLLAMA_HOST or --base-url names {address}.")
    elif is_loopback(address):
        found.append("Start it: `ollama serve`, or the Ollama application. If it runs elsewhere, name it with OLLAMA_HOST.")
    else:
        found.append("On that machine the server must listen on all addresses: OLLAMA_HOST=0.0.0.0 ollama serve. "
                     "Then look at its firewall.")
    if wanted.partition("://")[2].startswith("0.0.0.0") or wanted.startswith("0.0.0.0"):
        found.append("0.0.0.0 in OLLAMA_HOST is where a server listens; it was read as this machine.")
    return found


async def _answers(base_url: str) -> bool:
    provider = load_dialect("ollama")(Endpoint(base_url, connect_timeout=0.5))
    try:
        async with asyncio.timeout(1):
            await provider.models()
        return True
    except (ChatError, TimeoutError):
        return False
    finally:
        await provider.close()


async def _ollama_advice(provider: Provider, said: str, name: str, providers: Providers, timeout: float) -> list[str]:
    """An Ollama that answers can still be old, empty, without the model that was chosen, or load it with a small window."""
    if providers.host(name).dialect != "ollama":
        return []
    found = []
    version = re.search(r"(\d+)\.(\d+)", said)
    if version and (0, 0) < (int(version[1]), int(version[2])) < OLD_OLLAMA:
        found.append(f"Version {version[0]} is old: thinking needs 0.9, tool calls that stream need 0.8.")
    try:
        async with asyncio.timeout(timeout):
            names = [info.name for info in await provider.models()]
            if not names:
                found.append("It has no model yet: ollama pull llama3.2, or /models pull llama3.2")
            chosen = build_model_list(providers.settings)[0]
            if chosen.provider == name and chosen.model:
                found += await _model_advice(provider, chosen, names, providers)
    except (ChatError, TimeoutError) as problem:
        found.append(getattr(problem, "message", "Its list of models did not come."))
    return found


async def _model_advice(provider: Provider, chosen: Target, names: list[str], providers: Providers) -> list[str]:
    if chosen.model not in names and f"{chosen.model}:latest" not in names:
        return [f"It does not have {chosen.model}: ollama pull {chosen.model}"]
    if not isinstance(provider, CanShow):
        return []
    info = await provider.show(chosen.model)
    loaded = providers.settings.num_ctx or info.details.get("num_ctx") or COMMON_WINDOW
    if info.context_window and loaded < info.context_window:
        return [f"{chosen.model} can take {info.context_window:,} tokens and may be loaded with {loaded:,}: "
                "/ctx, or --num-ctx, asks for more (and takes more memory)."]
    return []
