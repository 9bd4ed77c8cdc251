"""-h, --help, --help TOPIC and --version."""

from __future__ import annotations

from shutil import get_terminal_size

from core import __version__
from core.argument_parser import ALL, SHORT, help_text, short_help
from core.config import Settings


def run(settings: Settings) -> int:
    """Print the requested text; return the exit code."""
    if settings.help is None:
        print(f"stream-chat {__version__}")
        return 0
    width = min(110, max(60, get_terminal_size((100, 24)).columns))
    if settings.help == SHORT:
        print(short_help(width))
        return 0
    from core.console.pager import show_long
    show_long(help_text(width) + "\n" if settings.help == ALL else _topic(settings, width),
              settings)
    return 0


def _topic(settings: Settings, width: int) -> str:
    from core.command_line.topics import topic_text
    return topic_text(settings.help or "", settings, width)
