"""Measures one long session, and one database with many writers, in SQLite and in PostgreSQL.

    python -m bench.sessions_store [--seconds 20] [--programs 50] [--large 5000] [--only-sqlite]

How long how many programs write, and the messages of the session that is exported. PostgreSQL is
a server of the bench's own, without fsync. Prints a line of JSON about the size of a database, then
one for each database.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from statistics import median
from typing import Any

from bench.sessions_bench import LONG, ROOT, add_session, make
from bench.sessions_postgres import copy_into
from core.messages import user_message
from core.session_manager import open_session
from core.store.identity import new_message_id, new_session_id
from core.store.rows import Chunk
from db import Store, open_store
from tests import postgres

APPENDS = 100
SHORT = 1_000  # sessions of 10 messages of 25 words each, by which the size is measured
LETTERS = 10_000  # characters of each message of the session that is exported
PACE = 30  # commits a second of each program
HEAD_START = 5  # seconds, at most, until all of them have begun
WAIT = 300  # seconds until a writer counts as lost


def build(path: str, large: int) -> None:
    """A few sessions, one of 10,000 messages, and one of `large` long messages."""
    make(path, 5)
    dice = random.Random(5)
    with closing(sqlite3.connect(path)) as run:
        add_session(
            run, dice, [f"word{dice.randrange(999)}" for _ in range(1_000)], "large", 9, large
        )
        parts = json.dumps([{"type": "text", "text": "- a line\\n" * (LETTERS // 10)}])
        run.execute("UPDATE messages SET parts = ? WHERE session_id = 'large'", (parts,))
        run.commit()


def measure_size(folder: str) -> dict[str, object]:
    """The size of a SQLite database of short messages: bytes for each byte of text, and where."""
    path = os.path.join(folder, "size.db")
    make(path, SHORT)
    with closing(sqlite3.connect(path)) as run:
        texts = [
            len(part["text"].encode())
            for (parts,) in run.execute("SELECT parts FROM messages")
            for part in json.loads(parts)
        ]
        where = bytes_of_tables(run, len(texts))
    ratio = round(os.path.getsize(path) / sum(texts), 2)
    return {"bytes for each byte of text": ratio, "text": sum(texts) // len(texts), **where}


def bytes_of_tables(run: sqlite3.Connection, messages: int) -> dict[str, int]:
    """Bytes a message of the five largest tables and indexes; empty where SQLite does not tell."""
    sizes = "SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC LIMIT 5"
    with suppress(sqlite3.OperationalError):
        return {name: size // messages for name, size in run.execute(sizes)}
    return {}


@contextmanager
def places(folder: str, plan: Namespace) -> Iterator[dict[str, str]]:
    """The name and the address of each database."""
    path = os.path.join(folder, "sessions.db")
    build(path, plan.large)
    if plan.only_sqlite or postgres.why_not():
        yield {"SQLite": path}
        return
    with postgres.running_server() as server:
        url = postgres.new_database(server)
        copy_into(url, path)
        yield {"SQLite": path, "PostgreSQL": url}


def processor_seconds(act: Callable[[], object]) -> float:
    """Of this process, without that of a database server."""
    begun = time.process_time()
    act()
    return time.process_time() - begun


def seconds(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def measure_appends(store: Store) -> tuple[float, float]:
    """The median of a message added to an empty session and to one of 10,000."""
    spent: dict[str, list[float]] = {"long": []}
    empty = new_session_id()
    store.create_session(empty, "t", "m", time.time())
    spent[empty] = []
    for _ in range(APPENDS):
        for session, times in spent.items():
            message = new_message_id(), user_message("a few words")
            times.append(seconds(lambda: store.add_message(session, *message, "complete")))
    return median(spent[empty]), median(spent["long"])


def measure_branch(store: Store) -> tuple[float, float]:
    """Seconds on the clock and of the processor."""
    session = open_session(store, name="long")
    spent: list[float] = []
    clock = seconds(lambda: spent.append(processor_seconds(lambda: session.fork(session.count))))
    return clock, spent[0]


def measure_export(url: str, folder: str) -> tuple[float, float]:
    """Megabytes for each second of processor time, and the peak of memory in megabytes."""
    path = os.path.join(folder, "out.jsonl")
    words = [sys.executable, str(ROOT / "stream_chat.py"), "--database-url", url]
    words += ["--export-session", "large", "--format", "jsonl", "--output", path, "--force"]
    environment = {"PATH": os.environ["PATH"], "HOME": folder, "LANG": "C.UTF-8"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = 0
    with subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL) as export:
        while export.poll() is None:
            peak = max(peak, kilobytes(export.pid))
            time.sleep(0.005)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if export.returncode:
        raise SystemExit("bench: the export failed")
    return os.path.getsize(path) / 1e6 / spent, peak / 1024


def kilobytes(process: int) -> int:
    """Its peak memory, without the parent's part in rusage."""
    with suppress(OSError), open(f"/proc/{process}/status", encoding="ascii") as file:
        return next((int(line.split()[1]) for line in file if line.startswith("VmHWM:")), 0)
    return 0


def write_much(url: str, until: float, told: multiprocessing.SimpleQueue[Any]) -> None:
    """Commit frames of a reply at a pace; return the time of each, and what was refused."""
    spent, refused = [], 0
    with closing(open_store(url)) as store:
        session, message = new_session_id(), new_message_id()
        store.create_session(session, "t", "m", time.time())
        store.add_message(session, message, user_message(""), "streaming")
        number, due = 0, time.monotonic() + random.random() / PACE
        while due < until:
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                frame = Chunk("text", 0, "some words ")
                spent.append(seconds(lambda: store.append_chunk(message, number, frame)))
            except Exception:
                refused += 1
            number, due = number + 1, max(due + 1 / PACE, time.monotonic())
    told.put((spent, refused))


def measure_writers(url: str, duration: float, programs: int) -> tuple[float, int, int]:
    """The 99th percentile of a commit in seconds, the number of commits, and of refused ones."""
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()
    until = time.monotonic() + duration + min(duration, HEAD_START)
    runs = [context.Process(target=write_much, args=(url, until, told)) for _ in range(programs)]
    for run in runs:
        run.start()
    found = [told.get() for _ in runs]
    for run in runs:
        run.join(WAIT)
    spent = sorted(each for times, _ in found for each in times) or [0.0]
    return spent[len(spent) * 99 // 100], len(spent), sum(refused for _, refused in found)


def measure(name: str, url: str, folder: str, plan: Namespace) -> dict[str, object]:
    with closing(open_store(url)) as store:
        empty, long = measure_appends(store)
        branch, work = measure_branch(store)
    speed, memory = measure_export(url, folder)
    late, commits, refused = measure_writers(url, plan.seconds, plan.programs)
    return {
        "database": name,
        "load": os.getloadavg()[0],
        "append to an empty session, ms": round(empty * 1e3, 2),
        f"append to one of {LONG:,}, ms": round(long * 1e3, 2),
        f"branch of {LONG:,}, ms": round(branch * 1e3),
        f"branch of {LONG:,}, processor ms": round(work * 1e3),
        "export, MB for a second of processor time": round(speed),
        "export, peak memory in MB": round(memory),
        "many writers, 99th percentile, ms": round(late * 1e3, 1),
        "many writers, commits": commits,
        "many writers, refused": refused,
    }


def main() -> None:
    parser = ArgumentParser(description="One long session, and many writers, in each database.")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--programs", type=int, default=50)
    parser.add_argument("--large", type=int, default=5_000)
    parser.add_argument("--only-sqlite", action="store_true")
    plan = parser.parse_args()
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )
    with tempfile.TemporaryDirectory(prefix="sessions-bench-") as folder:
        print(json.dumps(measure_size(folder)), flush=True)
        with places(folder, plan) as found:
            for name, url in found.items():
                print(json.dumps(measure(name, url, folder, plan)), flush=True)


if __name__ == "__main__":
    main()
