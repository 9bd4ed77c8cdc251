"""Opens the transport to one MCP server, a program or an address, with limits to what it sends."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from core.config.installed import install_command
from core.dataclass import dataclass, field
from core.errors import ConfigError, ToolError
from core.safe_text import safe_line
from core.tools.mcp.log import ServerLog

LARGEST_ANSWER = 8 << 20  # bytes of one HTTP response
KEEPER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "keeper.py")
SESSION = "mcp-session-id"
VERSIONS = ("2025-11-25", "2026-07-28")  # protocol versions with different rules for tools
STAND_INS = (
    "Server returned an error response",
    "Not Found",
    "Session terminated",
    "Invalid request",
)


@dataclass(slots=True)
class Noted:
    """Observations that the library does not pass on.

    `status` is the last HTTP status if it was an error. `lost`: the server no longer knows our
    session. `left_out` maps unusable tools to the reasons.
    """

    status: int = 0
    lost: bool = False
    left_out: dict[str, str] = field(default_factory=dict)
    # set when the server sent something that is not a message
    garbled: asyncio.Event = field(default_factory=asyncio.Event)

    def see(self, response: Any) -> None:
        """Record the HTTP response to a message."""
        if response.request.method == "POST":
            self.status = response.status_code if response.status_code >= 400 else 0
            self.lost = self.lost or self.status == 404 and SESSION in response.request.headers


def reason_of(problem: BaseException, noted: Noted) -> str:
    """The innermost cause of an error, which the library wraps in groups; HTTP errors in words."""
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    said = safe_line((str(problem).strip().splitlines() or [type(problem).__name__])[0], 200)
    if noted.status and said.rstrip(".") in STAND_INS:
        return _status_words(noted.status)
    return said.rstrip(".")


def _status_words(status: int) -> str:
    match status:
        case 401:
            return (
                "it asks for a sign-in (401); put a token into the server's headers: "
                '{"Authorization": "Bearer ${TOKEN}"}'
            )
        case 403:
            return "it refuses access (403); check the token in the server's headers"
        case 404:
            return "there is no MCP server at this address (404); check its url"
        case 429:
            return "it has too many requests (429); try again later"
    return f"it reports an error ({status})"


@contextlib.asynccontextmanager
async def open_client(
    command: Command | None,
    address: Address | None,
    noted: Noted,
    on_message: Callable[[Any], Awaitable[None]],
) -> AsyncIterator[Any]:
    """A connected client of the `mcp` package. Raises ConfigError and whatever the library does."""
    client = load("mcp.client").Client
    if command is not None:
        with command.log.writer() as errors:  # keeps a server's log off the chat's screen
            streams = load("mcp.client.stdio").stdio_client(command.parameters(), errlog=errors)
            async with client(sieved(streams, noted), message_handler=on_message) as opened:
                errors.close()  # only the program has it now
                yield opened
        return
    assert address is not None
    import httpx2

    http = load("mcp.client.streamable_http")

    async def look(response: Any) -> None:
        noted.see(response)
        _limit(response)

    timeout = httpx2.Timeout(30.0, read=address.seconds)
    async with httpx2.AsyncClient(
        headers=dict(address.headers),
        timeout=timeout,
        follow_redirects=False,
        event_hooks={"response": [look]},
    ) as transport:
        streams = http.streamable_http_client(address.url, http_client=transport)
        async with client(sieved(streams, noted), message_handler=on_message) as opened:
            yield opened


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a server; `seconds` is the time limit of one answer."""

    url: str
    headers: Mapping[str, str]
    seconds: float


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start."""

    words: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str | None
    log: ServerLog

    def parameters(self) -> Any:
        """The command line of the keeper, which starts the server (on Windows, the server itself).
        """
        variables = dict(self.env)
        words = [os.path.expanduser(self.words[0]), *self.words[1:]]
        if shutil.which(words[0], path=variables.get("PATH")) is None:
            raise ConfigError(f"there is no program {self.words[0]!r}")
        if sys.platform != "win32":
            words = [sys.executable, "-I", "-S", KEEPER, *words]
        return load("mcp.client.stdio").StdioServerParameters(
            command=words[0], args=words[1:], cwd=self.cwd, env=variables or None
        )


def _limit(response: Any) -> None:
    """Limit the size of a response, so that an endless one cannot fill the memory."""
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


def load(name: str) -> Any:
    """A module of the `mcp` package, which is slow to load and may be missing. Raises ConfigError.
    """
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as problem:
        raise ConfigError(
            "MCP servers need the package mcp, which is not installed.",
            f"Install it: {install_command('mcp>=2.3,<3')}",
        ) from problem
    for logger in (
        "mcp",
        "client",
    ):  # else Python prints it
        if not logging.getLogger(logger).handlers:
            logging.getLogger(logger).addHandler(logging.NullHandler())
    return module


# ---- lists of tools: the library refuses a whole list because of one invalid tool


@contextlib.asynccontextmanager
async def sieved(streams: Any, noted: Noted) -> AsyncIterator[Any]:
    """The streams of a transport, with tools removed that do not follow the protocol."""
    async with streams as (reading, writing):
        yield _Sieve(reading, noted), writing


class _Sieve:
    """A stream of messages that checks each message as it is read."""

    def __init__(self, stream: Any, noted: Noted) -> None:
        self._stream, self._noted = stream, noted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def __aenter__(self) -> _Sieve:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> Any:
        return await self._stream.__aexit__(*raised)

    def __aiter__(self) -> _Sieve:
        return self

    async def __anext__(self) -> Any:
        return self._looked_at(await self._stream.__anext__())

    async def receive(self) -> Any:
        return self._looked_at(await self._stream.receive())

    def _looked_at(self, item: Any) -> Any:
        if isinstance(item, Exception):
            self._noted.garbled.set()
        result = getattr(getattr(item, "message", None), "result", None)
        if isinstance(result, dict) and isinstance(result.get("tools"), list):
            tools = [usable_tool(entry, self._noted) for entry in result["tools"]]
            result["tools"] = [entry for entry in tools if entry is not None]
        return item


def usable_tool(entry: Any, noted: Noted) -> Any:
    """The tool, without invalid fields; None if it cannot be used, which is recorded in `noted`."""
    if _wrong(entry) == "":
        return entry
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name:
        noted.left_out["without a name"] = "it has no name"
        return None
    plain = {"name": name, "inputSchema": _as_object(entry.get("inputSchema"))}
    if isinstance(entry.get("description"), str):
        plain["description"] = entry["description"]
    wrong = _wrong(plain)
    if wrong:
        noted.left_out[name] = wrong
        return None
    return plain


def _as_object(schema: Any) -> Any:
    """A schema corrected if it lacks the type "object" or gives empty properties as a list."""
    if schema is None:
        return {"type": "object"}
    if not isinstance(schema, dict):
        return schema
    fixed = {"type": "object", **schema}
    return (
        {**fixed, "properties": {}}
        if fixed.get("properties") in ([], None) and "properties" in fixed
        else fixed
    )


def _wrong(entry: Any) -> str:
    """What is wrong with a tool by both versions of the protocol; "" if nothing is."""
    import pydantic
    from mcp_types import methods

    around = {"resultType": "complete", "ttlMs": 0, "cacheScope": "public"}
    for version in VERSIONS:
        try:
            methods.validate_server_result("tools/list", version, {"tools": [entry], **around})
        except pydantic.ValidationError as problem:
            first = problem.errors()[0]
            where = ".".join(str(part) for part in first["loc"][2:])
            return f"{where}: {first['msg']}" if where else str(first["msg"])
    return "" if isinstance(entry, dict) and entry.get("name") else "it has no name"
