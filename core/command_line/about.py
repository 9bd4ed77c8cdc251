"""What the program says of itself: --help and --version."""

from __future__ import annotations

from shutil import get_terminal_size

from core import __version__
from core.argument_parser import help_text
from core.config import Settings


def run(settings: Settings) -> int:
    """Print it; returns the exit code."""
    if settings.help:
        print(help_text(min(110, max(60, get_terminal_size((100, 24)).columns))))
    else:
        print(f"stream-chat {__version__}")
    return 0
