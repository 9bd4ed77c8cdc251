"""Shows text that is longer than the screen in the user's pager."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress

from core.config import Settings
from core.config.terminal import terminal_size

# options of `less`: quit if the text fits, keep colours, leave the text on the screen
LESS = "FRX"


def show_long(text: str, settings: Settings) -> None:
    """Print it; on a terminal, through PAGER (or less) when it is longer than the screen."""
    pager = (pager_of(settings) if sys.stdout.isatty()
             and text.count("\n") >= terminal_size(80, 24)[1] else [])
    if pager and _paged(pager, text, settings.environment):
        return
    sys.stdout.write(text)


def pager_of(settings: Settings) -> list[str]:
    """The pager's command; None if the text should be printed directly."""
    environment = settings.environment
    if settings.plain_screen or environment.get("TERM", "") in ("dumb", ""):
        return []
    named = environment.get("PAGER")
    if named is not None:
        with suppress(ValueError):
            return shlex.split(named) if named.strip() != "cat" else []
        return []
    return ["less"] if shutil.which("less") else []


def _paged(command: list[str], text: str, environment: Mapping[str, str]) -> bool:
    """Run the pager; False if it cannot be started or fails, so that the text is printed."""
    try:
        done = subprocess.run(command, input=text, encoding="utf-8",
                              env={"LESS": LESS, **environment}, check=False)
    except KeyboardInterrupt:
        return True
    except OSError:
        return False
    return done.returncode in (0, 130, -2)
