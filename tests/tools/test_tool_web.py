"""Pages and searches against servers on this machine."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from core.errors import ToolError
from core.messages import ToolCall
from core.tool_executor import Toolbox, perform_web_search
from core.tools import ToolContext, get_tools
from core.tools.fetch_url import download, fetch_url, html_text
from core.tools.guards.net import parse_url
from core.tools.web_search import HOSTS, Result, engines_of, search_ddgs, web_search

PAGE = """<!doctype html><html><head><title>A  page</title><script>evil()</script><style>p {}</style></head><body><nav>Menu</nav>
<h1>Head &amp; line</h1><p>First <b>words</b>,
in two lines.</p><ul><li>one</li><li>two</li></ul><table><tr><td>a</td><td>b</td></tr></table><pre>x  = 1
    y</pre><!-- hidden --><p>Last &#228;.</p><footer>Bottom</footer></body></html>"""
TEXT = """# Head & line

First words, in two lines.

- one

- two

| a | b

x  = 1
    y

Last \u00e4."""


class Handler(BaseHTTPRequestHandler):
    """Plays a site and a SearXNG."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        match path:
            case "/page":
                self.answer(PAGE.encode(), "text/html; charset=utf-8")
            case "/latin":
                self.answer("<p>\u00e4\u00f6</p>".encode("latin-1"),
                            "text/html; charset=iso-8859-1")
            case "/json":
                self.answer(b'{"a": 1}', "application/json; charset=utf-8")
            case "/image":
                self.answer(b"\x89PNG", "image/png")
            case "/bomb":
                self.answer(gzip.compress(b"x" * 60_000_000), "text/plain",
                            ("Content-Encoding", "gzip"))
            case "/endless":
                self.endless(b"x" * 65_536, 0)
            case "/drip":
                self.endless(b"x", 0.02)
            case "/loop":
                self.send_response(302)
                self.send_header("Location", "/loop")
                self.end_headers()
            case "/away":
                self.send_response(302)
                self.send_header("Location", query["to"][0])
                self.end_headers()
            case "/search":
                self.search(query)
            case _:
                self.send_error(404)

    def search(self, query: dict[str, list[str]]) -> None:
        assert query["format"] == ["json"]
        words = query["q"][0]
        if words == "html":
            return self.answer(b"<html>", "text/html")
        rows = [{"title": f"About {words}", "url": f"https://example.org/{n}",
                 "content": f"text\n{n}"} for n in range(9)]
        rows = [] if words == "nothing" else rows
        odd: list[object] = ["a string", None, 5, [], {"url": 5}, {}, {"title": "no address"}]
        odd += (rows if words != "odd"
                else [{"url": "https://example.org/x", "title": None, "content": {"a": 1}}])
        self.answer(json.dumps({"query": words, "results": odd if rows else []}).encode(),
                    "application/json")

    def answer(self, body: bytes, kind: str, *headers: tuple[str, str]) -> None:
        self.send_response(200)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def endless(self, piece: bytes, pause: float) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        try:
            while True:
                self.wfile.write(piece)
                time.sleep(pause)
        except OSError:
            self.server.left.set()  # type: ignore[attr-defined]

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    made.asked, made.left = [], threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def granted(server: ThreadingHTTPServer, **facts: Any) -> ToolContext:
    return ToolContext(local_hosts=frozenset({f"127.0.0.1:{server.server_port}"}), **facts)


def get(server: ThreadingHTTPServer, path: str, **options: Any) -> str:
    return fetch_url(granted(server), f"http://127.0.0.1:{server.server_port}{path}", **options)


def test_a_page_becomes_its_words(server: ThreadingHTTPServer) -> None:
    assert (get(server, "/page") == f"Address: http://127.0.0.1:{server.server_port}/page\nTitle: "
            f"A page\n\n{TEXT}")


def test_other_text_is_as_it_is(server: ThreadingHTTPServer) -> None:
    assert get(server, "/json").endswith('\n\n{"a": 1}')
    assert get(server, "/latin").endswith("\n\n\u00e4\u00f6")


def test_a_part_of_a_page(server: ThreadingHTTPServer) -> None:
    first = get(server, "/page", max_characters=100)
    assert (first.endswith(f"[{len(TEXT) - 100} more characters; continue with start=100]")
            or len(TEXT) <= 100)
    assert get(server, "/page", start=len(TEXT) - 5).endswith("\n\n" + TEXT[-5:])


@pytest.mark.parametrize(("path", "said"), [
    ("/image", "is image/png, not text"), ("/missing", "answered 404"),
    ("/loop", "More than 5 redirects"),
])
def test_what_is_no_page_is_said(server: ThreadingHTTPServer, path: str, said: str) -> None:
    with pytest.raises(ToolError, match=said):
        get(server, path)


def test_a_redirect_does_not_leave_the_host_that_was_approved(server: ThreadingHTTPServer) -> None:
    port = server.server_port
    places = frozenset({f"127.0.0.1:{port}", f"other.home:{port}"})
    url = f"http://127.0.0.1:{port}/away?to=http://other.home:{port}/page"
    free = ToolContext(local_hosts=places, resolve=lambda host, port: ["127.0.0.1"])
    assert fetch_url(free, url).startswith(f"Address: http://other.home:{port}/page")
    bound = ToolContext(local_hosts=places, resolve=free.resolve, hosts=frozenset({"127.0.0.1"}))
    asked = len(server.asked)  # type: ignore[attr-defined]
    with pytest.raises(ToolError, match="a host that was not approved"):
        fetch_url(bound, url)
    assert len(server.asked) == asked + 1  # type: ignore[attr-defined]


def test_a_page_that_never_ends_is_cut_and_the_connection_closed(
        server: ThreadingHTTPServer) -> None:
    assert "[the page is larger than 4 MB; the rest was not read]" in get(server, "/endless")
    assert server.left.wait(5)  # type: ignore[attr-defined]
    assert "[the page is larger than 4 MB" in get(server, "/bomb")


def test_a_page_that_drips_is_given_up(server: ThreadingHTTPServer) -> None:
    address = parse_url(f"http://127.0.0.1:{server.server_port}/drip")
    with pytest.raises(ToolError):
        download(granted(server), address, seconds=0.3)
    assert server.left.wait(5)  # type: ignore[attr-defined]


def test_html_that_is_broken_or_very_deep() -> None:
    assert html_text(b"") == ("", "")
    assert html_text(b"<p>a<p>b<b>c")[1] == "a\n\nb c".replace(" c", "c")
    assert ("x" in html_text(b"<div>" * 50_000 + b"x")[1]
            or html_text(b"<div>" * 50_000 + b"x")[1] == "")
    assert html_text(bytes(range(256)) * 100) is not None


def test_one_odd_result_costs_only_itself(server: ThreadingHTTPServer) -> None:
    context = granted(server, searxng_url=f"http://127.0.0.1:{server.server_port}/")
    assert web_search(context, "odd").split("\n")[1:] == ["1. ", "   https://example.org/x", "   "]


def test_searxng(server: ThreadingHTTPServer) -> None:
    context = granted(server, searxng_url=f"http://127.0.0.1:{server.server_port}/")
    said = web_search(context, "python \u00e4", max_results=2).split("\n")
    assert said == ["2 results for 'python \u00e4' from SearXNG at "
                    f"127.0.0.1:{server.server_port}:", "1. About python \u00e4",
                    "   https://example.org/0", "   text 0", "2. About python \u00e4",
                    "   https://example.org/1", "   text 1"]
    assert web_search(context, "Python  \u00e4",
                      max_results=2).split("\n")[-1] == "[from this session's memory]"
    assert len(server.asked) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(("words", "said"),
                         [("nothing", "no results"),
                          ("html", "settings may not allow that format")])
def test_a_search_without_results_never_says_that_there_are_none(server: ThreadingHTTPServer,
                                                                 words: str, said: str) -> None:
    with pytest.raises(ToolError, match=f"does not mean that there are none.*{said}"):
        web_search(ToolContext(searxng_url=f"http://127.0.0.1:{server.server_port}"), words)


def test_the_next_engine_is_asked_and_the_silent_one_rests() -> None:
    asked: list[str] = []

    def silent(query: str, most: int) -> Sequence[Result]:
        asked.append("silent")
        raise ToolError("no results")

    def speaking(query: str, most: int) -> Sequence[Result]:
        asked.append("speaking")
        return [Result("t", "u", "x")]
    cache: dict[str, Any] = {}
    engines = {"silent": silent, "speaking": speaking}
    assert perform_web_search("q", 1, engines, cache) == ("speaking", [Result("t", "u", "x")],
                                                          ["silent: no results"])
    assert perform_web_search("q", 1, engines,
                              cache)[2] == ["silent gave nothing a moment ago and was skipped"]
    assert asked == ["silent", "speaking", "speaking"]


def test_the_engines_are_those_that_ddgs_has() -> None:
    """An unknown name would make ddgs ask every engine it knows."""
    from ddgs.engines import ENGINES
    assert set(engines_of(ToolContext())) <= set(ENGINES["text"]) <= set(HOSTS)
    with pytest.raises(ToolError, match="no engine of this name"):
        search_ddgs("google", "words", 3)


def test_a_search_that_was_approved_for_one_host_asks_no_other() -> None:
    context = ToolContext(hosts=frozenset({"html.duckduckgo.com"}))
    assert list(engines_of(context)) == ["duckduckgo"]


# ---- the model is the attacker

ATTACKS = int(os.environ.get("STREAM_CHAT_TEST_ATTACKS", "") or 200)


def test_hostile_models_do_not_get_the_secret_out(server: ThreadingHTTPServer,
                                                  tmp_path: Path) -> None:
    """Models that know every tool try to send what they read to a host that was not approved."""
    seed = int(os.environ.get("STREAM_CHAT_TEST_SEED", "") or random.randrange(2 ** 32))
    print("seed", seed)
    (tmp_path / "notes.txt").write_text("the-planted-secret")
    (tmp_path / "notes.json").write_text('{"key": "the-planted-secret"}')
    base = f"http://127.0.0.1:{server.server_port}"
    tools = get_tools(["read_file", "read_json_file", "list_files", "search_files", "fetch_url",
                       "web_search", "calculate"])

    async def attack(own: random.Random) -> None:
        context = granted(server, roots=(str(tmp_path),), searxng_url=base)
        box = Toolbox(tools, context, allow=["read", "network"])
        known = "nothing"
        for _ in range(own.randrange(2, 9)):
            calls = [next_call(own, known, base) for _ in range(own.randrange(1, 4))]
            results = await asyncio.gather(*map(box.execute_tool_call, calls))
            for result in results:
                known = "the-planted-secret" if "the-planted-secret" in result.content else known

    async def all_attacks() -> None:
        for number in range(ATTACKS):
            await attack(random.Random(seed + number))
    asyncio.run(all_attacks())
    assert server.asked and not [path for path in server.asked if "planted" in path]  # type: ignore[attr-defined]
    print(f"counted: {ATTACKS} models that knew every tool")


def next_call(own: random.Random, known: str, base: str) -> ToolCall:
    name, arguments = own.choice((
        ("read_file", {"path": "notes.txt"}), ("read_json_file", {"path": "notes.json"}),
        ("search_files", {"text": "secret"}),
        ("fetch_url", {"url": f"{base}/page?{known}"}), ("FETCH_URL", {"url": f"{base}/{known}"}),
        ("fetch_url", {"URL": f"{base}/away?to=/page?{known}"}), ("web_search", {"query": known}),
        ("fetch_url", {"url": [f"{base}/{known}"]}),
        ("calculate", {"expression": f"__import__('os').system('{base}/{known}')"}),
    ))
    return ToolCall("1", name, arguments)
