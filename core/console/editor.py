"""Opens a text in the user's editor."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Mapping

from core.errors import UsageError

HINT = "Set EDITOR to another one. /edit TEXT needs none."


class NoEditor(UsageError):
    """The editor cannot be started."""


def chosen_editor(environment: Mapping[str, str]) -> str:
    """The command of the editor that the user chose, "" if none is set."""
    return environment.get("VISUAL") or environment.get("EDITOR") or ""


def edit_text(text: str, environment: Mapping[str, str]) -> str:
    """The text as the user left it.

    Raises NoEditor when it cannot be started, UsageError when it failed.
    """
    named = chosen_editor(environment) or ("notepad" if os.name == "nt" else "vi")
    descriptor, path = tempfile.mkstemp(prefix="stream-chat-", suffix=".md")
    try:
        with open(descriptor, "w", encoding="utf-8", errors="surrogatepass", newline="") as file:
            file.write(text)
        code = subprocess.run([*shlex.split(named), path], check=False).returncode
        if code:
            raise UsageError(f"The editor {named} failed with exit code {code}; the text is "
                             "unchanged.", HINT)
        with open(path, encoding="utf-8", errors="surrogatepass", newline="") as file:
            changed = file.read()
    except (OSError, ValueError) as problem:
        why = getattr(problem, "strerror", None) or str(problem)
        raise NoEditor(f"The editor {named} cannot be started: {why}.", HINT) from problem
    finally:
        os.unlink(path)
    return changed if text.endswith("\n") else changed.removesuffix("\n")
