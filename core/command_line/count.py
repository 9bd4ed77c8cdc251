"""--count: the tokens of files as the model would read them, before anything is sent."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from core.config import Settings
from core.config.directories import cache_directory
from core.console.question import piped_context
from core.console.tables import show
from core.chat.counting import CountedSources, count_sources
from core.model_manager import Providers, build_model_list
from core.rendering.table import Table
from core.safe_text import safe_line
from core.stats.counting import Counted
from core.window.tokens import LearnedFile, TokenEstimator


def run(settings: Settings) -> int:
    """Print the counts; return the exit code, 1 if something could not be counted."""
    names = [*settings.count, *_more_names(settings)]
    stdin = piped_context(settings.replace(context=tuple(names)))
    found = asyncio.run(_count(settings, names, stdin))
    for fault in found.faults:
        print(f"Not counted: {safe_line(str(fault))}.", file=sys.stderr)
    if settings.json:
        print(json.dumps([_record(name, counted) for name, counted in found.counted], indent=1))
    else:
        show(settings, _table(found))
    return 1 if found.faults else 0


def _more_names(settings: Settings) -> list[str]:
    """Return the words after `--count NAME`, which are files too, as when a shell expands *.py."""
    return [settings.prompt] if os.path.exists(settings.prompt) else settings.prompt.split()


async def _count(settings: Settings, names: list[str], stdin: str) -> CountedSources:
    learned = os.path.join(cache_directory(settings.environment), "tokens.json")
    estimator = TokenEstimator(LearnedFile(learned) if settings.save else None)
    providers = Providers(settings)
    try:
        target = build_model_list(settings)[0]
        return await count_sources(names, settings, target, providers, estimator, stdin=stdin)
    finally:
        await providers.close()


def _table(found: CountedSources) -> Table:
    rows = [(name, str(counted)) for name, counted in found.counted]
    if len(rows) > 1:
        counts = [counted for _, counted in found.counted]
        by = counts[0].by if all(one.by for one in counts) else ""
        whole = Counted(sum(one.tokens for one in counts), by, sum(one.doubt for one in counts))
        rows.append(("all", str(whole)))
    return Table(("name", "tokens"), tuple(rows))


def _record(name: str, counted: Counted) -> dict[str, object]:
    return {
        "name": name,
        "tokens": counted.tokens,
        "exact": bool(counted.by),
        "within": counted.doubt,
    }
