"""--self-test: checks the installation with a toy model and without network."""

from __future__ import annotations

import sys

from core.config import Settings
from core.engine.self_test import run_self_test


def run(settings: Settings) -> int:
    """Print the results; return the exit code."""
    return run_self_test(sys.stdout.write, settings.environment, engine=settings.engine)
