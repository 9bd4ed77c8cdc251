"""The settings stored with a session: its system prompt, options, tools and attachments."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

from core.config import BY_NAME, Settings
from core.config.values import check_value
from core.errors import UsageError
from core.providers.parameters import read_schema
from core.safe_text import safe_line
from core.sessions.sharing import OFFERED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.context.restoring import KeptSource

KEPT = ("system", "temperature", "top_p", "seed", "max_tokens", "stop", "think", "num_ctx",
        "keep_alive", "option",
        "response_format", "experimental", "experimental_websearch", "tools")
ATTACHED, FORMAT = "attached", "response_format"
MOST_SHOWN = 100    # characters of one value


def kept_settings(settings: Settings, attached: Sequence[KeptSource] = (),
                  offered: Mapping[str, object] | None = None) -> str:
    """JSON of the settings that differ from their defaults, the attachments, and what the user has
    not yet agreed to; "" if there is nothing.
    """
    found: dict[str, object] = {name: getattr(settings, name) for name in KEPT
                                if getattr(settings, name) != BY_NAME[name].default}
    if names_a_file(found.get(FORMAT)):     # a session may be continued from another directory
        found[FORMAT] = os.path.abspath(str(found[FORMAT]))
    if attached:
        found[ATTACHED] = [entry.to_json() for entry in attached]
    if offered:
        found[OFFERED] = offered
    return json.dumps(found, ensure_ascii=False, sort_keys=True) if found else ""


def read_attached(text: str) -> list[KeptSource]:
    """The sources that were attached to the session."""
    if f'"{ATTACHED}"' not in text:
        return []
    from core.context.restoring import read_source
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return []
    rows = found.get(ATTACHED) if isinstance(found, dict) else None
    sources = map(read_source, rows) if isinstance(rows, list) else ()
    return [source for source in sources if source is not None]


def read_kept(text: str) -> dict[str, object]:
    """The stored settings by name, without unknown names and invalid values."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: tuple(map(str, value)) if isinstance(value, list) else value
            for name, value in found.items() if name in KEPT and _fits(name, value)}


def _fits(name: str, value: object) -> bool:
    row = BY_NAME[name]
    kind = {float: (int, float), list: (list,)}.get(row.kind, (row.kind,))
    if not isinstance(value, kind) or isinstance(value, bool) != (row.kind is bool):
        return False
    if isinstance(value, str) and not value.strip() and row.blank != "empty":
        return False
    try:
        check_value(row, value, name)
    except UsageError:
        return False
    return True


def with_kept(settings: Settings, text: str,
              flags: frozenset[str] | None = None) -> tuple[Settings, list[str]]:
    """(settings for a continued session, notices): the session's own, except where a flag differs.

    `flags` names the settings that take precedence; by default all those on the command line.
    """
    kept, flags = read_kept(text), settings.flags if flags is None else flags
    restored = {name: value for name, value in kept.items() if name not in flags}
    lost = lost_schema(restored.get(FORMAT))
    if lost:
        del restored[FORMAT]
    said = [f"{shown(name, value)} (as this session had it)" for name, value in restored.items()]
    said += [f"{shown(name, getattr(settings, name))} from now on; this session had "
             f"{shown(name, value)}"
             for name, value in kept.items() if name in flags and getattr(settings, name) != value]
    return settings.replace(**restored), (["; ".join(said) + "."] if said else []) + lost


def names_a_file(form: object) -> bool:
    """Whether a response format is the name of a file with a schema."""
    return form not in (None, "text", "json")


def lost_schema(form: object) -> list[str]:
    """A notice that the file of a session's response format cannot be used any more."""
    if not names_a_file(form):
        return []
    try:
        read_schema(str(form))
    except UsageError as problem:
        return [f"This session's response format is left out: {problem.message}"]
    return []


def shown(name: str, value: object, most: int = MOST_SHOWN) -> str:
    """One setting in words."""
    words = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    label = {"system": "system prompt", "num_ctx": "window"}.get(name, name.replace("_", " "))
    if isinstance(value, bool):
        return f"{label} {'on' if value else 'off'}"
    return f"{label} {safe_line(words, most) or 'none'}"
