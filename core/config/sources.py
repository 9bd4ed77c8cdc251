"""Combines settings: command line over environment over configuration file over defaults."""

from __future__ import annotations

import os

from core.config import SETTINGS, Settings
from core.config.directories import config_directory
from core.config.values import parse_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


def load_settings(flags: Mapping[str, Any], environment: Mapping[str, str], *,
                  prompt: str | None = None, reads_stdin: bool = False) -> Settings:
    """Combine all sources. Raises UsageError and ConfigError.

    `flags` are the values of the command line, already of the right type. `prompt` is None without
    a question, which differs from an empty one.
    """
    values: dict[str, Any] = {}
    providers: Mapping[str, Any] = {}
    notices: Sequence[str] = ()
    environment = with_own_variables(environment)
    path = str(flags.get("config") or environment.get("STREAM_CHAT_CONFIG")
               or find_config_file(environment) or "")
    if path:
        from core.config.file import read_config_file
        values, providers, notices = read_config_file(path, environment)
    if os.path.exists(os.path.join(config_directory(environment), "providers.json")):
        from core.config.provider_settings import with_set
        providers = with_set(providers, environment)
    file = dict(values)
    values.update(from_environment(environment))
    if flags.get("agent"):      # its settings count as given on the command line
        from core.config.agents import agent_values
        flags = {**agent_values({**values.get("agents", {}), **flags.get("agents", {})},
                                flags["agent"]), **flags}
    values.update(flags)
    return Settings(values, prompt=prompt, reads_stdin=reads_stdin, environment=environment,
                    providers=providers, flags=frozenset(flags), notices=notices, file=file)


def load_providers(settings: Settings) -> Mapping[str, Any]:
    """The entries of all providers, read again from the files. Raises ConfigError."""
    from core.config.file import read_config_file
    from core.config.provider_settings import with_set
    environment = settings.environment
    path = str(settings.config or environment.get("STREAM_CHAT_CONFIG")
               or find_config_file(environment) or "")
    return with_set(read_config_file(path, environment)[1] if path else {}, environment)


def with_own_variables(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The environment, completed from the .env file in the configuration directory.

    A .env file in the working directory is never read: it could redirect a key.
    """
    path = os.path.join(config_directory(environment), ".env")
    if not os.path.exists(path):
        return environment
    from core.config.file import read_env_file
    return {**read_env_file(path), **environment}


def from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Settings from environment variables; empty variables are ignored. Raises UsageError."""
    values: dict[str, Any] = {}
    for row in SETTINGS:
        for variable in row.env:
            if environment.get(variable, "") != "":
                values[row.name] = parse_value(row, environment[variable], variable)
                break
    return values


def find_config_file(environment: Mapping[str, str]) -> str | None:
    """The path of the configuration file in its default place, if it exists."""
    directory = config_directory(environment)
    for name in ("config.yaml", "config.yml", "config.json"):
        path = os.path.join(directory, name)
        if os.path.exists(path):
            return path
    return None
