"""The clipboard of this desktop: put text on it, and take text or a picture from it, with installed
programs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence

from core.errors import UsageError

TIMEOUT = 10.0    # seconds
MOST = 32 << 20   # most bytes that are read from it
Programs = tuple[tuple[str, tuple[str, ...]], ...]
# The variable that says that the desktop is there, and the command that reads the text
# from its standard input.
PROGRAMS: Programs = (
    ("WAYLAND_DISPLAY", ("wl-copy",)), ("DISPLAY", ("xclip", "-selection", "clipboard")),
    ("DISPLAY", ("xsel", "--clipboard", "--input")), ("WSL_DISTRO_NAME", ("clip.exe",)),
    ("TERMUX_VERSION", ("termux-clipboard-set",)), ("TMUX", ("tmux", "load-buffer", "-")))
# The same for commands that write the text, or a picture, to standard output.
TEXT: Programs = (
    ("WAYLAND_DISPLAY", ("wl-paste", "--no-newline")),
    ("DISPLAY", ("xclip", "-selection", "clipboard", "-o")),
    ("DISPLAY", ("xsel", "--clipboard", "--output")),
    ("WSL_DISTRO_NAME", ("powershell.exe", "-NoProfile", "-Command", "Get-Clipboard -Raw")),
    ("TERMUX_VERSION", ("termux-clipboard-get",)), ("TMUX", ("tmux", "save-buffer", "-")))
PICTURE: Programs = (
    ("WAYLAND_DISPLAY", ("wl-paste", "--type", "image/png")),
    ("DISPLAY", ("xclip", "-selection", "clipboard", "-t", "image/png", "-o")))
INSTALL = "Install wl-clipboard or xclip"
PNG = b"\x89PNG\r\n\x1a\n"


def copy(text: str, environment: Mapping[str, str]) -> str:
    """Copy the text; return the name of the program that took it. Raises UsageError if none is
    installed or works.
    """
    failures = []
    for command in _programs(PROGRAMS, environment, ("pbcopy",), ("clip",)):
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
    raise UsageError(f"Nothing was copied. {why}",
                     f"{INSTALL}; over SSH: /set clipboard osc52. Or use /save FILE.")


def picture(environment: Mapping[str, str]) -> bytes:
    """The picture on the clipboard as a PNG; b"" if there is none."""
    for command in _programs(PICTURE, environment, ("pngpaste", "-"), ()):
        data = _output(command)
        if data.startswith(PNG):
            return data
    return b""


def text(environment: Mapping[str, str]) -> str:
    """The text on the clipboard. Raises UsageError if it cannot be read or is empty."""
    commands = _programs(TEXT, environment, ("pbpaste",),
                         ("powershell", "-NoProfile", "-Command", "Get-Clipboard -Raw"))
    if not commands:
        raise UsageError("The clipboard cannot be read: no clipboard program was found.",
                         f"{INSTALL}, or paste with the keys of your terminal.")
    for command in commands:
        found = _output(command).decode("utf-8", "replace")
        if found.strip():
            return found
    raise UsageError("The clipboard has no text and no picture.")


def _output(command: Sequence[str]) -> bytes:
    """The program's output; empty if it fails."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout[:MOST] if done.returncode == 0 else b""


def _programs(programs: Programs, environment: Mapping[str, str], mac: tuple[str, ...],
              windows: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The commands for this desktop whose programs are installed."""
    wanted = ([("", mac)] if sys.platform == "darwin"
              else [("", windows)] if sys.platform == "win32" else programs)
    found = []
    for variable, command in wanted:
        path = environment.get("PATH")
        program = (shutil.which(command[0], path=path)
                   if command and (not variable or environment.get(variable)) else None)
        if program:
            found.append((program, *command[1:]))
    return found
