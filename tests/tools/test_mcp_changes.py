"""MCP servers that change: invalid tools, other tools during a chat, lost sessions, sign-ins."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import ToolError
from core.tool_executor import Toolbox
from core.tools.mcp.connection import Connection, Server, close_all, connect
from core.tools.mcp.group import ServerGroup
from core.tools.mcp.wire import Noted, usable_tool
from tests.fake_server import Answer, FakeServer, Received

pytest.importorskip("mcp")
SEED = int(os.environ.get("STREAM_CHAT_TEST_SEED", "") or random.randrange(1 << 32))
PROPER = {
    "name": "good",
    "description": "A tool.",
    "inputSchema": {"type": "object", "properties": {}},
}
VALUES: list[Any] = [
    None,
    "x",
    7,
    [],
    {},
    True,
    [PROPER],
    {"type": "array"},
    {"type": 7},
    "\ud800",
    1e400,
]


class HttpServer:
    """A server of the 2025 protocol over HTTP; `script` may answer a request before it does."""

    def __init__(self, script: Callable[[Received], Answer | None] = lambda request: None) -> None:
        self.script = script
        self.sessions: list[str] = []
        self.calls: list[str] = []
        self.tools: list[Any] = [PROPER]

    def __call__(self, request: Received) -> Answer:
        given = self.script(request)
        if given is not None:
            return given
        if request.method != "POST":
            return Answer((), 405, framing="length")
        asked = request.json
        if asked.get("id") is None:
            return Answer((), 202, framing="length")
        results: dict[str, Any] = {
            "initialize": {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": "x", "version": "1"},
            },
            "tools/list": {"tools": self.tools},
            "tools/call": {"content": [{"type": "text", "text": f"ok {len(self.calls)}"}]},
        }
        if asked["method"] == "initialize":
            self.sessions.append(f"s{len(self.sessions)}")
        if asked["method"] == "tools/call":
            self.calls.append(request.headers.get("mcp-session-id", ""))
        known = asked["method"] in results
        body = (
            {"result": results[asked["method"]]}
            if known
            else {"error": {"code": -32601, "message": "no"}}
        )
        return Answer(
            [json.dumps({"jsonrpc": "2.0", "id": asked["id"], **body}).encode()],
            headers={"mcp-session-id": self.sessions[-1]} if self.sessions else {},
            content_type="application/json",
        )


def refused(request: Received, status: int) -> Answer:
    return Answer([b"no"], status, content_type="text/plain")


# ---- wrong tools


def listed(server: HttpServer) -> tuple[list[str], list[str]]:
    """The offered tools and the notices for a server with this list."""

    async def scenario(url: str) -> tuple[list[str], list[str]]:
        group = ServerGroup([Server("s", url=url)], patience=60.0)
        box = Toolbox([], servers=group)
        said = await box.prepare()
        names = list(box.tools)
        await box.close()
        return names, said

    with FakeServer(server) as running:
        return asyncio.run(asyncio.wait_for(scenario(f"{running.url}/mcp"), 60))


def test_one_wrong_tool_is_left_out_by_name() -> None:
    server = HttpServer()
    server.tools = [
        {"name": "bad", "inputSchema": {"type": "array"}},
        7,
        PROPER,
        {"name": "big", "description": "x" * 60_000, "inputSchema": {"type": "object"}},
    ]
    names, said = listed(server)
    assert names == ["s__good"] and len(said) == 1
    assert (
        "bad (inputSchema.type: " in said[0]
        and "big (its description" in said[0]
        and "no name" in said[0]
    )


def test_a_tool_that_is_only_odd_is_offered() -> None:
    server = HttpServer()
    server.tools = [
        {"name": "a"},
        {"name": "b", "inputSchema": {"type": "object", "properties": []}},
        {"name": "c", "inputSchema": {}, "annotations": "x", "title": 7, "description": 9},
    ]
    assert listed(server) == (["s__a", "s__b", "s__c"], [])


def test_no_field_of_a_tool_costs_the_others() -> None:
    """Every field, and every part of its schema, replaced by every kind of value."""
    print("seed", SEED)
    chance, tried = random.Random(SEED), 0
    fields = (
        "name",
        "description",
        "title",
        "inputSchema",
        "outputSchema",
        "annotations",
        "icons",
        "_meta",
    )
    for name in fields:
        for value in VALUES:
            made = usable_tool({**PROPER, name: value}, Noted())
            tried += 1
            assert made is None or made["name"] and isinstance(made["inputSchema"], dict), (
                name,
                value,
            )
    server = HttpServer()
    server.tools = [
        {
            **PROPER,
            "name": f"t{n}",
            chance.choice(fields[1:]): json.loads(json.dumps(chance.choice(VALUES[:-2]))),
        }
        for n in range(30)
    ] + [PROPER]
    assert "s__good" in listed(server)[0]
    assert tried == 88


# ---- other tools in mid-chat


def stream_of(*messages: dict[str, Any]) -> list[bytes]:
    return [f"event: message\ndata: {json.dumps(message)}\n\n".encode() for message in messages]


def test_tools_that_come_and_go_are_noticed() -> None:
    """The server announces it with the response to a call; the next turn offers the new list."""
    server = HttpServer()

    def script(request: Received) -> Answer | None:
        if request.method != "POST" or request.json.get("method") != "tools/call":
            return None
        server.tools = [{**PROPER, "name": "late"}]
        return Answer(
            stream_of(
                {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"},
                {
                    "jsonrpc": "2.0",
                    "id": request.json["id"],
                    "result": {"content": [{"type": "text", "text": "done"}]},
                },
            ),
            content_type="text/event-stream",
        )

    server.script = script

    async def scenario(url: str) -> None:
        group = ServerGroup([Server("s", url=url)], patience=60.0)
        box = Toolbox([], allow=["write"], servers=group)
        assert await box.prepare() == [] and list(box.tools) == ["s__good"]
        assert await group.connections[0].call("good", {}) == "done"
        assert await box.prepare() == [
            "The MCP server s changed its tools; new: s__late; gone: s__good."
        ]
        assert list(box.tools) == ["s__late"]
        assert await box.prepare() == []
        await box.close()

    with FakeServer(server) as running:
        asyncio.run(asyncio.wait_for(scenario(f"{running.url}/mcp"), 60))


MODERN = """
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
server = MCPServer("s")
def late() -> str:
    "Came later."
    return "late"
@server.tool()
async def grow(context: Context) -> str:
    "Adds a tool."
    server.add_tool(late)
    await context.notify_tools_changed()
    return "grown"
server.run()
"""


@pytest.mark.processes
def test_a_server_of_the_newest_protocol_is_listened_to(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(MODERN)

    async def scenario() -> list[str]:
        group = ServerGroup(
            [Server("s", command=sys.executable, args=(str(tmp_path / "server.py"),))],
            patience=60.0,
        )
        box = Toolbox([], allow=["write"], servers=group)
        assert await box.prepare() == [] and list(box.tools) == ["s__grow"]
        assert await group.connections[0].call("grow", {}) == "grown"
        for _ in range(600):  # the notification arrives on a separate stream
            said = await box.prepare()
            if said:
                break
            await asyncio.sleep(0.05)
        names = sorted(box.tools)
        await box.close()
        assert names == ["s__grow", "s__late"]
        return said

    assert asyncio.run(asyncio.wait_for(scenario(), 60)) == [
        "The MCP server s changed its tools; new: s__late."
    ]


# ---- sessions that the server forgot


def test_a_lost_session_is_renewed_and_the_call_made_once() -> None:
    server = HttpServer()
    lost: set[str] = set()

    def script(request: Received) -> Answer | None:
        return refused(request, 404) if request.headers.get("mcp-session-id") in lost else None

    server.script = script

    async def scenario(url: str) -> list[str]:
        (connection,) = await connect([Server("s", url=url)])
        texts = [await connection.call("good", {})]
        lost.add(server.sessions[-1])
        texts += await asyncio.gather(connection.call("good", {}), connection.call("good", {}))
        texts.append(await connection.call("good", {}))
        await close_all([connection])
        return texts

    with FakeServer(server) as running:
        texts = asyncio.run(asyncio.wait_for(scenario(f"{running.url}/mcp"), 60))
    assert sorted(texts) == ["ok 0", "ok 1", "ok 2", "ok 3"]
    assert server.calls == ["s0", "s1", "s1", "s1"], (
        "nothing is asked twice, and one new session is enough"
    )


def test_a_server_that_forgets_every_session_is_given_up() -> None:
    server = HttpServer()

    def script(request: Received) -> Answer | None:
        calls = request.method == "POST" and request.json.get("method") == "tools/call"
        return refused(request, 404) if calls else None

    server.script = script

    async def scenario(url: str) -> None:
        (connection,) = await connect([Server("s", url=url)])
        with pytest.raises(ToolError, match="MCP server s failed"):
            await connection.call("good", {})
        await close_all([connection])

    with FakeServer(server) as running:
        asyncio.run(asyncio.wait_for(scenario(f"{running.url}/mcp"), 60))
    assert len(server.sessions) == 2


# ---- what a refusal means


@pytest.mark.parametrize(
    "status, words",
    [
        (401, ("sign-in", "Authorization", "${TOKEN}")),
        (403, ("refuses access", "token")),
        (404, ("no MCP server at this address",)),
        (429, ("too many requests",)),
        (500, ("reports an error (500)",)),
        (418, ("(418)",)),
    ],
)
def test_what_to_do_is_said(status: int, words: tuple[str, ...]) -> None:
    with FakeServer(lambda request: refused(request, status)) as running:

        async def scenario() -> Connection:
            (connection,) = await connect([Server("s", url=f"{running.url}/mcp")])
            await close_all([connection])
            return connection

        connection = asyncio.run(asyncio.wait_for(scenario(), 60))
    assert all(word in connection.problem for word in words), connection.problem


def test_a_sign_in_that_ran_out_is_said_at_the_call() -> None:
    server = HttpServer()

    def script(request: Received) -> Answer | None:
        calls = request.method == "POST" and request.json.get("method") == "tools/call"
        return refused(request, 401) if calls else None

    server.script = script

    async def scenario(url: str) -> None:
        (connection,) = await connect([Server("s", url=url)])
        with pytest.raises(ToolError, match="sign-in"):
            await connection.call("good", {})
        await close_all([connection])

    with FakeServer(server) as running:
        asyncio.run(asyncio.wait_for(scenario(f"{running.url}/mcp"), 60))


# ---- answers that are not messages

@pytest.mark.processes
@pytest.mark.parametrize(
    "said, told",
    [
        (r"\ud800", "\ufffd"),
        (r"a\udc41b", "a\ufffdb"),
        (r"\ud83d\ude00", "\U0001f600"),
        (r"\\ud800", r"\ud800"),
        (r"\ud800\ud83d\ude00", "\ufffd\U0001f600"),
    ],
)
def test_half_a_character_arrives_as_a_mark(tmp_path: Path, said: str, told: str) -> None:
    assert _called(tmp_path, f'"{said}"') == told


@pytest.mark.processes
@pytest.mark.parametrize("said", ['"never ended', "nothing", '"x"}}]', '"\\x"'])
def test_an_answer_that_is_no_message_is_not_waited_for(tmp_path: Path, said: str) -> None:
    with pytest.raises(ToolError, match="cannot be read"):
        _called(tmp_path, said)


ODD = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    method, identity = asked.get("method"), asked.get("id")
    if identity is None:
        continue
    info = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}
    results = {"initialize": info, "tools/list": {"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}}
    if method in results:
        print(json.dumps({"jsonrpc": "2.0", "id": identity, "result": results[method]}), flush=True)
    elif method == "tools/call":
        said = open(sys.argv[1]).read()
        print('{"jsonrpc": "2.0", "id": %s, "result": {"content": [{"type": "text", "text": %s}]}}'
              % (json.dumps(identity), said), flush=True)
    else:
        print(json.dumps({"jsonrpc": "2.0", "id": identity, "error": {"code": -32601, "message": "no"}}), flush=True)
"""


def _called(folder: Path, said: str) -> str:
    (folder / "odd.py").write_text(ODD)
    (folder / "said").write_text(said)
    server = Server("odd", command=sys.executable,
                    args=(str(folder / "odd.py"), str(folder / "said")))

    async def scenario() -> str:
        (connection,) = await connect([server])
        try:
            return await connection.call("t", {})
        finally:
            await close_all([connection])

    return asyncio.run(asyncio.wait_for(scenario(), 60))
