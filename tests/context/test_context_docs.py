"""The examples of docs/context.md, run in a sample folder, print what the page shows."""

from __future__ import annotations

import re
import shlex
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from core.messages import Message, Text, user_message
from core.store.identity import new_message_id
from db import Store, open_store
from tests import postgres
from tests.conftest import ROOT
from tests.fake_server import Answer, Received, json_answer
from tests.meanings import Meanings, make_files
from tests.pseudo_terminal import Terminal

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "context.md"
RUN = re.compile(r"```\n\$ (?P<command>[^\n]+)\n(?P<shown>[^\n]+)\n```")
RUNS = [(match["command"], match["shown"])
        for match in RUN.finditer(PAGE.read_text(encoding="utf-8"))]
NOTES = "# Tides\n\nHigh water is at 7 in the morning.\nLow water is at 1 in the afternoon.\n"
ORDERS = [("Ada", 12.5), ("Bo", 7.0), ("Ada", 3.0)]


def make_sample(root: Path) -> Store:
    files = {"notes.md": NOTES, "todo.txt": "buy rope\n",
             "src/retry.py": "def delay(attempt):\n    return 2 ** attempt\n",
             "src/main.py": "from retry import delay\n\nprint(delay(3))\n",
             ".gitignore": "*.log\nbig/\nhelp/\n", "x.log": "x",
             "big/needle.txt": "hay\n" * 4_000 + "the needle is here\n" + "hay\n" * 4_000,
             "big/hay0.txt": "hay\n" * 5_000,
             "big/hay1.txt": "hay\n" * 5_000} | make_files("help")
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    with sqlite3.connect(root / "shop.db") as connection:
        connection.execute("CREATE TABLE orders (customer text, total real)")
        connection.executemany("INSERT INTO orders VALUES (?, ?)", ORDERS)
    connection.close()
    store = open_store(str(root / "sessions.db"))
    for name, asked, said in (("20261101-0900-aaaa", "how do I tie a bowline?",
                               "the rabbit comes out of its hole"),
                              ("20261102-0900-bbbb", "the pool seems to leak",
                               "call pool.dispose() at the end")):
        store.create_session(name, asked, "demo/m", 1_000.0)
        store.add_message(name, new_message_id(), user_message(asked), "complete")
        time.sleep(0.002)
        store.add_message(name, new_message_id(), Message("assistant", (Text(said),)), "complete")
    return store


class _Tides(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>Tides</title><p>High water is at 7.</p>")

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def places() -> Iterator[dict[str, str]]:
    """Addresses on the page, and those of the test in their place."""
    pages = ThreadingHTTPServer(("127.0.0.1", 0), _Tides)
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    found = {"https://example.org": f"http://127.0.0.1:{pages.server_address[1]}"}
    try:
        if postgres.why_not():
            yield found
            return
        with postgres.running_server() as url:
            import psycopg
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("CREATE TABLE orders (customer text, total float8)")
                connection.cursor().executemany("INSERT INTO orders VALUES (%s, %s)", ORDERS)
            yield found | {"postgresql://chat@localhost/shop": postgres.reader_url(url)}
    finally:
        pages.shutdown()
        pages.server_close()


class Wide(Meanings):
    """A server whose models have the window of the examples."""

    def _route(self, request: Received) -> Answer:
        asked = [each.json.get("options") or {}
                 for each in self.requests if each.path == "/api/chat"]
        if request.path == "/api/ps":
            window = next((options["num_ctx"]
                           for options in reversed(asked) if "num_ctx" in options), 32_768)
            return json_answer(
                {"models": [{"name": "words-5", "model": "words-5", "context_length": window}]})
        return super()._route(request)


def run(command: str, root: Path, places: dict[str, str], environment: dict[str, str]) -> str:
    """The first line that the program writes to standard error in the sample folder."""
    line = command.replace("python stream_chat.py",
                           shlex.join([sys.executable, str(ROOT / "stream_chat.py")]))
    for shown, real in places.items():
        line = line.replace(shown, real)
    if "'!" in command:
        with Terminal(["bash", "-c", line], environment, cwd=root) as terminal:
            terminal.wait(r"\[y/N\]")
            terminal.send("y\r")
            terminal.exit_status()
            # a mark is before it
            shown = (line.partition("context:") for line in terminal.text().split("\n"))
            return next(f"context:{rest}".rstrip() for _, found, rest in shown if found)
    done = subprocess.run(["bash", "-c", line], env=environment, cwd=root, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True,
                          timeout=60)
    return done.stderr.split("\n")[0]


@pytest.mark.parametrize(("command", "shown"), RUNS, ids=[command[22:60] for command, _ in RUNS])
def test_the_runs_on_the_page(command: str, shown: str, tmp_path: Path, places: dict[str, str],
                              environment: dict[str, str]) -> None:
    if "postgresql://" in command and "postgresql://chat@localhost/shop" not in places:
        pytest.skip(f"no PostgreSQL: {postgres.why_not()}")
    root = tmp_path / "sample"
    root.mkdir()
    make_sample(root).close()
    with Wide(models=("words-5",)) as server:
        environment |= {"OLLAMA_HOST": server.url, "STREAM_CHAT_MODEL": "words-5",
                        "DATABASE_URL": str(root / "sessions.db")}
        came = run(command, root, places, environment)
    # addresses are shorter on the page, and times differ
    if re.search(r"(https|postgresql)://|--context '?db", command):
        came, shown = (re.sub("≈[0-9,]+ ±[0-9,]+", "", line) for line in (came, shown))
    assert came == shown


def test_every_kind_of_source_has_a_run() -> None:
    commands = " ".join(command for command, _ in RUNS)
    for source in ("notes.md", ",src", "**", "--context-grep", "--context -", "https://",
                   "sqlite:///", "query=", "postgresql://",
                   "--context db ", "db:2026", 'db:"', "'!"):
        assert source in commands
