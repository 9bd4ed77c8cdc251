"""Connects to MCP servers for their tools, prompts and resources, with the official `mcp` package.

Each server has its own task, because a connection must be closed by the task that opened it. A
server that hangs, dies or sends nonsense affects only its own calls. A server's claims about its
tools are not trusted: every tool counts as one that changes something, and its results as private.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from core.dataclass import dataclass, field
from core.errors import ConfigError, ToolError
from core.tools import Tool, ToolContext, canonical, fingerprint
from core.tools.mcp.lists import read_list
from core.tools.mcp.log import ServerLog
from core.tools.mcp.wire import Address, Command, Noted, load, open_client, reason_of
from core.tools.running import MAX_RESULT, shorten

LARGEST_DEFINITION = 50_000   # characters of one tool's description and schema
CONNECT_SECONDS = 60.0        # npx and uvx may have to download the server first
STEP_SECONDS = 0.5
CALL_SECONDS = 120.0
ASK_SECONDS = 15.0            # for a list, a prompt or a resource
CLOSE_SECONDS = 5.0
CLOSED = "Connection closed"  # the library's words for the end of a program


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
        """The source shown by /tools; permissions end when the server's configuration changes."""
        setup = fingerprint([self.command, self.args, self.cwd, self.url, sorted(self.env)])
        return f"MCP server {self.name} ({self.url or os.path.basename(self.command)}, {setup[:8]})"


def parse_servers(document: Mapping[str, Any]) -> tuple[Server, ...]:
    """Read the common shape: {"mcpServers": {name: {command, args, env} or {url, headers}}}.

    Raises ConfigError.
    """
    rows = document.get("mcpServers", document)
    if not isinstance(rows, Mapping):
        raise ConfigError("mcpServers is not a mapping of names to servers.")
    wanted = {str(name): row for name, row in rows.items()
              if not (isinstance(row, Mapping) and row.get("disabled"))}
    return tuple(_parse_server(name, row) for name, row in wanted.items())


def _parse_server(name: str, row: Any) -> Server:
    known = {"command": str, "args": list, "env": dict, "cwd": str, "url": str, "headers": dict}
    if not isinstance(row, Mapping) or bool(row.get("command")) == bool(row.get("url")):
        raise ConfigError(f"The MCP server {name!r} needs either a command or a url.")
    values: dict[str, Any] = {key: row[key] for key in known if row.get(key) is not None}
    for key, value in values.items():
        if not isinstance(value, known[key]):
            raise ConfigError(f"mcpServers: {name}: {key} cannot be {value!r}.")
    texts: dict[str, Any] = {key: {str(k): str(v) for k, v in values[key].items()}
                             for key in ("env", "headers") if key in values}
    return Server(name, **(values | texts | {"args": tuple(map(str, values.get("args", ())))}))


class Connection:
    """One server, from start() to close().

    If it cannot be used, `tools` is empty and `problem` is the reason.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.tools: tuple[Tool, ...] = ()
        self.problem = ""
        # name and description, as they were listed last
        self.known_prompts: tuple[tuple[str, str], ...] = ()
        self._client: Any = None
        self._task: asyncio.Task[None] | None = None
        self._leave = asyncio.Event()
        self._was_ready = False
        self._log = ServerLog() if server.command else None
        self._noted = Noted()
        self._cut: dict[str, str] = {}      # by the kind of list: what of it was not read
        self._renewing = asyncio.Lock()
        self._stale = False     # the server reported that its tools have changed

    @property
    def left_out(self) -> str:
        """The entries of its lists that cannot be used, with the reasons; "" if there are none."""
        named = [f"{name} ({why})" for name, why in self._noted.left_out.items()]
        return "; ".join([*named, *filter(None, self._cut.values())])

    @property
    def died(self) -> bool:
        """Whether it was connected and then its program, or our task for it, has ended."""
        return self._was_ready and not self._leave.is_set() and (
            self._task is None or self._task.done() or self._log is not None and self._log.ended())

    def last_words(self) -> str:
        """The last lines that its program wrote to standard error, for a message; "" if none."""
        said = self._log.last_lines() if self._log is not None else ""
        return f" (it said: {said})" if said else ""

    @property
    def ready(self) -> bool:
        return self._client is not None

    async def start(self, seconds: float = CONNECT_SECONDS) -> None:
        """Connect and list the tools. Never raises for failures of the server."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._live(ready), name=f"mcp-{self.server.name}")
        # in short waits: between turns the event loop does not run, but time passes
        for _ in range(int(seconds / STEP_SECONDS)):
            if ready.done() or self._task.done():
                break
            await asyncio.wait({ready, self._task}, timeout=STEP_SECONDS,
                               return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            self.problem = self.problem or f"it was not ready within {seconds:g} s"
            await self.close()

    async def _live(self, ready: asyncio.Future[None]) -> None:
        try:
            async with self._open() as client:
                self.tools = await self._list_tools(client)
                self._client, self._was_ready = client, True
                ready.set_result(None)
                watch = asyncio.create_task(self._watch(client))
                await self._leave.wait()
                watch.cancel()
                await asyncio.wait({watch})
        except asyncio.CancelledError:
            raise
        # the library raises exception groups, some of which are not Exceptions
        except BaseException as problem:
            self.problem = await self._reason(problem)
        finally:
            self._client = None

    def _open(self) -> contextlib.AbstractAsyncContextManager[Any]:
        self._noted = Noted()
        server = self.server
        if self._log is not None:
            command = Command((server.command, *server.args), server.env, server.cwd, self._log)
            return open_client(command, None, self._noted, self._note)
        address = Address(server.url, server.headers, server.call_seconds)
        return open_client(None, address, self._noted, self._note)

    async def _note(self, message: Any) -> None:
        """Handle a notification of the server, in protocol versions up to 2025."""
        if getattr(message, "method", "") == "notifications/tools/list_changed":
            self._stale = True

    async def _watch(self, client: Any) -> None:
        """Listen for notifications, which later protocol versions require."""
        offered = getattr(client.server_capabilities, "tools", None)
        if getattr(offered, "list_changed", None):
            with contextlib.suppress(Exception):
                async with client.listen(tools_list_changed=True) as news:
                    async for _ in news:
                        self._stale = True

    async def refresh(self) -> tuple[list[str], list[str]]:
        """Read the list again if the server reported a change; return (new tools, removed tools).
        """
        if not self._stale or self._client is None:
            return [], []
        self._stale, before = False, {made.name for made in self.tools}
        try:
            async with self._answering() as client:
                async with asyncio.timeout(ASK_SECONDS):
                    self.tools = await self._list_tools(client, fresh=True)
        except ToolError:
            return [], []       # its earlier tools are kept; a call reports what is wrong
        now = {made.name for made in self.tools}
        return sorted(now - before), sorted(before - now)

    async def _list_tools(self, client: Any, *, fresh: bool = False) -> tuple[Tool, ...]:
        mode = "refresh" if fresh else "use"
        listed = await self._read_list(
            "tools", lambda cursor: client.list_tools(cursor=cursor, cache_mode=mode))
        found = [made for told in listed if (made := self._make_tool(told)) is not None]
        return tuple({made.name: made for made in found}.values())

    async def _read_list(self, kind: str,
                         ask: Callable[[str | None], Awaitable[Any]]) -> list[Any]:
        listed, self._cut[kind] = await read_list(kind, ask)
        return listed

    def _make_tool(self, told: Any) -> Tool | None:
        schema = told.input_schema if isinstance(told.input_schema, dict) else {"type": "object"}
        if len(canonical([told.name, told.description, schema])) > LARGEST_DEFINITION:
            why = f"its description has more than {LARGEST_DEFINITION:,} characters"
            self._noted.left_out[told.name] = why
            return None

        async def call(**arguments: Any) -> str:
            return await self.call(told.name, arguments)
        host = urlsplit(self.server.url).hostname or ""
        hosts: Callable[[Mapping[str, Any], ToolContext], list[str]] | None = None
        if host:
            hosts = lambda arguments, context: [host]  # noqa: E731
        return Tool(tool_name(self.server.name, told.name), told.description or told.name, schema,
                    call, kind="write",
                    timeout=self.server.call_seconds, private=True, hosts=hosts,
                    source=self.server.source, in_loop=True)

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Run one tool. Raises ToolError."""
        result = await self._renewed(lambda client: client.call_tool(
            name, dict(arguments), read_timeout_seconds=self.server.call_seconds))
        text = "\n".join(map(_block_text, result.content))
        if not text.strip() and result.structured_content is not None:
            text = canonical(result.structured_content)
        if result.is_error:
            raise ToolError(text or f"{name} failed without a reason.")
        return text

    async def prompts(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """(name, description, argument names) of each prompt; empty if the server has none."""
        try:
            listed = await self._list("prompts")
            self.known_prompts = tuple((told.name, told.description or "") for told in listed)
            return [(told.name, told.description or "",
                     tuple(one.name for one in told.arguments or ())) for told in listed]
        except ToolError:
            return []

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> str:
        """The text of a prompt with these arguments. Raises ToolError."""
        result = await self._ask("get_prompt", name, dict(arguments))
        return shorten("\n\n".join(_block_text(message.content) for message in result.messages),
                       MAX_RESULT)

    async def resources(self) -> list[tuple[str, str]]:
        """(address, name) of each resource; empty if the server has none."""
        try:
            return [(str(told.uri), told.name) for told in await self._list("resources")]
        except ToolError:
            return []

    async def _list(self, kind: str) -> list[Any]:
        return await self._read_list(kind, lambda cursor: self._ask(f"list_{kind}", cursor=cursor))

    async def resource(self, uri: str) -> str:
        """The text of a resource. Raises ToolError."""
        result = await self._ask("read_resource", uri)
        return shorten("\n".join(getattr(part, "text", None) or "(binary)"
                                 for part in result.contents), MAX_RESULT)

    async def _ask(self, method: str, *arguments: Any, **named: Any) -> Any:
        return await self._renewed(
            lambda client: asyncio.wait_for(getattr(client, method)(*arguments, **named),
                                            ASK_SECONDS))

    async def _renewed(self, ask: Callable[[Any], Awaitable[Any]]) -> Any:
        """The server's answer; if the server lost our session, it is asked again in a new one."""
        before = self._client
        try:
            async with self._answering() as client:
                return await self._readable(ask(client))
        except ToolError:
            if not self._noted.lost:
                raise
        async with self._renewing:
            if self._client is before:
                await self.close()
                self._leave, self.problem = asyncio.Event(), ""
                await self.start(ASK_SECONDS)
        async with self._answering() as client:
            return await ask(client)

    async def _readable(self, answer: Awaitable[Any]) -> Any:
        """The answer. Raises ToolError at once if the server sends something that is not a message.
        """
        self._noted.garbled.clear()
        asked, garbled = (asyncio.ensure_future(answer),
                          asyncio.ensure_future(self._noted.garbled.wait()))
        try:
            await asyncio.wait({asked, garbled}, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                raise ToolError(f"The MCP server {self.server.name} sent an answer that cannot "
                                "be read.")
            return asked.result()
        finally:
            garbled.cancel()
            asked.cancel()

    @contextlib.asynccontextmanager
    async def _answering(self) -> Any:
        """The client, with failures of the server raised as ToolError, including its end, which the
        library may not notice.
        """
        if self._client is None or self._task is None or self._task.done():
            raise ToolError(f"The MCP server {self.server.name} is not running: "
                            f"{self.problem or 'it ended'}.")
        try:
            yield self._client
        except (ToolError, asyncio.CancelledError):
            raise
        except BaseException as problem:
            if isinstance(problem, (KeyboardInterrupt, SystemExit)):
                raise
            reason = await self._reason(problem)
            raise ToolError(f"The MCP server {self.server.name} failed: {reason}.") from problem

    async def _reason(self, problem: BaseException) -> str:
        """Why the connection failed; the keeper's reason is more precise than the library's."""
        reason = reason_of(problem, self._noted)
        if self._log is None:
            return reason
        if reason == CLOSED:
            await self._log.wait_for_end()
        return self._log.too_long() or reason

    async def wait_for_end(self) -> None:
        """After close(), wait until its program has ended, before another one is started."""
        if self._log is not None:
            await self._log.wait_for_end()

    async def close(self) -> None:
        """End the connection; its program ends within a second or two. May be called twice."""
        self._leave.set()
        if self._task is None:
            return
        done, _ = await asyncio.wait({self._task},
                                     timeout=CLOSE_SECONDS if self._client is not None else 0.01)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CLOSE_SECONDS)


async def connect(servers: Iterable[Server]) -> list[Connection]:
    """Start all servers at the same time; one that fails is in the list with its `problem`."""
    connections = [Connection(server) for server in servers]
    if connections:
        load("mcp.client")
        await asyncio.gather(*(connection.start() for connection in connections))
    return connections


async def close_all(connections: Iterable[Connection]) -> None:
    await asyncio.gather(*(connection.close() for connection in connections))


def tool_name(server: str, tool: str) -> str:
    """server__tool, with at most 64 characters that all providers accept; a changed name stays
    unique.
    """
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
    return (f"({getattr(block, 'type', 'something')}: "
            f"{getattr(block, 'mime_type', None) or 'not text'})")
