"""MCP servers that say too much or do not end: what they send is limited, no chat waits."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.tools.mcp.connection import MOST_TOOLS, Connection, close_all, connect
from core.tools.mcp.keeper import A_LINE, A_SECOND, AT_ONCE, TOO_LONG
from core.tools.mcp.wire import KEEPER
from tests.tools.test_tool_mcp import ANSWER, START, pid_is_gone, server_of, wait_for

pytestmark = pytest.mark.processes

MANY = """
def lists(method, identity):
    if method == "tools/list":
        return {"result": {"tools": [{"name": f"t{n}", "inputSchema": {"type": "object"}}
                                     for n in range(COUNT)]}}
    return "pass"
serve(lists)
"""
PAGES = """
def lists(method, identity):
    if method in NAMED:
        entry = {"name": f"n{identity}", "uri": f"note://{identity}",
                 "inputSchema": {"type": "object"}}
        return {"result": {NAMED[method]: [entry], "nextCursor": "more"}}
    return "pass"
NAMED = {"tools/list": "tools", "prompts/list": "prompts", "resources/list": "resources"}
serve(lists)
"""
# Its chat has closed its input. It ends once the file that is named second exists.
LINGERS = START + """
sys.stdin.read()
while not os.path.exists(sys.argv[1] + ".closed"):
    time.sleep(0.005)
open(sys.argv[1] + ".seen", "w").write("yes")
time.sleep(600)
"""


def connected(tmp_path: Path, code: str) -> Connection:
    server, _ = server_of(tmp_path, "x", START + ANSWER + code)

    async def scenario() -> Connection:
        connection, = await connect([server])
        await connection.prompts()
        await connection.resources()
        await close_all([connection])
        return connection
    return asyncio.run(scenario())


@pytest.mark.parametrize("count", [MOST_TOOLS, MOST_TOOLS + 1])
def test_what_is_not_offered_of_a_long_list_is_said(tmp_path: Path, count: int) -> None:
    pytest.importorskip("mcp")
    connection = connected(tmp_path, MANY.replace("COUNT", str(count)))
    assert len(connection.tools) == MOST_TOOLS
    assert connection.left_out == ("" if count == MOST_TOOLS else
                                   f"all after the first {MOST_TOOLS} "
                                   "(no more of one server are offered)")


def test_a_list_without_end_has_an_end(tmp_path: Path) -> None:
    """Also of prompts and resources, whose later pages are read as well."""
    pytest.importorskip("mcp")
    connection = connected(tmp_path, PAGES)
    assert 1 < len(connection.tools) < MOST_TOOLS and "all after the first" in connection.left_out
    assert len(connection.known_prompts) > 1


def test_a_line_without_end_is_named_as_the_reason(tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    connection = connected(tmp_path, "while True: sys.stdout.write('x' * 65536)")
    assert connection.problem == TOO_LONG and not connection.last_words()


def test_no_chat_waits_for_a_server_to_end(tmp_path: Path) -> None:
    """The server sees a file that is written when the chat has closed the connection.

    A starved machine may be too slow for the second that it has: then once more.
    """
    for attempt in range(5):
        server, pid = server_of(tmp_path, f"lingers{attempt}", LINGERS)
        keeper = subprocess.Popen([sys.executable, "-I", "-S", KEEPER, server.command,
                                   *server.args], stdin=subprocess.PIPE, start_new_session=True)
        wait_for(pid)
        assert keeper.stdin is not None
        keeper.stdin.close()
        keeper.wait()
        Path(f"{pid}.closed").touch()
        assert pid_is_gone(pid)
        if Path(f"{pid}.seen").exists():
            return
    raise AssertionError("the keeper ends after its server")


@pytest.mark.parametrize("size", [10, 4 * A_LINE])
def test_a_flood_is_read_no_faster_than_a_chat_can(tmp_path: Path, size: int) -> None:
    """Lines wait; none is lost. Long ones count as several."""
    wanted = 2_600 * 4 // max(4, size // A_LINE * 4)
    code = f"for n in range({wanted}): print(n, 'x' * {size})"
    server, _ = server_of(tmp_path, "flood", START + code)
    began = time.monotonic()
    keeper = subprocess.Popen([sys.executable, "-I", "-S", KEEPER, server.command, *server.args],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              start_new_session=True)
    assert keeper.stdin is not None and keeper.stdout is not None
    with keeper.stdout as output:
        said = output.read()
    took = time.monotonic() - began
    keeper.stdin.close()
    keeper.wait()
    numbers = [int(line.split()[0]) for line in said.splitlines()]
    assert numbers == list(range(wanted))
    assert took > (2_600 - AT_ONCE) / A_SECOND - 0.1
