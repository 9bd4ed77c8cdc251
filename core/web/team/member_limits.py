"""Limits chats on the team page: members have no access to the server's files, tools and settings.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

from core.chat.kept import read_attached
from core.commands import all_commands, find_command, split_command
from core.errors import UsageError
from core.regex import regex
from core.session_manager import Session
from core.sessions.sharing import kept_of_others
from core.web.uploads import file_name

# Commands limited to the conversation and the member's own sessions.
ALLOWED = frozenset(
    "aside retry drop undo redo edit fork branches new session resume continue system compare"
    " compact uncompact pin unpin cost help model models think usage sent sessions search history"
    " delete keep share unshare rename tag pin-session archive unarchive undelete stats"
    " last".split()
)
# Arguments of these commands that would access the server.
REFUSED = {"models": regex(r"(pull|rm)\b", re.IGNORECASE), "sent": regex(r"\S+\s+(?!-$)")}
_UPLOADED = regex(r"[0-9a-f]{16}/[^/*?|:]+")


def may_use(name: str) -> bool:
    """Return whether a command is offered to members. Names that are not built-in commands
    (core/commands) are prompts of the server's configuration, which are harmless, or of an MCP
    server ("__").
    """
    found = all_commands().get(name)
    return found.name in ALLOWED if found is not None else "__" not in name


def require_allowed(line: str) -> None:
    """Raise UsageError for a command that reads or changes data of the server."""
    word, argument = split_command(line)
    found = find_command(word.lower())
    name = found.name if found is not None else word
    refused = REFUSED.get(name)
    if not may_use(name) or "__" in word or refused is not None and refused.match(argument):
        raise UsageError(
            f"/{line.strip().removeprefix('/')[:80]} is not available on the team page: it would"
            " read or change data of the server.",
            "Use it in a terminal on your own computer.",
        )


def settle(session: Session, uploads: str) -> None:
    """Remove settings of a session that would read the server's files or enable its tools, since
    they may come from an import or another member. Uploaded files stay.
    """
    kept = kept_of_others(session.settings)
    attached = [
        entry.to_json()
        for entry in read_attached(session.settings)
        if _is_uploaded(entry.to_json(), uploads)
    ]
    if attached:
        kept["attached"] = attached
    session.settings = json.dumps(kept, ensure_ascii=False, sort_keys=True) if kept else ""


def _is_uploaded(row: Any, uploads: str) -> bool:
    """Return whether this names a file in the folder of this member's uploads."""
    if not isinstance(row, dict) or row.get("kind") != "file" or not uploads:
        return False
    name, root = row.get("name"), row.get("root")
    if not isinstance(name, str) or not isinstance(root, str):
        return False
    inside = os.path.normpath(os.path.join(root, name)).removeprefix(uploads + os.sep)
    is_plain = name.startswith(os.sep) or all(part == file_name(part) for part in name.split("/"))
    return is_plain and _UPLOADED.fullmatch(inside) is not None
