"""Many streams on the page at once: every token arrives and is saved once, and the server's memory
stays flat.

The provider writes a different stamp into each token. The judges count the stamps in what the
browsers received, and in the database, which they read with Python's own sqlite3.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from bench.web_bench import Load, memory_of, provider
from core.web.conversation.hub import MOST_OPEN
from tests.proof.homes import new_home
from tests.surroundings import inherited
from tests.web.page_server import PATIENCE, PageServer

AT_ONCE = 500       # streams, at most
ROUNDS = 4          # at least
TOKENS, RATE = 100, 10      # of each stream; tokens a second
# The server keeps up to MOST_OPEN conversations open, each in about 60 kB, and looks every ten
# seconds which to close. So only beyond them the memory must be flat, and not to the byte.
MOST_GROWTH = 20_000        # bytes for each stream of the second half
_STAMP = re.compile(rb"@\d+\.\d+@")


@dataclass(slots=True)
class Tally:
    """What was counted; `growth` is in bytes for each stream of the second half, None if there were
    too few.
    """

    streams: int = 0
    tokens: int = 0
    growth: int | None = None
    faults: list[str] = field(default_factory=list)


def pour_streams(count: int) -> Tally:
    """Show `count` streams, in rounds of at most AT_ONCE, to one server."""
    rounds = max(ROUNDS, -(-count // AT_ONCE))
    shares = [count // rounds + (number < count % rounds) for number in range(rounds)]
    tally = Tally()
    with new_home() as home, provider() as url:
        environment = {"HOME": home, **inherited(), "LANG": "C.UTF-8", "OLLAMA_HOST": url}
        with PageServer(environment, "-m", f"{TOKENS}@{RATE}") as server:
            half, at_half = (rounds + 1) // 2, 0
            for number, share in enumerate(shares):
                asyncio.run(_round(server, share, tally))
                if number + 1 == half:
                    at_half = memory_of(server.process.pid)
            later = sum(shares[half:])
            if sum(shares[:half]) > MOST_OPEN:
                tally.growth = max(0, memory_of(server.process.pid) - at_half) // later
        tally.faults += stored_wrongly(Path(home), tally.streams)
    if tally.growth is not None and tally.growth > MOST_GROWTH:
        tally.faults.append(f"the server's memory grew by {tally.growth:,} bytes a stream")
    return tally


async def _round(server: PageServer, streams: int, tally: Tally) -> None:
    load = Load(server.port, server.client.cookies, server.process.pid)
    sessions = [(await load.request("POST", "/api/sessions"))["id"] for _ in range(streams)]
    tabs = [asyncio.create_task(_watched(load, session)) for session in sessions]
    received = await asyncio.gather(*tabs)
    tally.streams += streams
    for session, data in zip(sessions, received, strict=True):
        stamps = set(_STAMP.findall(data))
        tally.tokens += len(stamps)
        if len(stamps) != TOKENS:
            tally.faults.append(f"session {session}: a browser received {len(stamps)} of {TOKENS} "
                                "tokens")


async def _watched(load: Load, session: str) -> bytes:
    """Ask in a session, and return everything that a browser receives until the turn has ended."""
    reader, writer = await load.events(session)
    data = b""
    try:
        await load.request("POST", f"/api/sessions/{session}/messages",
                           {"key": session, "text": "go"})
        async with asyncio.timeout(PATIENCE + TOKENS / RATE):
            while len(set(_STAMP.findall(data))) < TOKENS:
                piece = await reader.read(65_536)
                if not piece:
                    break
                data += piece
    except TimeoutError:
        pass        # what is missing is counted
    finally:
        writer.close()
    return data


def stored_wrongly(home: Path, streams: int) -> list[str]:
    """What is wrong in the database."""
    path = home / ".local/share/stream-chat/sessions.db"
    with closing(sqlite3.connect(path)) as database:
        replies: Sequence[tuple[str, str]] = database.execute(
            "SELECT session_id, parts FROM messages WHERE role = 'assistant'").fetchall()
    faults = []
    if len(replies) != streams:
        faults.append(f"{len(replies)} replies are stored, not {streams}")
    for session, parts in replies:
        stamps = _STAMP.findall(parts.encode())
        in_order = sorted(set(stamps), key=lambda stamp: float(stamp[1:-1]))
        if len(stamps) != TOKENS or in_order != stamps:
            faults.append(f"session {session}: {len(set(stamps))} of {TOKENS} tokens are stored, "
                          f"{len(stamps)} times, or in another order")
    return faults
