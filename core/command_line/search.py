"""--search: sessions that contain words, with snippets, or one array with --json."""

from __future__ import annotations

import sys

from core.config import Settings
from core.safe_text import safe_line
from core.sessions.listing import local_minutes
from core.sessions.search import Found, as_objects, search
from core.setup.saved import open_saved

MOST = 20


def run(settings: Settings) -> int:
    """Print the results; return the exit code, 1 if nothing was found."""
    store = open_saved(settings)
    try:
        found = search(store, settings.search or "", limit=settings.limit or MOST)
    finally:
        store.close()
    if settings.json:
        import json
        print(json.dumps(as_objects(found), indent=1))
        return 0 if found else 1
    if not found:
        print("Nothing was found.", file=sys.stderr)
        return 1
    color = (sys.stdout.isatty() and settings.color != "never"
             and "NO_COLOR" not in settings.environment)
    for entry in found:
        print("\n".join(lines_of(entry, color=color)))
    return 0


def lines_of(entry: Found, *, color: bool = False) -> list[str]:
    """Return the lines of a session and its hits, safe to show."""
    (when,) = local_minutes([entry.session.updated])
    lines = [f"{entry.session.name}  {when}  {safe_line(entry.session.title, 80)}"]
    for hit in entry.hits:
        text, last = "", 0
        for start, end in hit.marks if color else ():
            text += (safe_line(hit.snippet[last:start])
                     + f"\x1b[1m{safe_line(hit.snippet[start:end])}\x1b[22m")
            last = end
        lines.append(f"    {hit.role}: {text}{safe_line(hit.snippet[last:])}")
    return lines
