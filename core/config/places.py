"""Where the program keeps what is its own: no tool and no context may read there."""

from __future__ import annotations

import os

from core.config import Settings
from core.config.directories import config_directory, data_directory


def protected_places(settings: Settings, place: str) -> list[str]:
    """The program's data and configuration, and the sessions wherever they are kept."""
    places = [data_directory(settings.environment), config_directory(settings.environment)]
    scheme, separator, rest = place.partition("://")
    file = place if not separator else rest.removeprefix("/") if scheme == "sqlite" else ""
    files = (file, settings.config, settings.environment.get("STREAM_CHAT_CONFIG"),
             settings.mcp_config, settings.debug)
    return places + [os.path.expanduser(each) for each in files if each]
