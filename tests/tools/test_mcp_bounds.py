"""MCP servers that send too much or do not end: their output is limited, and no chat waits."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.tools.mcp.connection import Connection, close_all, connect
from core.tools.mcp.keeper import A_LINE, A_SECOND, AT_ONCE, TOO_LONG
from core.tools.mcp.lists import MOST_LISTED, MOST_PAGES, read_list
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


@pytest.mark.parametrize("more", [0, 1])
def test_what_is_not_offered_of_a_long_list_is_said(tmp_path: Path, more: int) -> None:
    pytest.importorskip("mcp")
    most = MOST_LISTED["tools"]
    connection = connected(tmp_path, MANY.replace("COUNT", str(most + more)))
    assert len(connection.tools) == most
    assert connection.left_out == ("" if not more else f"all tools after the first {most}, "
                                   "since no more of one server are offered")


def test_a_list_without_end_has_an_end_and_that_is_said(tmp_path: Path) -> None:
    """Of tools, prompts and resources."""
    pytest.importorskip("mcp")
    connection = connected(tmp_path, PAGES)
    assert len(connection.tools) == len(connection.known_prompts) == MOST_PAGES
    for kind in MOST_LISTED:
        assert f"all {kind} after the first {MOST_PAGES}" in connection.left_out


class Page:
    """A page of a list as the library gives it."""

    def __init__(self, kind: str, entries: list[int], next_cursor: str | None) -> None:
        setattr(self, kind, entries)
        self.next_cursor = next_cursor


def test_lists_in_any_pages_are_read_in_order_and_what_is_left_out_is_counted() -> None:
    seed = int(os.environ.get("STREAM_CHAT_TEST_SEED") or random.randrange(1 << 32))
    print(f"STREAM_CHAT_TEST_SEED={seed}")
    chance = random.Random(seed)
    for _ in range(300):
        kind = chance.choice(list(MOST_LISTED))
        sizes = [chance.choice((0, 1, chance.randrange(60), MOST_LISTED[kind] // 2))
                 for _ in range(chance.choice((1, 3, MOST_PAGES, MOST_PAGES + 1)))]
        entries = list(range(sum(sizes)))

        async def ask(cursor: str | None) -> Page:
            at = int(cursor or 0)
            begin = sum(sizes[:at])
            return Page(kind, entries[begin:begin + sizes[at]],
                        str(at + 1) if at + 1 < len(sizes) else None)
        kept, left_out = asyncio.run(read_list(kind, ask))
        assert kept == entries[:len(kept)]
        wanted = min(sum(sizes[:MOST_PAGES]), MOST_LISTED[kind])
        assert len(kept) == wanted
        complete = len(kept) == len(entries) and len(sizes) <= MOST_PAGES
        assert bool(left_out) != complete
        assert complete or left_out.startswith(f"all {kind} after the first {wanted:,}, ")


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
