"""Agents of the configuration: a model, system prompt, options, tools and fallbacks under a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from core.config import BY_NAME, Settings
from core.config.file import checked_value
from core.errors import UsageError

OTHER_NAMES: Mapping[str, str] = {"fallbacks": "model_fallbacks", "system_prompt": "system",
                                  "options": "option"}
MAY_SET = frozenset({
    "model", "provider", "model_fallbacks", "system", "temperature", "top_p", "seed", "max_tokens",
    "stop", "think", "num_ctx", "keep_alive", "option", "response_format", "tools", "experimental",
    "tool_rounds"})


def agent_values(agents: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The settings of this agent, by name in upper or lower case. Raises UsageError if it is
    missing or invalid.
    """
    named = {str(known): entry for known, entry in agents.items()}
    alike = [known for known in named if known.casefold() == name.casefold()]
    if name not in named and len(alike) != 1:
        known = ", ".join(sorted(named))
        raise UsageError(f"There is no agent {name!r}.",
                         f"The configuration has: {known}." if known else
                         "Agents are described under `agents:` in the configuration file (--help "
                         "configuration).")
    entry = named[name if name in named else alike[0]]
    if not isinstance(entry, Mapping):
        raise UsageError(f"The agent {name} takes a mapping, such as `system: You are brief.`")
    found: dict[str, Any] = {}
    for written, value in entry.items():
        key = str(written).replace("-", "_")
        key = OTHER_NAMES.get(key, key)
        if key == "description":
            continue
        if key not in MAY_SET:
            raise UsageError(f"The agent {name} cannot set {written!r}.",
                             f"It sets any of: {', '.join(sorted(MAY_SET))}.")
        found[key] = checked_value(BY_NAME[key], value, f"agents: {name}")
    return found


def values_without(settings: Settings, names: Iterable[str]) -> dict[str, Any]:
    """These settings as the program was started, without what the agent of --as set."""
    own = agent_values(settings.agents, settings.agent) if settings.agent else {}
    found = {}
    for name in names:
        value = getattr(settings, name)
        of_agent = name in own and own[name] == value
        found[name] = settings.file.get(name, BY_NAME[name].default) if of_agent else value
    return found


def described(entry: Any) -> tuple[str, str, str]:
    """(model, description or system prompt, other settings) of an agent, for a list."""
    if not isinstance(entry, Mapping):
        return "", "", "cannot be read"
    model = "/".join(str(entry[name]) for name in ("provider", "model") if entry.get(name))
    about = str(entry.get("description") or entry.get("system") or entry.get("system_prompt") or "")
    others = [f"{name}: {value}" for name, value in entry.items()
              if name not in ("provider", "model", "description", "system", "system_prompt")]
    return model, about, "; ".join(others)
