"""--pull: downloads a model; progress goes to standard error."""

from __future__ import annotations

import asyncio
import sys

from core.config import Settings
from core.console.pull_progress import show_progress
from core.console.screen import Screen
from core.model_manager import Providers, build_model_list, find_target


def run(settings: Settings) -> int:
    """Download the model; return the exit code."""
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> int:
    assert settings.pull is not None    # called only with --pull
    providers = Providers(settings)
    target = find_target(settings.pull, settings, build_model_list(settings)[0].provider)
    try:
        shown = settings if sys.stderr.isatty() else settings.replace(color="never")
        await show_progress(Screen(sys.stderr, shown), target, providers)
    finally:
        await providers.close()
    return 0
