"""Measures the page of a team under load: streams through two processes with one PostgreSQL.

    python -m bench.team_bench [STREAMS [RATE [SECONDS]]]
    python -m bench.team_bench across [STREAMS [RATE [SECONDS]]]

500 streams of 50 tokens a second for 20 seconds; `across`: each is followed in the process that
does not run it.
The provider writes into each token when it was sent. Provider, PostgreSQL, both processes and the
browsers run on this machine, so the times hold only while nothing else runs.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from contextlib import ExitStack

from bench.web_bench import Load, memory_of, processor_of, provider, spread
from tests import postgres
from tests.web.team_page import Member, TeamPage

NAMES = ("ana", "ben", "cleo", "dan", "eve")
AT_ONCE = 20  # sessions that are begun at the same time


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

    async def run(self, streams: int, seconds: float) -> None:
        pairs = [(NAMES[number % len(NAMES)], number % 2) for number in range(streams)]
        tasks = [self._begin(name, side) for name, side in pairs]
        for start in range(0, streams, AT_ONCE):
            await asyncio.gather(*tasks[start:start + AT_ONCE])
        begun = sum(map(processor_of, self._pids))
        for load in self._loads.values():
            load.counting = True
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await self._loads[NAMES[0], self._ports[0]].ask_others()
        for load in self._loads.values():
            load.counting = False
        self.processor = sum(map(processor_of, self._pids)) - begun

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


def measure(streams: int, rate: int, seconds: int, *, across: bool) -> None:
    with ExitStack() as stack:
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
        model = f"{rate * (seconds + 90)}@{rate}"
        ports = page.start("-m", model), page.start("-m", model)
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
    across = words[:1] == ["across"]
    given = [int(word) for word in words[across:]]
    streams, rate, seconds = (*given, *(500, 50, 20)[len(given):])
    measure(streams, rate, seconds, across=across)


if __name__ == "__main__":
    main()
