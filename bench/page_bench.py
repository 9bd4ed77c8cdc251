"""Measures the page in a real Chromium: a long answer while it streams, and a session of many
messages.

    python -m bench.page_bench stream mixed 32000    a reply of so many tokens of Markdown
    python -m bench.page_bench scroll 10000          up and down through a
                                                     session of so many messages
    python -m bench.page_bench paint 10              the first paint of a tab that never saw the
                                                     page, so many times, and what it loads

Of the first two, what is counted is the main thread's own processor time for each of its tasks (one
draws one frame), which other work on the machine does not change, and what the tab holds at the
end.
"""

from __future__ import annotations

import bisect
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import expect

from bench.server import LAST
from tests.web.browser import Tab, running_chromium
from tests.web.page_server import PageServer
from tests.web.test_long_session import fill

RATE = 1_000            # tokens a second, several times what a model writes
LONG = 50.0             # milliseconds of a frame
CATEGORIES = ["toplevel", "devtools.timeline"]
LET_GO = ("() => document.querySelector('.scroll').dispatchEvent(new WheelEvent('wheel', "
          "{deltaY: -1}))")
PAINTED = """() => new Promise(resolve => {
  new PerformanceObserver(list => list.getEntriesByName("first-contentful-paint")
      .forEach(entry => resolve(entry.startTime))).observe({ type: "paint", buffered: true }); })"""
LOADED = """() => {
  const entries = [...performance.getEntriesByType("navigation"),
                   ...performance.getEntriesByType("resource")
                       .filter(entry => entry.name.includes("/static/"))];
  return { count: entries.length,
           bytes: entries.reduce((sum, entry) => sum + entry.encodedBodySize, 0) }; }"""
Act = Callable[[Tab], None]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the main thread did, in milliseconds of its processor time, and what the tab holds."""

    longest: float
    total: float
    over: int
    tasks: int
    heap: int           # bytes of JavaScript
    nodes: int

    def __str__(self) -> str:
        return (f"longest task {self.longest:.1f} ms, {self.over} of {self.tasks:,} over "
                f"{LONG:.0f} ms; {self.heap / 1e6:.1f} MB of JavaScript, {self.nodes:,} nodes")


@contextmanager
def fake_models() -> Iterator[str]:
    """The address of a server whose replies are ready before they are asked for."""
    with subprocess.Popen([sys.executable, "-m", "bench.server"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.terminate()


@contextmanager
def opened(model: str, messages: int = 0) -> Iterator[tuple[Tab, str]]:
    """A tab with its own server, and a stored session of so many messages."""
    with (tempfile.TemporaryDirectory() as home, fake_models() as models,
          running_chromium() as chromium):
        place = Path(home, ".local/share/stream-chat/sessions.db")
        session = fill(str(place), messages // 2) if messages else ""
        environment = {"HOME": home, "PATH": os.environ["PATH"], "LANG": "C.UTF-8",
                       "OLLAMA_HOST": models}
        with PageServer(environment, "-m", model) as server, Tab(chromium, server) as tab:
            yield tab, session


def watched(tab: Tab, act: Act) -> Seen:
    """Do something, and return its cost for the main thread."""
    browser = tab.context.browser
    assert browser is not None
    browser.start_tracing(page=tab.page, categories=CATEGORIES)
    act(tab)
    events = json.loads(browser.stop_tracing())["traceEvents"]
    times = list(_task_times(events))
    session = tab.context.new_cdp_session(tab.page)
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    metrics = {each["name"]: each["value"]
               for each in session.send("Performance.getMetrics")["metrics"]}
    return Seen(max(times), sum(times), sum(time > LONG for time in times), len(times),
                int(metrics["JSHeapUsedSize"]),
                int(metrics["Nodes"]))


def _task_times(events: list[dict[str, Any]]) -> Iterator[float]:
    """The processor time of each task of the page's main thread, in milliseconds,
    without what this bench asks of it.
    """
    named = [event for event in events if event.get("name") == "thread_name"]
    mains = {(event["pid"], event["tid"])
             for event in named if event["args"]["name"] == "CrRendererMain"}
    own = [event for event in events
           if event.get("ph") == "X" and (event["pid"], event["tid"]) in mains]
    asked = sorted(event["ts"] for event in own
                   if "DevToolsSession" in json.dumps(event.get("args", "")))
    yield 0.0
    for event in own:
        place = bisect.bisect_left(asked, event["ts"])
        is_ours = place < len(asked) and asked[place] <= event["ts"] + event["dur"]
        if event["name"] == "ThreadControllerImpl::RunTask" and not is_ours:
            # Chromium leaves out a processor time of nothing; that of a task is at most its time
            yield event.get("tdur", event["dur"]) / 1_000


def stream(kind: str, tokens: int, rate: int = RATE) -> Seen:
    """A reply while it streams, at so many tokens a second; 0: as fast as possible."""
    with opened(f"{kind}-{tokens}@{rate}") as (tab, _):
        tab.go()

        def ask(tab: Tab) -> None:
            tab.send("write")
            reply = tab.page.locator(".from-model[data-complete]")
            expect(reply).to_be_attached(timeout=600_000)
            tab.page.wait_for_timeout(500)
            assert LAST in reply.inner_text()
        return watched(tab, ask)


def scroll(messages: int) -> Seen:
    with opened("mixed-50", messages) as (tab, session):
        def up_and_down(tab: Tab) -> None:
            tab.go(f"/s/{session}")
            expect(tab.page.locator(f".from-user[data-place='{messages - 2}']")).to_be_in_viewport()
            tab.page.evaluate(LET_GO)
            wheel(tab, -1_200, f".from-user[data-place='{max(0, messages - 1_000)}']")
            wheel(tab, 1_200, f".from-user[data-place='{messages - 2}']")
        return watched(tab, up_and_down)


def paint(rounds: int) -> str:
    """The time from the request to the first text on the screen, and what is loaded."""
    with opened("mixed-50") as (first, _):
        browser = first.context.browser
        assert browser is not None
        painted, loaded = [], {}
        for _ in range(rounds):
            with Tab(browser, first.server) as tab:
                tab.go()
                painted.append(tab.page.evaluate(PAINTED))
                loaded = tab.page.evaluate(LOADED)
    return (f"first paint: median {median(painted):.0f} ms, fastest {min(painted):.0f} ms; "
            f"{loaded['count']} files, {loaded['bytes'] / 1e3:.0f} kB compressed")


def wheel(tab: Tab, step: int, until: str) -> None:
    """Scroll the conversation until a message is on the page."""
    tab.page.mouse.move(900, 400)
    while not tab.page.locator(until).count():
        tab.page.mouse.wheel(0, step)
        tab.page.wait_for_timeout(16)


def main() -> None:
    what, *given = sys.argv[1:] or ["stream", "mixed", "32000"]
    if what == "stream":
        print(stream(given[0], int(given[1])))
    else:
        print({"scroll": scroll, "paint": paint}[what](int(given[0])))


if __name__ == "__main__":
    main()
