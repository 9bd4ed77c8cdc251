"""--self-test: checks the program here, with a toy model and no network."""

from __future__ import annotations

import sys

from core.config import Settings
from core.engine.self_test import run_self_test


def run(settings: Settings) -> int:
    """Print what passes; returns the exit code."""
    return run_self_test(sys.stdout.write, settings.environment, engine=settings.engine)
