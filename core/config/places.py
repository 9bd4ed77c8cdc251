"""The program's own files, which no tool and no context may read."""

from __future__ import annotations

import os

from core.config import Settings
from core.config.directories import config_directory, data_directory


def protected_places(settings: Settings, place: str) -> list[str]:
    """Paths of the data, the configuration and the sessions' database at `place`."""
    places = [data_directory(settings.environment), config_directory(settings.environment)]
    scheme, separator, rest = place.partition("://")
    file = place if not separator else rest.removeprefix("/") if scheme == "sqlite" else ""
    files = (file, settings.config, settings.environment.get("STREAM_CHAT_CONFIG"),
             settings.mcp_config, settings.debug)
    return places + [os.path.expanduser(each) for each in files if each]
