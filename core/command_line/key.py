"""--set-key: stores a provider's key, typed hidden or piped in."""

from __future__ import annotations

import sys
from getpass import getpass

from core.config import Settings
from core.config.keys import keep_key, origin_of
from core.errors import UsageError
from core.model_manager import Providers, provider_name


def run(settings: Settings) -> int:
    """Store a key; return the exit code.

    Keys are never accepted on the command line, which others can see.
    """
    assert settings.set_key is not None    # called only with --set-key
    name = provider_name(settings.set_key)
    if settings.prompt:
        raise UsageError("A key does not belong on the command line: others can see it there, and "
                         "shells keep it.",
                         f"Type it when stream-chat --set-key {name} asks. If it was a real key, "
                         "replace it.")
    providers = Providers(settings.replace(provider=name))
    host = providers.host(name)
    base_url = providers.base_url(name, host)
    if not host.server:
        raise UsageError(f"{name} does not need a key.")
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
