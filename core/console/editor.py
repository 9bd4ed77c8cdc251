"""Opens a text in the user's editor."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Mapping

from core.errors import UsageError


def edit_text(text: str, environment: Mapping[str, str]) -> str:
    """The text as the user left it.

    Raises UsageError when no editor can be started, or it failed.
    """
    named = (environment.get("VISUAL") or environment.get("EDITOR")
             or ("notepad" if os.name == "nt" else "vi"))
    descriptor, path = tempfile.mkstemp(prefix="stream-chat-", suffix=".md")
    try:
        with open(descriptor, "w", encoding="utf-8", errors="surrogatepass", newline="") as file:
            file.write(text)
        code = subprocess.run([*shlex.split(named), path], check=False).returncode
        if code:
            raise UsageError(f"The editor {named} ended with {code}; nothing is changed.")
        with open(path, encoding="utf-8", errors="surrogatepass", newline="") as file:
            changed = file.read()
    except (OSError, ValueError) as problem:
        raise UsageError(f"The editor {named} cannot be started: {problem}.",
                         "Set EDITOR, or write the new text behind the command: /edit "
                         "2 TEXT.") from problem
    finally:
        os.unlink(path)
    return changed if text.endswith("\n") else changed.removesuffix("\n")
