"""Brings a configuration of the older single-provider shape up to date:
a JSON file with a key and no provider.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

OLD_KEYS = {"api_key": "openai", "claude_api_key": "claude", "gemini_api_key": "gemini"}


def migrate(path: str, mapping: dict[str, Any]) -> Sequence[str]:
    """Add the provider to the mapping and to the file; the old file is kept beside it.

    Returns what to tell the user.
    """
    if not path.endswith(".json") or "provider" in mapping or not OLD_KEYS.keys() & mapping.keys():
        return ()
    provider = _provider_of(mapping)
    mapping["provider"] = provider
    backup = _free_name(f"{path}.bak")
    try:
        os.rename(path, backup)
        os.chmod(backup, 0o600)
        _write(path, {"provider": provider}
               | {key: value for key, value in mapping.items() if key != "provider"})
    except OSError as problem:
        _put_back(backup, path)
        return (f"{path} names no provider; it is taken as {provider}. It could not be brought up "
                f"to date: {problem.strerror}.",)
    return (f"{path} named no provider; it was brought up to date as {provider}. The old file is "
            f"{backup}.",)


def _provider_of(mapping: Mapping[str, Any]) -> str:
    """The one whose model it is, if its key is there; else the first key's."""
    model = str(mapping.get("model") or "")
    fitting = (name for key, name in OLD_KEYS.items()
               if key in mapping and name != "openai" and model.startswith(name))
    return next(fitting, next(name for key, name in OLD_KEYS.items() if key in mapping))


def _free_name(path: str) -> str:
    number, name = 1, path
    while os.path.lexists(name):
        number, name = number + 1, f"{path}{number + 1}"
    return name


def _write(path: str, mapping: Mapping[str, Any]) -> None:
    """It holds a key, so it is its owner's alone."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(mapping, file, indent=2, ensure_ascii=False, default=str)
        file.write("\n")


def _put_back(backup: str, path: str) -> None:
    """A file that could not be written again must not be gone."""
    if os.path.exists(backup):
        try:
            os.replace(backup, path)
        except OSError:
            pass
