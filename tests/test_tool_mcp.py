"""MCP servers, good and bad: the chat stays alive, and no process is left behind."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from core.errors import ConfigError
from core.messages import ToolCall, ToolResult
from core.tool_executor import Toolbox
from core.tools import mcp as ours
from core.tools.mcp import Connection, Server, close_all, connect, parse_servers, tool_name

GOOD = """
import os, sys, time
from mcp.server import MCPServer
server = MCPServer("good")
open(sys.argv[1], "w").write(str(os.getpid()))
@server.tool()
def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b
@server.tool()
def fail() -> str:
    "Always fails."
    raise ValueError("no luck")
@server.tool()
def die() -> str:
    "Ends the server."
    os._exit(3)
@server.tool()
async def hang() -> str:
    "Never answers."
    import asyncio
    await asyncio.sleep(600)
    return ""
@server.prompt()
def greet(name: str) -> str:
    "Greets."
    return f"Say hello to {name}."
@server.resource("note://one")
def note() -> str:
    return "a note"
server.run()
"""
START = "import os, sys, time\nopen(sys.argv[1], 'w').write(str(os.getpid()))\n"
BAD = {
    "ends at once": "", "ends with an error": "sys.exit(3)", "says nothing": "time.sleep(600)",
    "reads and says nothing": "for line in sys.stdin: pass", "says nonsense": "print('hello', flush=True); time.sleep(600)",
    "says bytes": "sys.stdout.buffer.write(bytes(range(256)) * 99); sys.stdout.flush(); time.sleep(600)",
    "floods lines": "try:\n  while True: print('x' * 1000, flush=True)\nexcept OSError: pass",
    "floods JSON": "try:\n  while True: print('{\"jsonrpc\": \"2.0\", \"method\": \"x\"}', flush=True)\nexcept OSError: pass",
    "answers null": "for line in sys.stdin: print('null', flush=True)",
    "answers another id": "for line in sys.stdin: print('{\"jsonrpc\": \"2.0\", \"id\": 999, \"result\": {}}', flush=True)",
    "answers empty results": "import json\nfor line in sys.stdin:\n  n = json.loads(line).get('id')\n"
                             "  print(json.dumps({'jsonrpc': '2.0', 'id': n, 'result': {}}), flush=True)",
    "answers errors": "import json\nfor line in sys.stdin:\n  n = json.loads(line).get('id')\n"
                      "  print(json.dumps({'jsonrpc': '2.0', 'id': n, 'error': {'code': -1, 'message': 'no'}}), flush=True)",
    "ignores being asked to end": "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(1)",
    "closes its output": "sys.stdout.flush(); os.close(1); time.sleep(600)",
    "sends half a line": "sys.stdout.write('{\"jsonrpc\"'); sys.stdout.flush(); time.sleep(600)",
}


def test_the_common_configuration_is_read() -> None:
    servers = parse_servers({"mcpServers": {
        "files": {"command": "npx", "args": ["-y", "server"], "env": {"A": 1}},
        "web": {"url": "https://x.example/mcp", "headers": {"K": "v"}}, "off": {"command": "x", "disabled": True}}})
    assert servers == (Server("files", "npx", ("-y", "server"), {"A": "1"}),
                       Server("web", url="https://x.example/mcp", headers={"K": "v"}))
    for wrong in ({"a": {}}, {"a": {"command": "x", "url": "y"}}, {"a": {"command": ["x"]}}, {"a": 1}, {"mcpServers": [1]}):
        with pytest.raises(ConfigError):
            parse_servers(wrong)


def test_names_that_every_provider_takes() -> None:
    assert tool_name("files", "read") == "files__read"
    assert tool_name("files", "a.b") != tool_name("files", "a/b")
    assert len(tool_name("x" * 80, "y" * 80)) == 64


def pid_is_gone(file: Path) -> bool:
    if not file.exists():
        return True
    for _ in range(100):
        status = Path(f"/proc/{file.read_text()}/stat")
        if not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def server_of(tmp_path: Path, name: str, code: str) -> tuple[Server, Path]:
    (tmp_path / f"{name}.py").write_text(code)
    pid = tmp_path / f"{name}.pid"
    return Server(name, sys.executable, (str(tmp_path / f"{name}.py"), str(pid))), pid


def test_a_good_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mcp")
    server, pid = server_of(tmp_path, "good", GOOD)

    async def scenario() -> list[ToolResult]:
        connection, = await connect([server])
        assert connection.problem == "" and {made.kind for made in connection.tools} == {"write"}
        box = Toolbox(connection.tools, allow=["write"])
        calls = [("add", {"a": "2", "b": 3}), ("add", {"a": 2}), ("fail", {}), ("hang", {}), ("add", {"a": 4, "b": 4}),
                 ("die", {}), ("add", {"a": 1, "b": 1})]
        assert await connection.prompts() == [("greet", "Greets.", ("name",))]
        assert await connection.prompt("greet", {"name": "Ann"}) == "Say hello to Ann."
        assert [uri for uri, _ in await connection.resources()] == ["note://one"]
        assert await connection.resource("note://one") == "a note"
        results = [await box.execute_tool_call(ToolCall("1", f"good__{name}", given)) for name, given in calls]
        await close_all([connection])
        return results
    monkeypatch.setattr(ours, "CALL_SECONDS", 1.0)
    results = asyncio.run(scenario())
    assert [result.is_error for result in results] == [False, True, True, True, False, True, True], results
    assert results[0].content == "5" and "Missing: b" in results[1].content and "fail" in results[2].content
    assert pid_is_gone(pid)


def test_bad_servers_stop_only_themselves(tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    made = [server_of(tmp_path, f"bad{number}", START + code) for number, code in enumerate(BAD.values())]
    servers = [server for server, _ in made] + [Server("missing", "/no/such/program"), Server("away", url="http://127.0.0.1:9/mcp")]

    async def scenario() -> list[Connection]:
        connections = [Connection(server) for server in servers]
        await asyncio.gather(*(connection.start(3.0) for connection in connections))
        await close_all(connections)
        return connections
    connections = asyncio.run(asyncio.wait_for(scenario(), 60))
    assert [connection.server.name for connection in connections if not connection.problem or connection.tools] == []
    assert [pid for _, pid in made if not pid_is_gone(pid)] == []
