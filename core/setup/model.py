"""Which model a chat starts with when nobody named one: what was chosen before, what responds, or the user's choice."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

from core.config import Settings, data_directory
from core.errors import ConnectFailed, ModelNotFound, ProviderError
from core.model_manager import Providers, Target, build_model_list, chosen, parse_target, resolve_target

REMEMBERED = "model"   # file in the data directory: the answer to the choice, as provider/model
DEMO = Target("demo", "demo")


async def first_target(settings: Settings, providers: Providers,
                       choose: Callable[[ProviderError, Providers], Awaitable[Target]] | None) -> tuple[Target, str]:
    """The model to start with, and a notice when it is not what the user would expect.

    What `choose` returns is remembered. Without it nobody can be asked: raises an error that names the ways out.
    """
    target = build_model_list(settings)[0]
    if target.model or chosen(settings):
        return await resolve_target(target, providers), ""
    remembered = read_remembered(settings)
    if remembered is not None and (choose is not None or remembered != DEMO):
        notice = _remembered_notice(settings, remembered) if choose is not None else ""
        return remembered, _demo_notice() if remembered == DEMO else notice
    try:
        return await resolve_target(target, providers), ""
    except (ConnectFailed, ModelNotFound) as error:
        with_key = first_with_key(settings, providers)
        if with_key is not None:
            found, variable = with_key
            return found, (f"{found} answers, because {variable} is set and no Ollama server has a model. "
                           "/model chooses another.")
        if choose is None:
            raise no_model(error) from error
        picked = await choose(error, providers)
        remember(settings, picked)
        return picked, _demo_notice() if picked == DEMO else ""


def first_with_key(settings: Settings, providers: Providers) -> tuple[Target, str] | None:
    """The first provider whose key is in the environment, and the variable that holds it."""
    from core.providers.hosts import hosts
    for host in hosts():
        for variable in host.key_variables:
            if host.kind == "cloud" and host.default_model and settings.environment.get(variable, "").strip():
                return Target(host.name, host.default_model), variable
    return None


def no_model(error: ProviderError) -> ProviderError:
    """The three ways out as three lines, for a pipe."""
    from core.engine.models import DEFAULT
    return ProviderError(
        f"{error.message.rstrip('.')}. Start Ollama (`ollama serve`), or set a key and name its --provider,",
        f"or run a small model here: --provider local --model {DEFAULT.name} (fetches {DEFAULT.size / 1e9:.1f} GB once),\n"
        "or look round without a model: stream-chat --provider demo")


def _remembered_notice(settings: Settings, target: Target) -> str:
    path = os.path.join(data_directory(settings.environment), REMEMBERED)
    return f"{target} was chosen at the first start. /model or --provider chooses another; `rm {path}` asks again."


def _demo_notice() -> str:
    return ("This is the built-in demo: scripted replies, no model. To talk to a model, start Ollama (`ollama serve`) "
            "or name a --provider.")


# ---- what was chosen before

def read_remembered(settings: Settings) -> Target | None:
    try:
        with open(os.path.join(data_directory(settings.environment), REMEMBERED), encoding="utf-8") as file:
            text = file.read().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return parse_target(text) if "/" in text else None


def remember(settings: Settings, target: Target) -> None:
    """Best effort: a choice that cannot be written is asked again. Nothing is written with --no-save."""
    directory = data_directory(settings.environment)
    if not settings.save:
        return
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        with open(os.path.join(directory, REMEMBERED), "w", encoding="utf-8") as file:
            file.write(f"{target}\n")
    except OSError:
        return
