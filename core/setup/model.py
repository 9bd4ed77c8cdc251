"""Decides which model a chat starts with if none was named: by servers, keys or the user's choice.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, suppress

from core.config import Settings
from core.config.directories import data_directory
from core.config.keys import read_key_file
from core.errors import ChatError, ConfigError, ConnectFailed, ModelNotFound, ProviderError
from core.events import ShownProgress
from core.model_manager import (
    Providers, Target, chosen, first_named, ensure_model_available, parse_target, provider_name,
    resolve_target)
from core.providers import RunsFiles
from core.providers.hosts import DEFAULT_PROVIDER, DEMO, EMBEDDED, hosts

REMEMBERED = "model"   # file in the data directory with the user's choice, as provider/model
DEMO_TARGET = Target(DEMO, DEMO)
SERVER_SECONDS = 3.0   # time for another server to list its models, if Ollama does not answer
Choose = Callable[[ProviderError, Providers], Awaitable[Target]]


async def first_target(settings: Settings, providers: Providers, choose: Choose | None,
                       progress: ShownProgress | None = None) -> tuple[Target, str]:
    """(the model to start with, a notice if it is not what the user would expect).

    `choose` asks the user, and its result is remembered. Without it, raises a ProviderError that
    lists the alternatives. A remembered demo or smallest model is replaced once there is a server
    or a key.
    """
    target = first_named(settings)
    if choose is not None and target.provider == EMBEDDED and target.model:
        await _fetch_named(target, providers, progress)
    if target.model or chosen(settings):
        return await resolve_target(target, providers), ""
    remembered = _still_here(read_remembered(settings), providers)
    if remembered is not None and not gives_way(remembered):
        return remembered, _remembered_notice(settings, remembered) if choose is not None else ""
    try:
        found, notice = await resolve_target(target, providers), ""
    except (ConnectFailed, ModelNotFound) as error:
        other = (first_with_key(settings, providers)
                 or await first_with_address(settings, providers))
        if other is None:
            return await _without_server(settings, providers, choose, remembered, error)
        found, reason = other
        notice = (f"{found} is used because {reason} and no Ollama server has a model. /model "
                  "chooses another.")
    if remembered is not None:
        notice = (f"{found} is used now instead of {remembered}. /model or --provider chooses "
                  "another.")
    return found, notice


async def _fetch_named(target: Target, providers: Providers,
                       progress: ShownProgress | None) -> None:
    """Download the model named by the user, if it can be downloaded and is not here yet."""
    from core.engine.models import find_model, find_source
    if find_model(target.model, runner(providers).directory) is not None:
        return
    find_source(target.model)
    try:
        async with aclosing(ensure_model_available(target, providers)) as steps:
            async for step in steps:
                if progress is not None:
                    progress(f"{step.status}, MB of {step.total / 1e6:,.0f}",
                             step.completed // 1_000_000)
    finally:
        if progress is not None:
            progress.clear()


async def _without_server(settings: Settings, providers: Providers, choose: Choose | None,
                          remembered: Target | None,
                          error: ProviderError) -> tuple[Target, str]:
    """(model without a server or key, notice): the remembered one, one on this computer, or the
    user's choice.
    """
    ask = choose is not None
    if remembered is not None and remembered != DEMO_TARGET:
        return remembered, _remembered_notice(settings, remembered) if ask else ""
    local = newest_local(providers)
    if local is not None:
        return (local, f"{local} is used: it is on this computer, and no server or key is set up."
                if ask else "")
    if choose is None:
        raise no_model(error, providers) from error
    if remembered is not None:
        return remembered, _demo_notice()
    picked = await choose(error, providers)
    remember(settings, picked)
    return picked, _demo_notice() if picked == DEMO_TARGET else _small_notice(picked)


def _small_notice(target: Target) -> str:
    if not gives_way(target):
        return ""
    return (f"{target} is a very small model: it chats, but it invents facts. It is replaced as "
            "soon as there is a server or a key; /model and /models show others.")


def _still_here(target: Target | None, providers: Providers) -> Target | None:
    """The target, unless its model file was deleted."""
    if target is None or target.provider != EMBEDDED:
        return target
    from core.engine.models import find_model
    return target if find_model(target.model, runner(providers).directory) else None


def runner(providers: Providers) -> RunsFiles:
    """The provider that runs model files on this computer."""
    provider = providers.open(EMBEDDED)
    assert isinstance(provider, RunsFiles)
    return provider


def gives_way(target: Target) -> bool:
    """Whether a model is only a makeshift, replaced by any server or key: the demo, the smallest.
    """
    from core.engine.models import SMALLEST
    return target in (DEMO_TARGET, Target(EMBEDDED, SMALLEST.name))


def first_with_key(settings: Settings, providers: Providers) -> tuple[Target, str] | None:
    """(default model of the first provider with a key, the reason in words); None without one."""
    usable = [host for host in hosts() if host.kind == "cloud" and host.default_model]
    for host in usable:
        for variable in host.key_variables:
            if settings.environment.get(variable, "").strip():
                return Target(host.name, host.default_model), f"{variable} is set"
    stored = set(_stored(settings))
    found = next((host for host in usable if host.name in stored), None)
    return ((Target(found.name, found.default_model), f"its key is stored ({found.name})") if found
            else None)


async def first_with_address(settings: Settings,
                             providers: Providers) -> tuple[Target, str] | None:
    """(model of the first configured server that lists one, the reason in words); None without one.
    """
    for name, entry in settings.providers.items():
        if not entry.get("base_url") or provider_name(name) == DEFAULT_PROVIDER:
            continue
        with suppress(ChatError, TimeoutError):
            async with asyncio.timeout(SERVER_SECONDS):
                target = Target(provider_name(name), "")
                return await resolve_target(target, providers), f"{name} is set up"
    return None


def _stored(settings: Settings) -> Iterator[str]:
    """The providers with a stored key; empty if the file is not valid, which is reported when a
    provider is opened.
    """
    try:
        yield from read_key_file(settings.environment)
    except ConfigError:
        return


def newest_local(providers: Providers) -> Target | None:
    """The model file that was downloaded last; None without any."""
    from core.engine.models import installed_models
    models = installed_models(runner(providers).directory)
    try:
        if models and not without_engine(providers):
            return Target(EMBEDDED,
                          max(models, key=lambda model: os.path.getmtime(model.path)).name)
    except OSError:
        pass
    return None


def without_engine(providers: Providers) -> str:
    """What to do before a model can run on this computer; "" if one can."""
    try:
        runner(providers).engine_program()
    except ProviderError as error:
        return f"{error.message} {error.hint}"
    return ""


def no_model(error: ProviderError, providers: Providers) -> ProviderError:
    """The error with the alternatives in three lines, for a pipe."""
    from core.engine.models import SMALLEST
    fetch = (f"or download a small model, {SMALLEST.download_size / 1e6:.0f} MB, once: "
             f"stream-chat --provider local --pull {SMALLEST.name}")
    missing = without_engine(providers)
    return ProviderError(
        f"{error.message.rstrip('.')}. Start Ollama (`ollama serve`), or set a key, e.g. "
        "OPENAI_API_KEY,",
        (f"or run a small model here. {missing}\n" if missing else f"{fetch}\n") +
        "or try the program without a model: stream-chat --provider demo")


# ---- the remembered choice

def _remembered_notice(settings: Settings, target: Target) -> str:
    path = os.path.join(data_directory(settings.environment), REMEMBERED)
    return (f"{target} was chosen at the first start. /model or --provider chooses another; `rm "
            f"{path}` asks again.")


def _demo_notice() -> str:
    return ("This is the built-in demo: scripted replies, no model. To talk to a model, start "
            "Ollama (`ollama serve`), set a key, or use --provider; it then replaces the demo.")


def read_remembered(settings: Settings) -> Target | None:
    """The remembered choice of a model; None without one."""
    try:
        with open(os.path.join(data_directory(settings.environment), REMEMBERED),
                  encoding="utf-8") as file:
            text = file.read().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return parse_target(text) if "/" in text else None


def remember(settings: Settings, target: Target) -> None:
    """Remember the choice, unless --no-save; if it cannot be written, the user is asked again."""
    directory = data_directory(settings.environment)
    if not settings.save:
        return
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        with open(os.path.join(directory, REMEMBERED), "w", encoding="utf-8") as file:
            file.write(f"{target}\n")
    except OSError:
        return
