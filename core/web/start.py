"""--web: starts the page, which needs packages that a terminal chat does not."""

from __future__ import annotations

from importlib.util import find_spec

from core.config import Settings
from core.config.installed import install_command
from core.errors import UsageError
from core.model_manager import Providers, build_model_list
from core.setup.chat import wants_tools
from core.setup.tools import make_toolbox

NEEDED = ("starlette", "uvicorn")


def run(settings: Settings) -> int:
    """Serve the page until it is stopped; return the exit code.

    Raises UsageError and StoreError.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(f"The page needs packages that are not installed: {', '.join(missing)}.",
                         f"Install them: {install_command(*missing)}")
    _check(settings)
    if settings.team:
        from core.web.team.server import serve_team
        return serve_team(settings)
    from core.web.running import serve_page
    return serve_page(settings)


def _check(settings: Settings) -> None:
    """Report now what is wrong with the settings, and not with the first message.

    Raises UsageError and ConfigError.
    """
    if wants_tools(settings):
        make_toolbox(settings)
    providers = Providers(settings)
    for target in build_model_list(settings):
        providers.host(target.provider)
