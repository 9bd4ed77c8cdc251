"""Where the user's files live: data, configuration, cache and temporary files."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def _user_directory(environment: Mapping[str, str], xdg: str, unix: str, mac: str,
                    windows: str) -> str:
    """The user's directory for one kind of files.

    Written out here because importing platformdirs takes 13 ms at every start.
    """
    if sys.platform == "win32":
        root = environment.get(windows) or os.path.join(os.path.expanduser("~"), "AppData", "Local")
    elif environment.get(xdg, "").startswith("/"):
        root = environment[xdg]
    else:
        home = environment.get("HOME") or os.path.expanduser("~")
        root = os.path.join(home, mac if sys.platform == "darwin" else unix)
    return os.path.join(root, "stream-chat")


def data_directory(environment: Mapping[str, str]) -> str:
    """For sessions, spool files and input history. May not exist yet."""
    return _user_directory(environment, "XDG_DATA_HOME", ".local/share",
                           "Library/Application Support", "LOCALAPPDATA")


def config_directory(environment: Mapping[str, str]) -> str:
    """For the configuration file, keys and prompts. May not exist yet."""
    return _user_directory(environment, "XDG_CONFIG_HOME", ".config", "Library/Application Support",
                           "APPDATA")


def cache_directory(environment: Mapping[str, str]) -> str:
    """For files that can be downloaded or computed again. May not exist yet."""
    return _user_directory(environment, "XDG_CACHE_HOME", ".cache", "Library/Caches",
                           "LOCALAPPDATA")


def from_home(path: str) -> str:
    """A path to show: below the user's home directory, ~ stands for it."""
    home = os.path.expanduser("~")
    return f"~{path[len(home):]}" if path.startswith(home.rstrip(os.sep) + os.sep) else path


def temporary_directory(environment: Mapping[str, str]) -> str:
    """The system's directory for temporary files; it is not checked that it exists."""
    named = (environment.get(name, "") for name in ("TMPDIR", "TEMP", "TMP"))
    return next((path for path in named if os.path.isabs(path)), "" if os.name == "nt" else "/tmp")
