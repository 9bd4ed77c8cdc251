"""Puts text on the clipboard, with the program that this desktop has for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping

from core.errors import UsageError

TIMEOUT = 10.0    # seconds
# The variable that says that the desktop is there, and the command that reads the text from its standard input.
PROGRAMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("WAYLAND_DISPLAY", ("wl-copy",)), ("DISPLAY", ("xclip", "-selection", "clipboard")),
    ("DISPLAY", ("xsel", "--clipboard", "--input")), ("WSL_DISTRO_NAME", ("clip.exe",)),
    ("TERMUX_VERSION", ("termux-clipboard-set",)), ("TMUX", ("tmux", "load-buffer", "-")))


def copy(text: str, environment: Mapping[str, str]) -> str:
    """Returns the name of the program that took it. Raises UsageError when there is none, or none that works."""
    failures = []
    for command in _programs(environment):
        name = os.path.basename(command[0])
        try:
            done = subprocess.run(command, input=text.encode("utf-8", "replace"), timeout=TIMEOUT,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        except (OSError, subprocess.TimeoutExpired) as problem:
            failures.append(f"{name} ({type(problem).__name__})")
            continue
        if done.returncode == 0:
            return name
        failures.append(f"{name} (exit status {done.returncode})")
    why = f"These failed: {', '.join(failures)}." if failures else "No clipboard program was found."
    raise UsageError(f"Nothing was copied. {why}", "Install wl-clipboard or xclip, or use /save FILE.")


def _programs(environment: Mapping[str, str]) -> list[tuple[str, ...]]:
    if sys.platform == "darwin":
        return [("pbcopy",)]
    if sys.platform == "win32":
        return [("clip",)]
    found = []
    for variable, (name, *words) in PROGRAMS:
        program = shutil.which(name, path=environment.get("PATH")) if environment.get(variable) else None
        if program:
            found.append((program, *words))
    return found
