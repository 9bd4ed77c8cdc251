"""--set-key: stores a provider's key, which is typed unseen or piped in."""

from __future__ import annotations

import sys
from getpass import getpass

from core.config import Settings
from core.config.keys import keep_key, origin_of
from core.errors import UsageError
from core.model_manager import Providers, provider_name


def run(settings: Settings) -> int:
    """Store it; returns the exit code.

    A key never stands on a command line: others can read those.
    """
    assert settings.set_key is not None    # the table of doors leads here only with it
    name = provider_name(settings.set_key)
    if settings.prompt:
        raise UsageError("A key does not belong on the command line: others can see it there, and "
                         "shells keep it.",
                         f"It is asked for: stream-chat --set-key {name}. If it was a real key, "
                         "replace it.")
    providers = Providers(settings.replace(provider=name))
    host = providers.host(name)
    base_url = providers.base_url(name, host)
    if not host.server:
        raise UsageError(f"{name} needs no key.")
    place = keep_key(settings.environment, name, _read_key(name), base_url)
    print(f"The key of {name} is stored in {place}. It is sent to {origin_of(base_url)} and "
          "nowhere else.", file=sys.stderr)
    return 0


def _read_key(name: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline()
    try:
        return getpass(f"Key of {name} (it is not shown): ")
    except EOFError:
        return ""
