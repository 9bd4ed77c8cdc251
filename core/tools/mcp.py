"""Tools, prompts and resources of MCP servers, through the official `mcp` package, which is loaded when a server is configured.

Each server lives in a task of its own, because its connection has to be closed by the task that opened it. What one server
does (hang, die, answer nonsense) ends its own calls only. What a server says of its tools is not believed: every tool
counts as one that changes something, and its results as private.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from core.errors import ConfigError, ToolError
from core.safe_text import safe_line
from core.tools import Tool, ToolContext, canonical, fingerprint
from core.tools.mcp_log import ServerLog
from core.tools.running import MAX_RESULT, run_in_thread, shorten

MOST_PAGES = 50               # of a list: an empty one may be followed by more
MOST_TOOLS = 200              # of one server
LARGEST_DEFINITION = 50_000   # characters of one tool's description and schema
CONNECT_SECONDS = 60.0        # npx and uvx may have to fetch the server first
STEP_SECONDS = 0.5
CALL_SECONDS = 120.0
ASK_SECONDS = 15.0            # for a list, a prompt or a resource
CLOSE_SECONDS = 5.0
FIRST_SECONDS = 3.0
LARGEST_ANSWER = 8 << 20      # bytes of one HTTP response
KEEPER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mcp_keeper.py")


@dataclass(frozen=True, slots=True)
class Server:
    """One row of `mcpServers`: a program to start, or the address of a server that runs."""

    name: str
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    call_seconds: float = CALL_SECONDS    # how long one call of a tool may take

    @property
    def source(self) -> str:
        """Shown by /tools; a grant ends when the server is set up in another way."""
        setup = fingerprint([self.command, self.args, self.cwd, self.url, sorted(self.env)])
        return f"MCP server {self.name} ({self.url or os.path.basename(self.command)}, {setup[:8]})"


def parse_servers(document: Mapping[str, Any]) -> tuple[Server, ...]:
    """Read the common shape: {"mcpServers": {name: {command, args, env} or {url, headers}}}. Raises ConfigError."""
    rows = document.get("mcpServers", document)
    if not isinstance(rows, Mapping):
        raise ConfigError("mcpServers is no mapping of names to servers.")
    wanted = {str(name): row for name, row in rows.items() if not (isinstance(row, Mapping) and row.get("disabled"))}
    return tuple(_parse_server(name, row) for name, row in wanted.items())


def _parse_server(name: str, row: Any) -> Server:
    known = {"command": str, "args": list, "env": dict, "cwd": str, "url": str, "headers": dict}
    if not isinstance(row, Mapping) or bool(row.get("command")) == bool(row.get("url")):
        raise ConfigError(f"The MCP server {name!r} needs either a command or a url.")
    values: dict[str, Any] = {key: row[key] for key in known if row.get(key) is not None}
    for key, value in values.items():
        if not isinstance(value, known[key]):
            raise ConfigError(f"mcpServers: {name}: {key} cannot be {value!r}.")
    texts: dict[str, Any] = {key: {str(k): str(v) for k, v in values[key].items()} for key in ("env", "headers") if key in values}
    return Server(name, **(values | texts | {"args": tuple(map(str, values.get("args", ())))}))


class Connection:
    """One server, from start() to close(). `tools` is empty, and `problem` says why, when it cannot be used."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.tools: tuple[Tool, ...] = ()
        self.problem = ""
        self.known_prompts: tuple[tuple[str, str], ...] = ()    # name and description, as they were listed last
        self._client: Any = None
        self._task: asyncio.Task[None] | None = None
        self._leave = asyncio.Event()
        self._was_ready = False
        self._log = ServerLog() if server.command else None

    @property
    def died(self) -> bool:
        """Whether it was connected once and its program, or our task for it, has ended."""
        return self._was_ready and not self._leave.is_set() and (
            self._task is None or self._task.done() or self._log is not None and self._log.ended())

    def last_words(self) -> str:
        """What its program wrote to standard error last, for a message about its end; empty when there is nothing."""
        said = self._log.last_lines() if self._log is not None else ""
        return f" (it said: {said})" if said else ""

    @property
    def ready(self) -> bool:
        return self._client is not None

    async def start(self, seconds: float = CONNECT_SECONDS) -> None:
        """Connect and learn the tools. Never raises for what the server does."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._live(ready), name=f"mcp-{self.server.name}")
        for _ in range(int(seconds / STEP_SECONDS)):   # not one long wait: between turns the loop stands still, the clock does not
            if ready.done() or self._task.done():
                break
            await asyncio.wait({ready, self._task}, timeout=STEP_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            self.problem = self.problem or f"it was not ready within {seconds:g} s"
            await self.close()

    async def _live(self, ready: asyncio.Future[None]) -> None:
        try:
            async with _open_client(self.server, self._log) as client:
                self.tools = await self._list_tools(client)
                self._client, self._was_ready = client, True
                ready.set_result(None)
                await self._leave.wait()
        except asyncio.CancelledError:
            raise
        except BaseException as problem:   # exception groups of the library, also of kinds that are no Exception
            self.problem = _reason(problem)
        finally:
            self._client = None

    async def _list_tools(self, client: Any) -> tuple[Tool, ...]:
        found: list[Tool] = []
        cursor, pages = None, 0
        while len(found) < MOST_TOOLS:
            page = await client.list_tools(cursor=cursor)
            found += [made for told in page.tools if (made := self._make_tool(told)) is not None]
            cursor = page.next_cursor
            pages += 1
            if not cursor or pages >= MOST_PAGES:
                break
        return tuple({made.name: made for made in found[:MOST_TOOLS]}.values())

    def _make_tool(self, told: Any) -> Tool | None:
        schema = told.input_schema if isinstance(told.input_schema, dict) else {"type": "object"}
        if len(canonical([told.name, told.description, schema])) > LARGEST_DEFINITION:
            return None

        async def call(**arguments: Any) -> str:
            return await self.call(told.name, arguments)
        host = urlsplit(self.server.url).hostname or ""
        hosts: Callable[[Mapping[str, Any], ToolContext], list[str]] | None = (lambda arguments, context: [host]) if host else None
        return Tool(tool_name(self.server.name, told.name), told.description or told.name, schema, call, kind="write",
                    timeout=self.server.call_seconds, private=True, hosts=hosts, source=self.server.source, in_loop=True)

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Run one tool. Raises ToolError."""
        async with self._answering() as client:
            result = await client.call_tool(name, dict(arguments), read_timeout_seconds=self.server.call_seconds)
        text = "\n".join(map(_block_text, result.content))
        if not text.strip() and result.structured_content is not None:
            text = canonical(result.structured_content)
        if result.is_error:
            raise ToolError(text or f"{name} failed without a reason.")
        return text

    async def prompts(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """Name, description and argument names of each prompt; empty where the server has none."""
        try:
            page = await self._ask("list_prompts")
            self.known_prompts = tuple((told.name, told.description or "") for told in page.prompts)
            return [(told.name, told.description or "", tuple(one.name for one in told.arguments or ())) for told in page.prompts]
        except ToolError:
            return []

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> str:
        result = await self._ask("get_prompt", name, dict(arguments))
        return shorten("\n\n".join(_block_text(message.content) for message in result.messages), MAX_RESULT)

    async def resources(self) -> list[tuple[str, str]]:
        """Address and name of each resource; empty where the server has none."""
        try:
            page = await self._ask("list_resources")
            return [(str(told.uri), told.name) for told in page.resources]
        except ToolError:
            return []

    async def resource(self, uri: str) -> str:
        result = await self._ask("read_resource", uri)
        return shorten("\n".join(getattr(part, "text", None) or "(binary)" for part in result.contents), MAX_RESULT)

    async def _ask(self, method: str, *arguments: Any) -> Any:
        async with self._answering() as client:
            return await asyncio.wait_for(getattr(client, method)(*arguments), ASK_SECONDS)

    @contextlib.asynccontextmanager
    async def _answering(self) -> Any:
        """The client, with every failure of the server as a ToolError; also its death, which the library may not notice."""
        if self._client is None or self._task is None or self._task.done():
            raise ToolError(f"The MCP server {self.server.name} is gone: {self.problem or 'it ended'}.")
        try:
            yield self._client
        except (ToolError, asyncio.CancelledError):
            raise
        except BaseException as problem:
            if isinstance(problem, (KeyboardInterrupt, SystemExit)):
                raise
            raise ToolError(f"The MCP server {self.server.name} failed: {_reason(problem)}.") from problem

    async def close(self) -> None:
        """End the connection and the server's process. May be called twice."""
        self._leave.set()
        if self._task is None:
            return
        done, _ = await asyncio.wait({self._task}, timeout=CLOSE_SECONDS if self._client is not None else 0.01)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CLOSE_SECONDS)


class ServerGroup:
    """The MCP servers of a chat: started side by side when the first turn offers tools, or when a command asks for them.

    `patience` is how many seconds the first turn waits for them; those that take longer join later.
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
        """Start them and wait a little. Returns what the person should know of those that cannot be used, once each."""
        first = not self.connections
        if first:
            try:
                await run_in_thread(_load, {"name": "mcp.client"})   # it takes a second: Ctrl-C shall not have to wait for it
            except ConfigError as problem:
                return self._tell_once("", f"{problem.message} {problem.hint}")
            self.connections = [Connection(server) for server in self.servers]
            self._restarted: set[str] = set()
            self._starting = {entry.server.name: asyncio.create_task(entry.start()) for entry in self.connections}
        news = [line for place in range(len(self.connections)) for line in self._revive(place)]
        waiting = [task for task in self._starting.values() if not task.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=self.patience if first or news else 0)
        return news + [line for entry in self.connections for line in self._news(entry)]

    def _revive(self, place: int) -> list[str]:
        """Start a server that has died again, once by itself."""
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
                self.connections[place] = Connection(old.server)
                self._told = {told for told in self._told if not told.startswith(f"{name}:")}
                await self.connections[place].start()
                return self.connections[place]
        raise ConfigError(f"There is no MCP server {name!r}.", f"There are: {', '.join(one.name for one in self.servers)}.")

    def _news(self, entry: Connection) -> list[str]:
        name = entry.server.name
        if entry.problem:
            return self._tell_once(name, f"The MCP server {name} cannot be used: {entry.problem}{entry.last_words()}.")
        if entry.died:
            return self._tell_once(name, f"The MCP server {name} ended again{entry.last_words()}. "
                                         f"/mcp restart {name} starts it.")
        task = self._starting.get(name)
        if task is not None and not task.done():
            return self._tell_once(name, f"The MCP server {name} is not ready after {self.patience:g} s; "
                                         "its tools are offered when it is.")
        return []

    def _tell_once(self, name: str, text: str) -> list[str]:
        known = f"{name}:{text}" in self._told
        self._told.add(f"{name}:{text}")
        return [] if known else [text]

    async def close(self) -> None:
        for task in self._starting.values():
            task.cancel()
        await close_all(self.connections)


async def connect(servers: Iterable[Server]) -> list[Connection]:
    """Start all servers side by side. One that fails is in the list with its `problem`."""
    connections = [Connection(server) for server in servers]
    if connections:
        _load("mcp.client")
        await asyncio.gather(*(connection.start() for connection in connections))
    return connections


async def close_all(connections: Iterable[Connection]) -> None:
    await asyncio.gather(*(connection.close() for connection in connections))


@contextlib.asynccontextmanager
async def _open_client(server: Server, log: ServerLog | None) -> Any:
    client = _load("mcp.client").Client
    if log is not None:
        with log.writer() as errors:     # a server's log does not belong on the chat's screen
            async with client(_load("mcp.client.stdio").stdio_client(_program(server), errlog=errors)) as opened:
                errors.close()       # only the program has it now
                yield opened
        return
    import httpx2
    http = _load("mcp.client.streamable_http")
    timeout = httpx2.Timeout(30.0, read=server.call_seconds)
    hooks = {"response": [_limit]}
    async with httpx2.AsyncClient(headers=dict(server.headers), timeout=timeout, follow_redirects=False,
                                  event_hooks=hooks) as transport:
        async with client(http.streamable_http_client(server.url, http_client=transport)) as opened:
            yield opened


def _program(server: Server) -> Any:
    """What to start: the keeper, which starts the server. On Windows the library sees to it that nothing is left."""
    variables = dict(server.env)
    command = [os.path.expanduser(server.command), *server.args]
    if shutil.which(command[0], path=variables.get("PATH")) is None:
        raise ConfigError(f"there is no program {server.command!r}")
    if sys.platform != "win32":
        command = [sys.executable, "-I", "-S", KEEPER, *command]
    return _load("mcp.client.stdio").StdioServerParameters(command=command[0], args=command[1:], cwd=server.cwd,
                                                           env=variables or None)


async def _limit(response: Any) -> None:
    """An answer without end must not fill the memory."""
    import httpx2
    whole = response.stream

    class Limited(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for data in whole:
                size += len(data)
                if size > LARGEST_ANSWER:
                    raise ToolError(f"its answer is longer than {LARGEST_ANSWER >> 20} MB")
                yield data

        async def aclose(self) -> None:
            await whole.aclose()
    response.stream = Limited()


def _load(name: str) -> Any:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as problem:
        raise ConfigError("MCP servers need the package mcp.", "pip install 'mcp>=2.3,<3'") from problem
    for logger in ("mcp", "client"):   # without a handler, Python would print what servers do wrong on the chat's screen
        if not logging.getLogger(logger).handlers:
            logging.getLogger(logger).addHandler(logging.NullHandler())
    return module


def tool_name(server: str, tool: str) -> str:
    """server__tool in the characters that every provider takes, 64 at most; a name that had to be changed stays unique."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", f"{server}__{tool}")
    if plain == f"{server}__{tool}" and len(plain) <= 64:
        return plain
    return f"{plain[:55]}_{fingerprint([server, tool])[:8]}"


def _block_text(block: Any) -> str:
    text = getattr(block, "text", None)
    if isinstance(text, str):
        return text
    inner = getattr(getattr(block, "resource", None), "text", None)
    if isinstance(inner, str):
        return inner
    address = getattr(block, "uri", None) or getattr(getattr(block, "resource", None), "uri", None)
    if address is not None:
        named = getattr(block, "title", None) or getattr(block, "name", None)
        return f"(resource: {address}{f', {named}' if named else ''})"
    return f"({getattr(block, 'type', 'something')}: {getattr(block, 'mime_type', None) or 'not text'})"


def _reason(problem: BaseException) -> str:
    """The innermost cause: the library wraps what happened in groups."""
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    return safe_line((str(problem).strip().splitlines() or [type(problem).__name__])[0], 200).rstrip(".")
