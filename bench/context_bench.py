"""Context: 50,000 files (500 MB) to a first prompt, and words in a million messages.

python -m bench.context_bench [files|sessions] [--scale 1.0]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator

from core.context_loader import ContextSet, plan_budget

FILES, FILE_BYTES = 50_000, 10_000
SESSIONS, MESSAGES = 100_000, 10
WORDS = "the of a server table pool retry value line error request stream token model answer user file path name list".split()


def words(dice: random.Random, size: int) -> str:
    text = " ".join(dice.choices(WORDS, k=400)) + "\n"
    return "\n".join(text[place:place + 70] for place in range(0, len(text), 70)) * (size // len(text) + 1)


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
        file.write("*.pyc\n__pycache__/\n/build/\n*.egg-info/\n.venv/\nnode_modules/\n*.log\ndist/\n.coverage\n*.tmp\n")
    with open(os.path.join(root, "p7", "m3", "connection_backoff.py"), "w", encoding="utf-8") as file:
        file.write("def backoff_delay(attempt): return 2 ** attempt\n")


def scan(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from scan(entry.path)
            else:
                yield entry.path


def timed_listing(root: str) -> tuple[str, float]:
    """The time of rg --files where it is installed, else of the plainest walk."""
    tool = shutil.which("rg")
    started = time.perf_counter()
    if tool:
        subprocess.run([tool, "--files", root], stdout=subprocess.DEVNULL, check=True)
        return "rg --files", time.perf_counter() - started
    sum(1 for _ in scan(root))
    return "os.scandir", time.perf_counter() - started


async def first_prompt(root: str) -> dict[str, float | str]:
    seen: list[float] = []
    started = time.perf_counter()
    context = ContextSet(root=root, progress=lambda what, done: seen.append(time.perf_counter() - started))
    await context.add(".")
    listed = time.perf_counter() - started
    result = await context.prepare("Where is the backoff delay of a connection computed?", plan_budget(32_768))
    whole = time.perf_counter() - started
    assert any("connection_backoff" in name for name in result.included), result.line
    return {"listed": listed, "chosen": whole - listed, "whole": whole, "first progress": seen[0] if seen else whole,
            "line": result.line, "notes": "; ".join(result.notes)}


def bench_files(scale: float) -> None:
    root = tempfile.mkdtemp(prefix="context-bench-")
    try:
        count = int(FILES * scale)
        make_files(root, count)
        timed_listing(root)
        name, baseline = min((timed_listing(root) for _ in range(3)), key=lambda pair: pair[1])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found = asyncio.run(first_prompt(root))
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{count:,} files: {name} {baseline:.2f} s; " + ", ".join(
            f"{key} {value:.2f} s" for key, value in found.items() if isinstance(value, float)))
        print(f"memory {before:.0f} -> {after:.0f} MB\n{found['line']}\n{found['notes']}")
    finally:
        shutil.rmtree(root, ignore_errors=True)


def make_sessions(path: str, count: int) -> None:
    import json

    from db import SqliteStore, open_store
    store = open_store(path)
    assert isinstance(store, SqliteStore)
    run = store._connection
    dice = random.Random(2)
    run.execute("PRAGMA synchronous = OFF")
    run.execute("BEGIN")
    for number in range(count):
        session = f"20260101-0000-{number:08d}"
        run.execute("INSERT INTO sessions (id, title, model, created, updated, message_count) VALUES (?, ?, 'm', ?, ?, ?)",
                    (session, f"chat {number}", number, number, MESSAGES))
        rows = []
        for position in range(MESSAGES):
            text = " ".join(dice.choices(WORDS, k=25)) + (" zebra crossing" if number % 9_973 == 5 and position == 3 else "")
            rows.append((number * MESSAGES + position + 1, session, position, "assistant" if position % 2 else "user", number,
                         json.dumps([{"type": "text", "text": text}]), text))
        run.executemany("INSERT INTO messages (id, session_id, position, role, state, created, parts, text) "
                        "VALUES (?, ?, ?, ?, 'complete', ?, ?, ?)", rows)
    run.execute("COMMIT")
    store.close()


async def timed_search(path: str, wanted: str) -> tuple[float, str]:
    from db import open_store
    store = open_store(path)
    context = ContextSet(store=store)
    started = time.perf_counter()
    await context.add(f'db:"{wanted}"')
    seconds = time.perf_counter() - started
    line = f"{len(context.items)} sessions"
    store.close()
    return seconds, line


def bench_sessions(scale: float) -> None:
    root = tempfile.mkdtemp(prefix="context-bench-")
    try:
        path = os.path.join(root, "sessions.db")
        make_sessions(path, int(SESSIONS * scale))
        for wanted in ("zebra crossing", "server", "the pool retry"):
            times = sorted(asyncio.run(timed_search(path, wanted)) for _ in range(5))
            print(f'db:"{wanted}": {times[2][0] * 1000:.0f} ms (first {times[-1][0] * 1000:.0f} ms), {times[2][1]}')
    finally:
        shutil.rmtree(root, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=("files", "sessions", "all"), default="all")
    parser.add_argument("--scale", type=float, default=1.0)
    given = parser.parse_args()
    if given.what in ("files", "all"):
        bench_files(given.scale)
    if given.what in ("sessions", "all"):
        bench_sessions(given.scale)


if __name__ == "__main__":
    main()
