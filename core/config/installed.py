"""How this copy of the program was installed, for hints that work as they are printed."""

from __future__ import annotations

import os
import sys


def install_command(packages: str) -> str:
    """The command that adds packages to this installation, however it was made."""
    if os.path.exists(os.path.join(sys.prefix, "pipx_metadata.json")):
        return f"pipx inject stream-chat {packages}"
    if os.path.exists(os.path.join(sys.prefix, "uv-receipt.toml")):
        return f"uv pip install --python {sys.executable} {packages}"
    return f"{sys.executable} -m pip install {packages}"
