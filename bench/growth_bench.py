"""What each thing that can grow costs, told as JSON: processor time by how many there are.

    python -m bench.growth_bench http://127.0.0.1:11434 10 100 1000
    python -m bench.growth_bench URL 10 100 1000 --only tools,models

The address is that of bench/server.py. What a run costs with one of them is subtracted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from bench.driver import environment
from core.messages import Message, Text, user_message
from core.store.identity import new_message_id, new_session_id
from db import open_store

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 5
WORDS = "A model writes its answer as tokens, and each of them is shown when it comes. "
TOOL = '''
@tool
def tool_{number}(place: str, count: int = 1) -> str:
    """Say what is known of a place (number {number}).

    place: its name
    count: how many lines
    """
    return place
'''
MCP_SERVER = '''
import json, sys
schema = {"type": "object", "properties": {"place": {"type": "string", "description": "its name"}}}
tools = [{"name": f"tool_{number}", "description": "Says what is known of a place.",
          "inputSchema": schema} for number in range(int(sys.argv[1]))]
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    results = {"initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                              "serverInfo": {"name": "many", "version": "1"}},
               "tools/list": {"tools": tools}}
    result = results.get(asked["method"], {})
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
'''
Command = tuple[Sequence[str], Mapping[str, str]]      # words behind the program's name, variables


class Growth:
    """Makes the commands, each in a separate folder."""

    def __init__(self, base: str, folder: Path) -> None:
        self._ask = ["--provider", "ollama", "--base-url", base, "-m", "mixed-20"]
        self._folder = folder

    def _home(self, name: str) -> tuple[Path, dict[str, str]]:
        place = self._folder / name
        place.mkdir(exist_ok=True)
        return place, environment(str(place))

    def _with_sessions(self, name: str, count: int) -> tuple[list[str], dict[str, str]]:
        place, variables = self._home(f"{name}-{count}")
        store = open_store(str(place / "s.db"))
        with store.overlapping(soon=True):
            for number in range(count):
                store.create_session(new_session_id(), f"Session {number}", "ollama/m", time.time(),
                                     (new_message_id(), user_message(WORDS)))
        store.close()
        return ["--database-url", str(place / "s.db")], variables

    def sessions(self, count: int) -> Command:
        """A question with so many stored sessions."""
        words, variables = self._with_sessions("sessions", count)
        return [*self._ask, *words, "Go."], variables

    def list_of_sessions(self, count: int) -> Command:
        """All of them listed into a pipe."""
        words, variables = self._with_sessions("list", count)
        return [*words, "--list-sessions"], variables

    def messages(self, count: int) -> Command:
        """One more question in a session of so many messages."""
        place, variables = self._home(f"messages-{count}")
        store = open_store(str(place / "s.db"))
        parent, child = new_session_id(), new_session_id()
        store.create_session(parent, "Many", "ollama/m", time.time())
        said = [(new_message_id(), user_message(WORDS) if number % 2 == 0 else
                 Message("assistant", (Text(WORDS * 3),), "ollama/m", None, "stop"))
                for number in range(count)]
        store.create_branch(parent, child, "Many", "ollama/m", time.time(), said, name="many")
        store.close()
        return [*self._ask, "--database-url", str(place / "s.db"), "--session", "many",
                "--num-ctx", "1000000", "Go."], variables

    def files(self, count: int) -> Command:
        """A question about a folder of so many files."""
        place, variables = self._home(f"files-{count}")
        for number in range(count):
            file = place / "tree" / f"d{number % 20}" / f"file{number}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{number} {WORDS}" * 10)
        return [*self._ask, "--no-save", "--context", str(place / "tree"), "Go."], variables

    def tools(self, count: int) -> Command:
        """A question with so many tools from a file."""
        place, variables = self._home(f"tools-{count}")
        made = "from core.tools import tool\n" + "".join(
            TOOL.format(number=number) for number in range(count))
        (place / "tools.py").write_text(made)
        return [*self._ask, "--no-save", "--tools-file", str(place / "tools.py"), "Go."], variables

    def mcp_tools(self, count: int) -> Command:
        """A question with so many tools of an MCP server."""
        place, variables = self._home(f"mcp-{count}")
        (place / "server.py").write_text(MCP_SERVER)
        command = {"command": sys.executable, "args": [str(place / "server.py"), str(count)]}
        config = {"mcpServers": {"many": command}}
        (place / "mcp.json").write_text(json.dumps(config))
        return [*self._ask, "--no-save", "--mcp", "--mcp-config", str(place / "mcp.json"),
                "Go."], variables

    def models(self, count: int) -> Command:
        """All models of a server listed into a pipe."""
        _, variables = self._home("models")
        return ["--list-models", "--provider", "ollama", "--base-url", server_of(count)], variables

    def message_size(self, count: int) -> Command:
        """A question of so many kilobytes."""
        place, variables = self._home(f"size-{count}")
        text = (WORDS * (count * 1000 // len(WORDS) + 1))[:max(1, count * 1000)]
        (place / "question.txt").write_text(text)
        return [*self._ask, "--num-ctx", "100000000", "<", str(place / "question.txt")], variables


class Thing(NamedTuple):
    """What is counted, what makes the command, and how many count as one."""

    title: str
    make: Callable[[Growth, int], Command]
    times: int = 1


THINGS = {
    "sessions": Thing("A question, by stored sessions", Growth.sessions, 10),
    "list": Thing("The list of sessions", Growth.list_of_sessions, 10),
    "messages": Thing("A question, by messages of its session", Growth.messages, 4),
    "files": Thing("A question, by files as context", Growth.files, 4),
    "tools": Thing("A question, by tools in a file", Growth.tools),
    "mcp": Thing("A question, by tools of an MCP server", Growth.mcp_tools),
    "models": Thing("The list of models", Growth.models),
    "size": Thing("A question, by its kilobytes", Growth.message_size, 4),
}


def server_of(count: int) -> str:
    """An Ollama on this machine that has so many models."""
    entry = {"size": 1_000_000, "details": {"family": "llama"}, "capabilities": ["completion"]}
    models = [{"name": f"model-{number}:latest", "model": f"model-{number}:latest", **entry}
              for number in range(count)]
    content = json.dumps({"models": models}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


def seconds_of(command: Command, rounds: int) -> float:
    """The processor time of the program, the minimum of several runs."""
    words, variables = command
    source = os.devnull
    if "<" in words:
        source, words = words[-1], words[:-2]
    spent = []
    for _ in range(rounds):
        with open(source, "rb") as given:
            process = subprocess.Popen([sys.executable, str(ROOT / "stream_chat.py"), *words],
                                       env=dict(variables), stdin=given, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.PIPE)
            said = process.stderr.read() if process.stderr else b""
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"bench: {words} ended with {process.returncode}: {said[-500:]!r}")
        spent.append(used.ru_utime + used.ru_stime)
    return min(spent)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.growth_bench")
    parser.add_argument("base")
    parser.add_argument("counts", type=int, nargs="+", help="of some things ten times as many")
    parser.add_argument("--only", default=",".join(THINGS))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(words)
    found: dict[str, dict[int, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        growth = Growth(options.base, Path(folder))
        for name in options.only.split(","):
            thing = THINGS[name]
            least = seconds_of(thing.make(growth, 1), options.rounds)
            counts = [count * thing.times for count in options.counts]
            found[name] = {count: seconds_of(thing.make(growth, count), options.rounds) - least
                           for count in counts}
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
