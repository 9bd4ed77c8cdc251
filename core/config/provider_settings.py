"""Providers' settings made on the web page, in a file that overrides the configuration file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from core.config import BY_NAME
from core.config.directories import config_directory
from core.config.file import read_config_file
from core.config.private_file import write_private
from core.config.values import parse_value
from core.errors import UsageError

FILE = "providers.json"
FIELDS = ("base_url", "model", "num_ctx", "max_tokens", "temperature", "top_p", "seed")


def provider_file(environment: Mapping[str, str]) -> str:
    return os.path.join(config_directory(environment), FILE)


def with_set(providers: Mapping[str, Any], environment: Mapping[str, str]) -> Mapping[str, Any]:
    """The configuration file's entries, overridden by the page's settings.

    Raises ConfigError for a damaged file.
    """
    path = provider_file(environment)
    if not os.path.exists(path):
        return providers
    own = read_config_file(path, environment)[1]
    return {**providers,
            **{name: {**providers.get(name, {}), **entry} for name, entry in own.items()}}


def added_providers(environment: Mapping[str, str]) -> set[str]:
    """The names of the providers that have settings from the page."""
    return set(_read(provider_file(environment)))


def set_provider(environment: Mapping[str, str], name: str, changes: Mapping[str, str]) -> None:
    """Store fields of a provider, given as text; "" resets a field.

    Raises UsageError and ConfigError.
    """
    rows = _read(provider_file(environment))
    written = {field: _value(field, text) for field, text in changes.items()}
    _write(environment, {**rows, name: {**rows.get(name, {}), **written}})


def add_provider(environment: Mapping[str, str], name: str, base_url: str, dialect: str) -> None:
    """Store a server that the user adds. Raises UsageError and ConfigError."""
    address = _value("base_url", base_url)
    if address is None:
        raise UsageError("The address is missing.", "For example http://192.168.1.20:8000/v1.")
    rows = _read(provider_file(environment))
    _write(environment, {**rows, name: {"base_url": address, "dialect": dialect}})


def remove_provider(environment: Mapping[str, str], name: str) -> None:
    """Delete the settings of a provider. Raises UsageError and ConfigError."""
    rows = _read(provider_file(environment))
    if rows.pop(name, None) is not None:
        _write(environment, rows)


def _write(environment: Mapping[str, str], rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Replace the file. Raises the errors that the next start would raise for it."""
    path = provider_file(environment)
    given = {name: {field: value for field, value in row.items() if value is not None}
             for name, row in rows.items()}
    written = {"providers": {name: row for name, row in given.items() if row}}
    try:
        write_private(path, json.dumps(written, indent=1),
                      check=lambda beside: read_config_file(beside, environment))
    except OSError as problem:
        raise UsageError(f"{path} cannot be written: {problem.strerror}.") from problem


def _value(field: str, text: str) -> Any:
    if field not in FIELDS:
        raise UsageError(f"{field} cannot be set here.", f"Use one of: {', '.join(FIELDS)}.")
    if not text.strip():
        return None
    if field == "base_url" and not text.strip().startswith(("http://", "https://")):
        raise UsageError(f"{text.strip()} is not an address.",
                         "It starts with http:// or https://.")
    return parse_value(BY_NAME[field], text.strip(), field)


def _read(path: str) -> dict[str, dict[str, Any]]:
    """The file's fields by provider; empty if it is missing or damaged."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)["providers"]
        return {str(name): dict(row) for name, row in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
