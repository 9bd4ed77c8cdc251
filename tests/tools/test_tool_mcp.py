"""MCP servers, working and faulty: the chat continues, and no process is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError
from core.messages import ToolCall, ToolResult
from core.tool_executor import Toolbox
from core.tools.mcp.connection import (Connection, Server, close_all, connect, parse_servers,
                                       tool_name)
from core.tools.mcp.group import ServerGroup
from core.tools.mcp.wire import KEEPER
from tests.fake_server import Answer, FakeServer, Reset, Stall

pytestmark = pytest.mark.processes

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
SLEEP = "time.sleep(600)"
ANSWER = """
import json
def serve(special, more=lambda method, identity: None):
    tools = [{"name": "t", "description": "A tool.", "inputSchema": {"type": "object", "properties": {}}}]
    info = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}
    for line in sys.stdin:
        asked = json.loads(line)
        method, identity = asked.get("method"), asked.get("id")
        if identity is None:
            continue
        results = {"initialize": info, "tools/list": {"tools": tools}, "tools/call": {"content": [{"type": "text", "text": "ok"}]}}
        given = special(method, identity)
        if given == "pass":
            if method in results:
                say({"jsonrpc": "2.0", "id": identity, "result": results[method]})
            else:
                say({"jsonrpc": "2.0", "id": identity, "error": {"code": -32601, "message": "no"}})
        elif isinstance(given, str):
            sys.stdout.write(given)
            sys.stdout.flush()
        elif given is not None:
            say({"jsonrpc": "2.0", "id": identity, **given})
def say(value):
    print(json.dumps(value), flush=True)
def at(place, given):
    return lambda method, identity: (given() if callable(given) else given) if method == place else "pass"
"""
# What a server does instead of starting, as Python.
NO_START = {
    "ends at once": "", "ends with an error": "sys.exit(3)", "says nothing": SLEEP,
    "reads and says nothing": "for line in sys.stdin: pass",
    "says nonsense": "print('hello', flush=True); time.sleep(600)",
    "says bytes": "sys.stdout.buffer.write(bytes(range(256)) * 99); sys.stdout.flush(); "
    "time.sleep(600)",
    "floods lines": "try:\n  while True: print('x' * 1000, flush=True)\nexcept OSError: pass",
    "floods JSON": "try:\n  while True: print('{\"jsonrpc\": \"2.0\", \"method\": \"x\"}', "
    "flush=True)\nexcept OSError: pass",
    "floods one line": "try:\n  while True: sys.stdout.write('x' * 65536)\nexcept OSError: pass",
    "answers null": "for line in sys.stdin: print('null', flush=True)",
    "answers a list": "for line in sys.stdin: print('[]', flush=True)",
    "answers another id": "for line in sys.stdin: print('{\"jsonrpc\": \"2.0\", \"id\": 999, "
    "\"result\": {}}', flush=True)",
    "echoes": "for line in sys.stdin: print(line, end='', flush=True)",
    "ignores being asked to end": "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "while True: time.sleep(1)",
    "leaves a child behind": "import subprocess\nchild = subprocess.Popen(['sleep', '600']); "
    "open(sys.argv[1], 'w').write(str(child.pid)); sys.exit()",
    "closes its output": "sys.stdout.flush(); os.close(1); time.sleep(600)",
    "closes its input": "os.close(0); time.sleep(600)",
    "sends half a line": "sys.stdout.write('{\"jsonrpc\"'); sys.stdout.flush(); time.sleep(600)",
    "is nested deeply": "print('[' * 100000, flush=True); time.sleep(600)",
    "stops itself": "import signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "kills itself": "os.kill(os.getpid(), 9)",
    "writes much to its log": "try:\n  while True: sys.stderr.write('x' * 65536)\nexcept "
    "OSError: pass",
}
# At which step a server that began well does what.
STEPS = {"answers an empty result": "{'result': {}}", "answers null there": "{'result': None}",
         "answers an error": "{'error': {'code': -1, 'message': 'no'}}",
         "answers wrong types": "{'result': {'tools': 5, 'content': 'x', 'protocolVersion': []}}",
         "says no more": "None",
         "ends there": "lambda: os._exit(3)",
         "breaks the line off": "'{\"jsonrpc\": \"2.0\", \"id\"'"}
BAD = NO_START | {f"{what} at {step}": f"{ANSWER}serve(at({step!r}, {deed}))"
                  for step in ("initialize", "tools/list")
                  for what, deed in STEPS.items()}
BAD |= {"asks for another protocol": ANSWER + "serve(at('initialize', {'result': "
                                              "{'protocolVersion': '1.0', 'capabilities': {}, "
        "'serverInfo': {'name': 'x', 'version': '1'}}}))",
        "drips": "while True:\n  sys.stdout.write(' ')\n  sys.stdout.flush()\n  time.sleep(0.1)"}
# Servers that start well and fail at the call.
BAD_CALLS = {f"{what} at the call": f"{ANSWER}serve(at('tools/call', {deed}))"
             for what, deed in STEPS.items()
             if what not in ("answers an empty result",)}
BAD_CALLS |= {
    "floods at the call": ANSWER +
    "def flood():\n  while True: print('{\"jsonrpc\": \"2.0\", \"method\": \"x\"}', flush=True)\n"
    "serve(at('tools/call', flood))",
    "one line without end": ANSWER + "def flood():\n  while True: sys.stdout.write('x' * 65536)\n"
    "serve(at('tools/call', flood))",
}


def test_the_common_configuration_is_read() -> None:
    servers = parse_servers({"mcpServers": {
        "files": {"command": "npx", "args": ["-y", "server"], "env": {"A": 1}},
        "web": {"url": "https://x.example/mcp", "headers": {"K": "v"}},
        "off": {"command": "x", "disabled": True}}})
    assert servers == (Server("files", "npx", ("-y", "server"), {"A": "1"}),
                       Server("web", url="https://x.example/mcp", headers={"K": "v"}))
    for wrong in ({"a": {}}, {"a": {"command": "x", "url": "y"}}, {"a": {"command": ["x"]}},
                  {"a": 1}, {"mcpServers": [1]}):
        with pytest.raises(ConfigError):
            parse_servers(wrong)


def test_names_that_every_provider_takes() -> None:
    assert tool_name("files", "read") == "files__read"
    assert tool_name("files", "a.b") != tool_name("files", "a/b")
    assert len(tool_name("x" * 80, "y" * 80)) == 64


def pid_is_gone(file: Path) -> bool:
    if not file.exists():
        return True
    for _ in range(600):
        try:
            status = Path(f"/proc/{file.read_text()}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True
        if status.rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def server_of(tmp_path: Path, name: str, code: str,
              call_seconds: float = 60.0) -> tuple[Server, Path]:
    (tmp_path / f"{name}.py").write_text(code)
    pid = tmp_path / f"{name}.pid"
    return Server(name, sys.executable, (str(tmp_path / f"{name}.py"), str(pid)),
                  call_seconds=call_seconds), pid


def test_a_good_server(tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    server, pid = server_of(tmp_path, "good", GOOD)
    hasty, _ = server_of(tmp_path, "hasty", GOOD, 1.0)  # the same, and no call of it may take long

    async def scenario() -> list[ToolResult]:
        connection, impatient = await connect([server, hasty])
        assert connection.problem == "" and {made.kind for made in connection.tools} == {"write"}
        box = Toolbox([*connection.tools, *impatient.tools], allow=["write"])
        calls = [("good__add", {"a": "2", "b": 3}), ("good__add", {"a": 2}), ("good__fail", {}),
                 ("hasty__hang", {}),
                 ("good__add", {"a": 4, "b": 4}), ("good__die", {}),
                 ("good__add", {"a": 1, "b": 1})]
        assert await connection.prompts() == [("greet", "Greets.", ("name",))]
        assert await connection.prompt("greet", {"name": "Ann"}) == "Say hello to Ann."
        assert [uri for uri, _ in await connection.resources()] == ["note://one"]
        assert await connection.resource("note://one") == "a note"
        results = [await box.execute_tool_call(ToolCall("1", name, given)) for name, given in calls]
        await close_all([connection, impatient])
        return results
    results = asyncio.run(scenario())
    assert [result.is_error for result in results] == [False, True, True, True, False, True,
                                                       True], results
    assert (results[0].content == "5" and "Missing: b" in results[1].content
            and "fail" in results[2].content)
    assert pid_is_gone(pid)


def made_of(tmp_path: Path, bad: dict[str, str],
            call_seconds: float = 60.0) -> list[tuple[Server, Path]]:
    return [server_of(tmp_path, f"bad{number}", START + code, call_seconds)
            for number, code in enumerate(bad.values())]


def test_bad_servers_stop_only_themselves(tmp_path: Path) -> None:
    """All at once, together with a working one that answers meanwhile."""
    pytest.importorskip("mcp")
    made = made_of(tmp_path, BAD)
    good, _ = server_of(tmp_path, "good", GOOD)
    servers = [server for server, _ in made] + [Server("missing", "/no/such/program"),
                                                Server("away", url="http://127.0.0.1:1/mcp")]
    assert len(servers) >= 40

    async def scenario() -> tuple[list[Connection], ToolResult]:
        connections = [Connection(server) for server in servers]
        friend = Connection(good)
        await friend.start(30)
        starting = [asyncio.create_task(connection.start(8.0)) for connection in connections]
        answer = await Toolbox(friend.tools,
                               allow=["write"]).execute_tool_call(
                                   ToolCall("1", "good__add", {"a": 1, "b": 2}))
        await asyncio.gather(*starting)
        await close_all([*connections, friend])
        return connections, answer
    connections, answer = asyncio.run(asyncio.wait_for(scenario(), 100))
    assert answer.content == "3"
    names = [*BAD, "missing", "away"]
    fine = [name for name, connection in zip(names, connections)
            if not connection.problem or connection.tools]
    assert fine == []
    assert [name for name, (_, pid) in zip(BAD, made) if not pid_is_gone(pid)] == []


def test_bad_calls_stop_only_themselves(tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    made = made_of(tmp_path, BAD_CALLS, call_seconds=6.0)
    good, _ = server_of(tmp_path, "good", GOOD)

    async def scenario() -> tuple[list[ToolResult], ToolResult]:
        connections = await connect([good, *(server for server, _ in made)])
        box = Toolbox([tool for connection in connections for tool in connection.tools],
                      allow=["write"])
        calls = [asyncio.create_task(box.execute_tool_call(ToolCall("1", f"{server.name}__t", {})))
                 for server, _ in made]
        answer = await box.execute_tool_call(ToolCall("1", "good__add", {"a": 1, "b": 2}))
        results = [await call for call in calls]
        again = await box.execute_tool_call(
            ToolCall("1", "good__add", {"a": answer.content, "b": 2}))
        await close_all(connections)
        return results, again
    results, again = asyncio.run(asyncio.wait_for(scenario(), 100))
    assert again.content == "5"
    assert [(name, result.content)
            for name, result in zip(BAD_CALLS, results) if not result.is_error] == []
    assert not any("Traceback" in result.content or len(result.content) > 600 for result in results)
    assert [name for name, (_, pid) in zip(BAD_CALLS, made) if not pid_is_gone(pid)] == []


def test_a_server_dies_with_a_chat_that_is_killed(tmp_path: Path) -> None:
    """Also one that ignores being asked, and what it started."""
    code = ("import signal, subprocess\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
            "open(sys.argv[1] + '.child', 'w').write(str(child.pid))\ntime.sleep(600)\n")
    server, pid = server_of(tmp_path, "stubborn", START + code)
    chat = ("import subprocess, sys, time\n"
            "subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, "
            "start_new_session=True)\ntime.sleep(600)")
    keeper = [sys.executable, "-I", "-S", KEEPER, server.command, *server.args]
    child = subprocess.Popen([sys.executable, "-c", chat, *keeper])
    inner = Path(f"{pid}.child")
    wait_for(inner)
    child.kill()
    child.wait()
    assert pid_is_gone(pid) and pid_is_gone(inner)


def wait_for(file: Path) -> None:
    for _ in range(2_000):
        if file.exists() and file.read_text():
            return
        time.sleep(0.025)
    raise AssertionError(f"{file} did not come")


# ---- streamable HTTP

HTTP = """
import sys
from mcp.server import MCPServer
server = MCPServer("web")
@server.tool()
def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b
server.run(transport="streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_server_over_http(tmp_path: Path) -> None:
    pytest.importorskip("mcp.server")
    pytest.importorskip("uvicorn")
    (tmp_path / "web.py").write_text(HTTP)
    port = free_port()
    child = subprocess.Popen([sys.executable, str(tmp_path / "web.py"), str(port)],
                             stderr=subprocess.DEVNULL)

    async def scenario() -> tuple[Connection, list[ToolResult]]:
        connection = Connection(Server("web", url=f"http://127.0.0.1:{port}/mcp",
                                       headers={"X-Key": "k"}))
        await connection.start()
        box = Toolbox(connection.tools, allow=["write"])
        results = [await box.execute_tool_call(ToolCall("1", "web__add", {"a": 1, "b": 2}))]
        child.kill()
        child.wait()
        results.append(await box.execute_tool_call(ToolCall("1", "web__add", {"a": 1, "b": 2})))
        await connection.close()
        return connection, results
    try:
        wait_until_it_listens(port)
        connection, results = asyncio.run(asyncio.wait_for(scenario(), 60))
    finally:
        child.kill()
        child.wait()
    assert connection.tools[0].hosts is not None and results[0].content == "3", (connection.problem,
                                                                                 results)
    assert results[1].is_error and "web" in results[1].content


def wait_until_it_listens(port: int) -> None:
    for _ in range(400):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError("it does not listen")


HTTP_BAD = {
    "redirects": Answer((), 307, {"Location": "http://127.0.0.1:1/elsewhere"}, framing="length"),
    "refuses": Answer((b"no",), 403, framing="length"),
    "fails": Answer((b"oh",), 500, framing="length"),
    "answers HTML": Answer((b"<html>",), content_type="text/html"),
    "answers nothing": Answer((), framing="length"),
    "answers wrong JSON": Answer((b"[1, 2",), content_type="application/json"),
    "answers null": Answer((b"null",), content_type="application/json"),
    "stalls": Answer((b"{", Stall()), content_type="application/json"),
    "resets": Answer((Reset(),)),
    "ends a stream": Answer((b"data: x\n\n",), content_type="text/event-stream"),
    "floods": Answer([b"x" * (1 << 20)] * 80, content_type="application/json"),
    "floods a stream": Answer([b"data: " + b"x" * (1 << 20)] * 80,
                              content_type="text/event-stream"),
}


def test_bad_servers_over_http() -> None:
    pytest.importorskip("mcp")

    async def scenario(urls: list[str]) -> list[Connection]:
        connections = [Connection(Server(f"s{number}", url=url)) for number, url in enumerate(urls)]
        await asyncio.gather(*(connection.start(6.0) for connection in connections))
        await close_all(connections)
        return connections
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(FakeServer(answer)) for answer in HTTP_BAD.values()]
        connections = asyncio.run(
            asyncio.wait_for(scenario([f"{server.url}/mcp" for server in servers]), 60))
    assert [name for name, connection in zip(HTTP_BAD, connections)
            if not connection.problem or connection.tools] == []


# ---- dying, and unusual lists and results

DIES = f"""{ANSWER}
sys.stderr.write("first words\\n\\x1b]0;owned\\x07last words\\n"); sys.stderr.flush()
serve(at('tools/call', lambda: os._exit(3)))"""


def test_a_server_that_dies_is_started_again_once(tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    server, _ = server_of(tmp_path, "weak", START + DIES)

    async def scenario() -> list[list[str]]:
        group = ServerGroup([server], patience=60.0)
        box = Toolbox([], allow=["write"], servers=group)
        said = [await box.prepare()]
        for _ in range(3):
            if "weak__t" in box.tools:
                assert (await box.execute_tool_call(ToolCall("1", "weak__t", {}))).is_error
            for _ in range(200):
                if group.connections[0].died or group.connections[0].problem:
                    break
                await asyncio.sleep(0.05)
            said.append(await box.prepare())
        await box.close()
        return said
    said = asyncio.run(scenario())
    assert said[0] == [] and said[1][0].startswith("The MCP server weak ended (it said: first "
                                                   "words / ")
    assert said[1][0].endswith("last words) and was started again.") and "\x1b" not in said[1][0]
    assert (said[2][0].startswith("The MCP server weak ended again")
            and "/mcp restart weak" in said[2][0])
    assert said[3] == []


def test_why_a_server_does_not_start_is_said_in_its_own_words(tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    server, _ = server_of(tmp_path, "broken", START + "sys.exit('there is no such folder: /x')")

    async def scenario() -> list[str]:
        group = ServerGroup([server], patience=60.0)
        said = await group.start()
        await group.close()
        return said
    said, = asyncio.run(scenario())
    assert "cannot be used" in said and "(it said: there is no such folder: /x)" in said


RESULTS = [({"content": [], "structuredContent": {"n": 42}}, '{"n":42}'),
           ({"content": [{"type": "resource_link", "uri": "file:///a/b", "name": "b"}]},
            "(resource: file:///a/b, b)"),
           ({"content": [{"type": "image", "data": "aGk=", "mimeType": "image/png"}]},
            "(image: image/png)"),
           ({"content": [{"type": "text", "text": "words"}], "structuredContent": {"n": 42}},
            "words")]


@pytest.mark.parametrize("result, expected", RESULTS)
def test_results_without_text(tmp_path: Path, result: dict[str, Any], expected: str) -> None:
    pytest.importorskip("mcp")
    server, _ = server_of(tmp_path, "odd",
                          f"{START}{ANSWER}serve(at('tools/call', {{'result': {result!r}}}))")

    async def scenario() -> str:
        connection, = await connect([server])
        text = await connection.call("t", {})
        await close_all([connection])
        return text
    assert asyncio.run(scenario()) == expected


def test_an_empty_page_does_not_end_the_list(tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    pages = """
count = 0
def page():
    global count
    count += 1
    return {"result": {"tools": [], "nextCursor": "x"}} if count < 3 else "pass"
"""
    server, _ = server_of(tmp_path, "pages", f"{START}{ANSWER}{pages}serve(at('tools/list', page))")

    async def scenario() -> list[str]:
        connection, = await connect([server])
        names = [made.name for made in connection.tools]
        await close_all([connection])
        return names
    assert asyncio.run(scenario()) == ["pages__t"]
