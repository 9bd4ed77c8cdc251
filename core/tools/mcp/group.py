"""The MCP servers of a chat: started together, restarted once if they end, and their notices."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from core.errors import ConfigError
from core.tools import Tool
from core.tools.mcp.connection import Connection, Server, close_all
from core.tools.mcp.wire import load
from core.tools.running import run_in_thread

FIRST_SECONDS = 3.0  # seconds that the first turn waits for servers


class ServerGroup:
    """Servers that are started together when the first turn offers tools or a command needs them.

    The first turn waits `patience` seconds for them; those that take longer join later.
    """

    def __init__(self, servers: Iterable[Server], patience: float = FIRST_SECONDS) -> None:
        self.servers = tuple(servers)
        self.patience = patience
        self.connections: list[Connection] = []
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._told: set[str] = set()

    @property
    def tools(self) -> Sequence[Tool]:
        return [made for connection in self.connections for made in connection.tools]

    async def start(self) -> list[str]:
        """Start the servers and wait briefly. Returns notices, each only once."""
        first = not self.connections
        if first:
            try:
                await run_in_thread(
                    load, {"name": "mcp.client"}
                )  # Ctrl-C must not wait for it
            except ConfigError as problem:
                return self._tell_once("", f"{problem.message} {problem.hint}")
            self.connections = [Connection(server) for server in self.servers]
            self._restarted: set[str] = set()
            self._starting = {
                entry.server.name: asyncio.create_task(entry.start()) for entry in self.connections
            }
        news = [line for place in range(len(self.connections)) for line in self._revive(place)]
        waiting = [task for task in self._starting.values() if not task.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=self.patience if first or news else 0)
        news += [
            line
            for entry in self.connections
            for line in _changes(entry.server.name, *await entry.refresh())
        ]
        return news + [line for entry in self.connections for line in self._news(entry)]

    def _revive(self, place: int) -> list[str]:
        """Restart a server that has ended, once automatically; return notices."""
        dead = self.connections[place]
        name = dead.server.name
        if not dead.died or name in self._restarted:
            return []
        self._restarted.add(name)
        self.connections[place] = Connection(dead.server)
        self._starting[name] = asyncio.create_task(self.connections[place].start())
        return [f"The MCP server {name} ended{dead.last_words()} and was started again."]

    async def restart(self, name: str) -> Connection:
        """End one server and start it again. Raises ConfigError for an unknown name."""
        await self.start()
        for place, old in enumerate(self.connections):
            if old.server.name == name:
                await old.close()
                await old.wait_for_end()
                self.connections[place] = Connection(old.server)
                self._told = {told for told in self._told if not told.startswith(f"{name}:")}
                await self.connections[place].start()
                return self.connections[place]
        raise ConfigError(
            f"There is no MCP server {name!r}.",
            f"There are: {', '.join(one.name for one in self.servers)}.",
        )

    def _news(self, entry: Connection) -> list[str]:
        name = entry.server.name
        if entry.problem:
            return self._tell_once(
                name, f"The MCP server {name} cannot be used: {entry.problem}{entry.last_words()}."
            )
        if entry.died:
            return self._tell_once(
                name,
                f"The MCP server {name} ended again{entry.last_words()}. "
                f"/mcp restart {name} starts it.",
            )
        if entry.left_out:
            return self._tell_once(
                name, f"Not all that the MCP server {name} offers can be used. Left out: "
                f"{entry.left_out}."
            )
        task = self._starting.get(name)
        if task is not None and not task.done():
            return self._tell_once(
                name,
                f"The MCP server {name} is not ready after {self.patience:g} s; "
                "its tools are offered when it is.",
            )
        return []

    def _tell_once(self, name: str, text: str) -> list[str]:
        known = f"{name}:{text}" in self._told
        self._told.add(f"{name}:{text}")
        return [] if known else [text]

    async def close(self) -> None:
        for task in self._starting.values():
            task.cancel()
        await close_all(self.connections)


def _changes(name: str, came: Sequence[str], went: Sequence[str]) -> Iterable[str]:
    said = [
        f"{word} {', '.join(names)}" for word, names in (("new:", came), ("gone:", went)) if names
    ]
    if said:
        yield f"The MCP server {name} changed its tools; {'; '.join(said)}."
