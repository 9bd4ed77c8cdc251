"""Yes-or-no questions on standard error, for entry points without a screen."""

from __future__ import annotations

import sys

from core.console.line_input import ask, drop_typed, read_line
from core.console.terminal_modes import echoed
from core.safe_text import safe_text

YES = ("y", "yes")


def somebody_types() -> bool:
    """Whether a user can be asked on standard input."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


def says_yes(question: str) -> bool:
    """Ask. Anything but a clear yes counts as no."""
    try:
        return ask(question).strip().lower() in YES
    except EOFError:
        return False


async def agree(question: str) -> bool:
    """Ask about an attachment. Anything but a clear yes counts as no."""
    try:
        with echoed(sys.stdin.fileno()):
            drop_typed(sys.stdin)
            print(f"{safe_text(question)} [y/N] ", end="", file=sys.stderr, flush=True)
            return (await read_line(sys.stdin)).strip().lower() in YES
    except BaseException:
        print(file=sys.stderr)      # start the next line at the left
        raise
