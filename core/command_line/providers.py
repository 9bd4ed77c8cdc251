"""What the command line can ask about providers without a chat: lists, health, storing a key, making a model of a Modelfile."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from core.config import Settings
from core.errors import UsageError
from core.model_manager import Providers, Target, build_model_list, find_target, provider_name
from core.rendering.table import Table
from core.safe_text import safe_line


def act_on_providers(settings: Settings) -> int:
    """Do what was asked for; returns the exit code."""
    if settings.set_key:
        return set_key(settings)
    if settings.pull:
        return asyncio.run(_with_providers(settings, _pull))
    return asyncio.run(_with_providers(settings, _check if settings.check else _list))


async def _with_providers(settings: Settings, do: Callable[[Settings, Providers], Awaitable[int]]) -> int:
    providers = Providers(settings)
    try:
        return await do(settings, providers)
    finally:
        await providers.close()


async def _list(settings: Settings, providers: Providers) -> int:
    from core.models.tables import model_table, provider_table
    if settings.list_providers:
        show(settings, provider_table(providers))
    if settings.list_models:
        only = provider_name(settings.provider) if "provider" in settings.flags else ""
        show(settings, await model_table(providers, only))
    return 0


async def _pull(settings: Settings, providers: Providers) -> int:
    """Fetch a model; the progress is on standard error."""
    from core.terminal.pull_progress import STOPPED, show_progress
    from core.terminal.screen import Screen
    target = find_target(settings.pull, settings, build_model_list(settings)[0].provider)
    try:
        await show_progress(sys.stderr, target, providers, color=Screen(sys.stderr, settings).color)
    except asyncio.CancelledError:
        print(STOPPED, file=sys.stderr)
        raise
    print(f"{target} is here.", file=sys.stderr)
    return 0


async def _check(settings: Settings, providers: Providers) -> int:
    """The exit code is about the provider that would be asked."""
    from core.models.tables import health_table
    table, found = await health_table(providers)
    show(settings, table)
    first = build_model_list(settings)[0].provider
    return 0 if any(health.ok for health in found if health.provider == first) else 1


def show(settings: Settings, table: Table) -> None:
    """To a terminal as a drawn table, to a pipe as aligned text, with --json as an array of objects."""
    if settings.json:
        records = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        print(json.dumps(records, ensure_ascii=False, indent=1))
    elif sys.stdout.isatty():
        from core.terminal.loop import show_table
        from core.terminal.screen import Screen
        show_table(Screen(sys.stdout, settings), table)
    else:
        sys.stdout.write("".join(f"{line}\n" for line in aligned(table)))


def aligned(table: Table) -> list[str]:
    """Columns as wide as they need, two spaces apart; a cell is one line, so that a line is a row."""
    rows = [table.columns, *(tuple(safe_line(" ".join(cell.split())) for cell in row) for row in table.rows)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(table.columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


# ---- keys

def set_key(settings: Settings) -> int:
    """Store a key that is typed unseen or piped in. It never stands on a command line: others can read those."""
    from core.config.keys import keep_key, origin_of
    name = provider_name(settings.set_key)
    if settings.prompt:
        raise UsageError("A key does not belong on the command line: others can see it there, and shells keep it.",
                         f"It is asked for: stream-chat --set-key {name}. If it was a real key, replace it.")
    providers = Providers(settings.replace(provider=name))
    host = providers.host(name)
    base_url = providers.base_url(name, host)
    if host.dialect in ("demo", "local"):
        raise UsageError(f"{name} needs no key.")
    place = keep_key(settings.environment, name, _read_key(name), base_url)
    print(f"The key of {name} is stored in {place}. It is sent to {origin_of(base_url)} and nowhere else.", file=sys.stderr)
    return 0


def _read_key(name: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline()
    from getpass import getpass
    try:
        return getpass(f"Key of {name} (it is not shown): ")
    except EOFError:
        return ""


# ---- Modelfile

async def make_model(settings: Settings, providers: Providers) -> Target:
    """Make the model of --modelfile on its server and name it: after --model, else after the file."""
    from core.providers.modelfile import model_name, read_modelfile
    made = read_modelfile(settings.modelfile)
    chosen = build_model_list(settings)[0]
    target = Target(chosen.provider, chosen.model if "model" in settings.flags else model_name(settings.modelfile))
    create = getattr(providers.open(target.provider), "create", None)
    if create is None:
        raise UsageError(f"{target.provider} makes no models of Modelfiles.", "Ollama does: --provider ollama.")
    async with aclosing(create(target.model, made.base, made.files, made.adapters, made.create)) as steps:
        async for step in steps:
            if sys.stderr.isatty():
                print(f"\r\x1b[K{safe_line(step.status, 60)}", end="", file=sys.stderr, flush=True)
    print(f"{chr(13) + chr(27) + '[K' if sys.stderr.isatty() else ''}{target} is made of {settings.modelfile}.", file=sys.stderr)
    return target
