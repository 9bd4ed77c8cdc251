"""How this copy of the program was installed, for hints that work as they are printed."""

from __future__ import annotations

import os
import shlex
import sys


def install_command(*packages: str) -> str:
    """The command for a shell that adds packages to this installation, however it was made."""
    named, python = shlex.join(packages), shlex.quote(sys.executable)
    if os.path.exists(os.path.join(sys.prefix, "pipx_metadata.json")):
        return f"pipx inject stream-chat {named}"
    if os.path.exists(os.path.join(sys.prefix, "uv-receipt.toml")):
        return f"uv pip install --python {python} {named}"
    return f"{python} -m pip install {named}"
