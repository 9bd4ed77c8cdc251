"""Updates a configuration file of the older form: JSON with a key but without a provider."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

OLD_KEYS = {"api_key": "openai", "claude_api_key": "claude", "gemini_api_key": "gemini"}


def migrate(path: str, mapping: dict[str, Any]) -> Sequence[str]:
    """Add the provider to the mapping and to the file; keep the old file beside it.

    Returns notices for the user.
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
        return (f"{path} names no provider; {provider} is assumed. The file could not be "
                f"updated: {problem.strerror}.",)
    return (f"{path} named no provider; {provider} was added. The old file is {backup}.",)


def _provider_of(mapping: Mapping[str, Any]) -> str:
    """The provider of the model, if its key is in the file; otherwise the first key's provider."""
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
    """Write the file so that only its owner can read it: it contains a key."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(mapping, file, indent=2, ensure_ascii=False, default=str)
        file.write("\n")


def _put_back(backup: str, path: str) -> None:
    """Restore the old file after a failure to write the new one."""
    if os.path.exists(backup):
        try:
            os.replace(backup, path)
        except OSError:
            pass
