"""-h, --help, --help TOPIC and --version."""

from __future__ import annotations

from core import __version__
from core.argument_parser import ALL, SHORT, help_text, short_help
from core.config import Settings
from core.config.terminal import terminal_size


def run(settings: Settings) -> int:
    """Print the requested text; return the exit code."""
    if settings.help is None:
        print(f"stream-chat {__version__}")
        return 0
    width = min(110, max(60, terminal_size(100, 24)[0]))
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
