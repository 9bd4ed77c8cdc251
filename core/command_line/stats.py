"""--stats: statistics of the model calls so far, or one object with --json."""

from __future__ import annotations

import json
import sys
import time

from core.config import Settings
from core.console.tables import show
from core.setup.saved import open_saved
from core.stats.report import read_since, stats_table, summarise


def run(settings: Settings) -> int:
    """Print the statistics; return the exit code."""
    now = time.time()
    since = read_since(settings.since or "", now)
    store = open_saved(settings)
    try:
        entries = summarise(store.calls(since))
    finally:
        store.close()
    if settings.json:
        found = {"since": since or None, "models": [entry.to_dict() for entry in entries]}
        print(json.dumps(found, ensure_ascii=False, indent=1))
        return 0
    table = stats_table(entries, since, now)
    if isinstance(table, str):
        print(table, file=sys.stderr)
    else:
        show(settings, table)
    return 0
