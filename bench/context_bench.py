"""Context: many files to a first prompt, and words in many messages.

One measurement a process, told as JSON:

    python -m bench.context_bench files 50000
    python -m bench.context_bench sessions 100000
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from core.context_loader import ContextSet, plan_budget

FILE_BYTES = 10_000
MESSAGES = 10      # of a session
ROUNDS = 3
WORDS = ("the of a server table pool retry value line error request stream token model answer user "
         "file path name list".split())


def words(dice: random.Random, size: int) -> str:
    text = " ".join(dice.choices(WORDS, k=400)) + "\n"
    return "\n".join(text[place:place + 70]
                     for place in range(0, len(text), 70)) * (size // len(text) + 1)


def make_files(root: str, count: int) -> None:
    dice = random.Random(1)
    texts = [words(dice, FILE_BYTES)[:FILE_BYTES] for _ in range(50)]
    for number in range(count):
        folder = os.path.join(root, f"p{number % 40}", f"m{number // 40 % 50}")
        if number < 2_000:
            os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"file{number}.py"), "w", encoding="utf-8") as file:
            file.write(texts[number % 50])
    with open(os.path.join(root, ".gitignore"), "w", encoding="utf-8") as file:
        file.write("*.pyc\n__pycache__/\n/build/\n*.egg-info/\n.venv/\nnode_modules/\n*.log\n"
                   "dist/\n.coverage\n*.tmp\n")
    with open(os.path.join(root, "p7", "m3", "connection_backoff.py"), "w",
              encoding="utf-8") as file:
        file.write("def backoff_delay(attempt): return 2 ** attempt\n")


def scan(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from scan(entry.path)
            else:
                yield entry.path


def timed_listing(root: str) -> tuple[str, float]:
    """The time of rg --files if it is installed, otherwise of a plain walk."""
    tool = shutil.which("rg")
    started = time.perf_counter()
    if tool:
        subprocess.run([tool, "--files", root], stdout=subprocess.DEVNULL, check=True)
        return "rg --files", time.perf_counter() - started
    sum(1 for _ in scan(root))
    return "os.scandir", time.perf_counter() - started


async def first_prompt(root: str) -> float:
    """Seconds until a request with the correct file could be sent."""
    started = time.perf_counter()
    context = ContextSet(root=root)
    await context.add(".")
    result = await context.prepare("Where is the backoff delay of a connection computed?",
                                   plan_budget(32_768))
    seconds = time.perf_counter() - started
    assert any("connection_backoff" in name for name in result.included), result.line
    return seconds


def measure_files(count: int) -> dict[str, float | str]:
    root = tempfile.mkdtemp(prefix="context-bench-")
    try:
        make_files(root, count)
        timed_listing(root)
        name, listing = min((timed_listing(root) for _ in range(ROUNDS)), key=lambda pair: pair[1])
        seconds = sorted(asyncio.run(first_prompt(root)) for _ in range(ROUNDS))[ROUNDS // 2]
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"seconds": seconds, "memory": memory, "baseline": listing, "name": name}
    finally:
        shutil.rmtree(root, ignore_errors=True)


def make_sessions(path: str, count: int) -> None:
    from db import open_store
    open_store(path).close()
    run = sqlite3.connect(path, isolation_level=None)
    dice = random.Random(2)
    run.execute("PRAGMA synchronous = OFF")
    run.execute("BEGIN")
    for number in range(count):
        session = f"20260101-0000-{number:08d}"
        run.execute("INSERT INTO sessions (id, name, title, model, created, updated, used, "
                    "message_count) VALUES (?, ?, ?, 'm', ?, ?, ?, ?)",
                    (session, session, f"chat {number}", number, number, number, MESSAGES))
        rows = []
        for position in range(MESSAGES):
            text = (" ".join(dice.choices(WORDS, k=25))
                    + (" zebra crossing" if number % 9_973 == 5 and position == 3 else ""))
            identity, role = (f"{number * MESSAGES + position + 1:032x}",
                              "assistant" if position % 2 else "user")
            rows.append((identity, session, position, role, number,
                         json.dumps([{"type": "text", "text": text}]), text.lower()))
        run.executemany("INSERT INTO messages (id, session_id, position, role, state, created, "
                        "parts, words) VALUES (?, ?, ?, ?, 'complete', ?, ?, ?)", rows)
    run.execute("COMMIT")
    run.close()


async def timed_search(path: str, wanted: str) -> float:
    from db import open_store
    store = open_store(path)
    context = ContextSet(store=store)
    started = time.perf_counter()
    await context.add(f'db:"{wanted}"')
    seconds = time.perf_counter() - started
    assert context.items
    store.close()
    return seconds


def measure_sessions(count: int) -> dict[str, float]:
    """Seconds of searches for rare words, for words in every message, and for three words."""
    root = tempfile.mkdtemp(prefix="context-bench-")
    try:
        path = os.path.join(root, "sessions.db")
        make_sessions(path, count)
        wanted = {"rare": "zebra crossing", "common": "server", "several": "the pool retry"}
        return {name: max(asyncio.run(timed_search(path, words)) for _ in range(ROUNDS))
                for name, words in wanted.items()}
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    print(json.dumps((measure_files if sys.argv[1] == "files"
                      else measure_sessions)(int(sys.argv[2]))))
