"""Asks before using files, tools or options that another person stored with a session."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from core.chat.front import Front
from core.chat.kept import ATTACHED, read_attached, read_kept, shown
from core.context.restoring import KeptSource
from core.safe_text import safe_line
from core.session_manager import Session
from core.sessions.sharing import offered_in, settled
from core.tools import is_tool

LONGEST_NAME = 4096      # characters: names are shown in full, since any part may matter
ON_DISK = ("file", "directory", "glob")


async def settle_offered(session: Session, front: Front) -> tuple[bool, list[str]]:
    """Ask whether the offered settings may be used, and store the answer with the session.

    Returns (whether the user agreed, notices). If the user cannot be asked, the question stays
    open.
    """
    usable = _usable(offered_in(session.settings))
    lines = list(_lines(usable))
    if not lines:
        session.keep_settings(settled(session.settings, {}))
        return False, []
    if front.agree is None:
        return False, [
            f"Not used, since this session comes from elsewhere: {'; '.join(lines)}. "
            "Open it in a terminal to be asked, or name what you want (--context, --tools)."
        ]
    question = "\n".join(
        [
            "This session comes from elsewhere and asks for more than its conversation:",
            *(f"  {line}" for line in lines),
            "Use this? Files are read here and sent to the model.",
        ]
    )
    agreed = await front.agree(question)
    session.keep_settings(settled(session.settings, usable if agreed else {}))
    return agreed, []


def _usable(offered: Mapping[str, Any]) -> dict[str, Any]:
    """The offered settings that this program knows and accepts."""
    text = json.dumps(offered)
    found: dict[str, Any] = dict(read_kept(text))
    if "tools" in found:
        found["tools"] = _known_tools(found["tools"])
    found[ATTACHED] = [entry.to_json() for entry in read_attached(text)]
    return {name: value for name, value in found.items() if value}


def _known_tools(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if is_tool(name))


def _lines(usable: Mapping[str, Any]) -> Iterator[str]:
    for name, value in usable.items():
        if name != ATTACHED:
            yield shown(name, value, LONGEST_NAME)
    for entry in read_attached(json.dumps(dict(usable))):
        yield f"attached: {_place(entry)}"


def _place(entry: KeptSource) -> str:
    """The full path or address that a source would be read from."""
    source = entry.source
    name = os.path.join(entry.root, source.target) if source.kind in ON_DISK else source.name
    return safe_line(name, LONGEST_NAME)
