"""Measures the page of a team under load: streams through two processes with one PostgreSQL.

    python -m bench.team_bench [STREAMS [RATE [SECONDS]]]
    python -m bench.team_bench across [STREAMS [RATE [SECONDS]]]
    python -m bench.team_bench kill [STREAMS [RATE [SECONDS]]]

500 streams of 50 tokens a second for 20 seconds; `across`: each is followed in the process that
does not run it. `kill`: one process is killed in the middle of the replies, and the other one must
finish all of them, with every token that a browser had received; otherwise the command fails.
The provider writes into each token when it was sent. Provider, PostgreSQL, both processes and the
browsers run on this machine, so the times hold only while nothing else runs.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from typing import Any

from bench.web_bench import Load, memory_of, processor_of, provider, spread
from tests import postgres
from tests.web.team_page import Member, TeamPage

NAMES = ("ana", "ben", "cleo", "dan", "eve")
AT_ONCE = 20  # sessions that are begun at the same time
PATIENCE = 600  # seconds until all replies have ended
# a reply that another process finishes has two rows: what was received first, and the rest
_ENDED = (
    "SELECT count(DISTINCT session_id) FILTER (WHERE role = 'assistant' AND state = 'complete'), "
    "count(*) FILTER (WHERE state = 'streaming') FROM stream_chat.messages"
)
_STORED = "SELECT session_id, role, parts FROM stream_chat.messages WHERE active = 1"
_TOKEN = re.compile(rb"@(\d+\.\d+)@")


class TeamLoad:
    """The streams of five members, followed in the process that runs them or in another one."""

    def __init__(self, page: TeamPage, ports: tuple[int, int], *, across: bool) -> None:
        self._across, self._loads = across, {}
        self._pids = [page.processes[port].pid for port in ports]
        for name in NAMES:
            member = Member(name, f"http://127.0.0.1:{ports[0]}")
            assert member.sign_in() == 303
            for port in ports:
                self._loads[name, port] = Load(port, member.client.cookies, self._pids[0])
        self._ports = ports

    async def begin(self, streams: int) -> None:
        pairs = [(NAMES[number % len(NAMES)], number % 2) for number in range(streams)]
        tasks = [self._begin(name, side) for name, side in pairs]
        for start in range(0, streams, AT_ONCE):
            await asyncio.gather(*tasks[start:start + AT_ONCE])

    async def run(self, streams: int, seconds: float) -> None:
        await self.begin(streams)
        begun = sum(map(processor_of, self._pids))
        for load in self._loads.values():
            load.counting = True
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await self._loads[NAMES[0], self._ports[0]].ask_others()
        for load in self._loads.values():
            load.counting = False
        self.processor = sum(map(processor_of, self._pids)) - begun

    async def kill(self, page: TeamPage, streams: int, seconds: float) -> None:
        """Kill the first process in the middle of the replies; return when all have ended."""
        for load in self._loads.values():
            load.counting, load.seen = True, {}
        await self.begin(streams)
        await asyncio.sleep(seconds / 2)
        await asyncio.to_thread(page.end, self._ports[0], signal.SIGKILL)
        end = time.monotonic() + PATIENCE
        while await asyncio.to_thread(asked, page.database, _ENDED) != [(streams, 0)]:
            assert time.monotonic() < end, "not all replies have ended"
            await asyncio.sleep(1)

    @property
    def seen(self) -> dict[str, set[bytes]]:
        return {session: tokens for load in self._loads.values()
                for session, tokens in (load.seen or {}).items()}

    async def _begin(self, name: str, side: int) -> None:
        here = self._loads[name, self._ports[side]]
        there = self._loads[name, self._ports[1 - side if self._across else side]]
        session = str((await here.request("POST", "/api/sessions"))["id"])
        await here.request("POST", f"/api/sessions/{session}/messages", {"key": "k", "text": "go"})
        await there.follow(session)

    @property
    def late(self) -> list[float]:
        return [each for load in self._loads.values() for each in load.late]

    @property
    def others(self) -> list[float]:
        return [each for load in self._loads.values() for each in load.others]


def asked(url: str, sql: str) -> list[Any]:
    """The rows of a query, of all members."""
    import psycopg

    with closing(psycopg.connect(url, autocommit=True)) as connection:
        return connection.execute(sql.encode()).fetchall()


def check(page: TeamPage, load: TeamLoad, streams: int) -> None:
    """Exit with an error unless each question is stored once, with all tokens that were seen."""
    stored: dict[str, set[bytes]] = {}
    questions: dict[str, int] = {}
    for session, role, parts in asked(page.database, _STORED):
        stored.setdefault(session, set()).update(_TOKEN.findall(parts.encode()))
        questions[session] = questions.get(session, 0) + (role == "user")
    lost = sum(len(tokens - stored.get(session, set())) for session, tokens in load.seen.items())
    seen = sum(map(len, load.seen.values()))
    print(f"one process was killed: {len(stored)} of {streams} replies complete, {lost} of the "
          f"{seen:,} tokens that browsers had received are lost")
    if lost or not seen or list(questions.values()) != [1] * streams:
        sys.exit("Questions or tokens were lost.")


def measure_kill(streams: int, rate: int, seconds: int) -> None:
    with ExitStack() as stack:
        page, ports = open_page(stack, f"{rate * seconds}@{rate}")
        load = TeamLoad(page, ports, across=False)
        asyncio.run(load.kill(page, streams, seconds))
        check(page, load, streams)


def open_page(stack: ExitStack, model: str) -> tuple[TeamPage, tuple[int, int]]:
    """The page of the members with two processes, and their ports."""
    home = stack.enter_context(tempfile.TemporaryDirectory())
    url = stack.enter_context(provider())
    environment = {
        "HOME": home,
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "OLLAMA_HOST": url,
    }
    server = stack.enter_context(postgres.running_server())
    page = TeamPage(server, environment, *NAMES)
    page.environment["STREAM_CHAT_PROVIDER"] = "ollama"
    stack.enter_context(page)
    return page, (page.start("-m", model), page.start("-m", model))


def measure(streams: int, rate: int, seconds: int, *, across: bool) -> None:
    with ExitStack() as stack:
        page, ports = open_page(stack, f"{rate * (seconds + 90)}@{rate}")
        load = TeamLoad(page, ports, across=across)
        asyncio.run(load.run(streams, seconds))
        late = load.late
        way = "followed in the other process" if across else "followed where they run"
        print(f"{streams} streams of {rate} tokens a second, {way}: "
              f"{len(late) / seconds:,.0f} tokens a second arrived")
        print(f"from the provider to the event: {spread(late)}")
        print(f"other requests: {spread(load.others)}")
        print(f"both processes: {load.processor / seconds:.0%} of a processor, "
              f"{load.processor / len(late) * 1e6:.0f} µs a token")
        print(f"memory: {sum(memory_of(page.processes[port].pid) for port in ports) / 1e6:.0f} MB")


def main() -> None:
    words = sys.argv[1:]
    way = words.pop(0) if words[:1] in (["across"], ["kill"]) else ""
    given = list(map(int, words))
    streams, rate, seconds = (*given, *(500, 50, 20)[len(given):])
    if way == "kill":
        measure_kill(streams, rate, seconds)
    else:
        measure(streams, rate, seconds, across=way == "across")


if __name__ == "__main__":
    main()
