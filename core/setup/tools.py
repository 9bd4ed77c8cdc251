"""Creates the toolbox of a run from its settings: offered tools, access, and permissions."""

from __future__ import annotations

import glob
import os
import shlex
from collections.abc import Collection, Mapping, MutableMapping
from typing import Any

from core.config import Settings
from core.config.places import protected_places
from core.config.values import read_own_json, read_own_text
from core.context.sources import parse_context_arg
from core.errors import ConfigError, UsageError
from core.tool_executor import KINDS, Servers, Toolbox, namespace
from core.tools import Tool, ToolContext, get_tools, is_tool, load_tools_file, real_roots
from core.tools.mcp.connection import parse_servers
from core.tools.mcp.group import ServerGroup


def make_toolbox(settings: Settings, store: Any = None, session: str | None = None, *,
                 place: str = "", grants: MutableMapping[str, str] | None = None,
                 kept: Collection[str] = ()) -> Toolbox:
    """The toolbox of a chat.

    `place` is where sessions are kept, `kept` are tools that only the continued session names.
    Raises UsageError and ConfigError.
    """
    context = make_context(settings, store, session, place)
    return Toolbox(offered_tools(settings, kept), context, allow=allowed(settings), grants=grants,
                   private=bool(settings.context),
                   servers=make_servers(settings))


def offered_tools(settings: Settings, kept: Collection[str] = ()) -> list[Tool]:
    """The tools that --experimental, --experimental-websearch, --tools and --tools-file ask for.
    Those in `kept` that are not available are left out.
    """
    own = [made for path in settings.tools_file
           for made in load_tools_file(os.path.expanduser(path))]
    available = [name for name in settings.tools if name not in kept or is_tool(name)]
    names = available + (["web_search"] if settings.experimental_websearch else [])
    safe = get_tools(None) if settings.experimental else ()
    named = get_tools(names) if names else ()
    return list({made.name: made for made in (*safe, *named, *own)}.values())


def make_context(settings: Settings, store: Any, session: str | None, place: str) -> ToolContext:
    """What tools may access: the working directory and what the user attached, but none of the
    program's own files.
    """
    sources = [source for text in settings.context for source in parse_context_arg(text)]
    given = [source.target for source in sources if source.kind in ("file", "directory")]
    given += [path for source in sources if source.kind == "glob"
              for path in glob.glob(source.target, recursive=True)]
    return ToolContext(
        roots=real_roots([os.getcwd(), *given]),
        protected=real_roots(protected_places(settings, place)), store=store,
        session=session, databases={name: str(url) for name, url in settings.databases.items()},
        search_engines=settings.search_engines, searxng_url=settings.searxng_url,
        local_hosts=frozenset(map(str.lower, settings.local_hosts)))


def allowed(settings: Settings) -> set[str]:
    """Kinds, tools and hosts that need no approval. Raises UsageError for an unknown word."""
    free = {"read",
            *(["web_search"] if settings.experimental or settings.experimental_websearch else [])}
    for word in settings.allow:
        space, name = namespace(word)
        # __: a tool of an MCP server
        if space == "kind" and name not in KINDS or space == "tool" and "__" not in name:
            _check_tool_name(name, settings)
    return free | set(settings.allow)


def _check_tool_name(word: str, settings: Settings) -> None:
    try:
        get_tools([word])
    except UsageError as problem:
        raise UsageError(f"--allow: {word} is neither a tool nor a kind of tool.",
                         f"Kinds are {', '.join(KINDS)}; a host without a dot is written as "
                         f"host:{word}.") from problem


# ---- MCP servers

def make_servers(settings: Settings) -> Servers | None:
    """The configured MCP servers, not started; None without any. Raises ConfigError."""
    if not settings.mcp or not (settings.mcp_servers or settings.mcp_config):
        return None
    rows = {str(name): _server_row(row) for name, row in settings.mcp_servers.items()}
    found = parse_servers({"mcpServers": _read_rows(settings.mcp_config) | rows})
    return ServerGroup(found) if found else None


def _server_row(row: Any) -> Any:
    """A server's entry: a mapping, or `name=address` or `name=command words` as a mapping."""
    if not isinstance(row, str):
        return row
    if row.startswith(("http://", "https://")):
        return {"url": row}
    try:
        command, *arguments = shlex.split(row) or [""]
    except ValueError as problem:
        raise ConfigError(f"--mcp-server: {row!r} cannot be read: {problem}.") from problem
    return {"command": command, "args": arguments}


def _read_rows(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    try:
        document = read_own_json(read_own_text(os.path.expanduser(path)), path)
    except OSError as problem:
        raise ConfigError(f"{path} cannot be read: {problem.strerror}.") from problem
    except (ValueError, RecursionError) as problem:
        raise ConfigError(f"{path} is not valid JSON: {problem}.") from problem
    rows = document.get("mcpServers") if isinstance(document, Mapping) else None
    if not isinstance(rows, Mapping):
        raise ConfigError(f"{path} contains no mcpServers.",
                          'Write {"mcpServers": {"name": {"command": ...}}}.')
    return dict(rows)
