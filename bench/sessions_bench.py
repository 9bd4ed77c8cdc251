"""Measures sessions: whole commands over many messages, compared with a bare script that runs one
query of the same kind.

    python -m bench.sessions_bench 100000 [DATABASE]

DATABASE is kept for later runs. Told as JSON: for each case the processor seconds of the
command and of the script.
"""

from __future__ import annotations

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
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from core.store.words import words_of

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = [sys.executable, str(ROOT / "stream_chat.py"), "-p", "demo"]
MESSAGES = 10  # of a session
LONG = 10_000  # messages of the one long session
ROUNDS = 5
SMALL = 1_000  # sessions below which each is run once
VOCABULARY = 20_000
RARE = ("zebra crossing", "C++", "stream_chat.py", "量子纠缠的问题", "/etc/passwd")
# What is asked for, and the same as SQLite's own full-text query.
SEARCHES = {
    "a common word": ("word0", "word0"),
    "a rare word": ("zebra", "zebra"),
    "a phrase": ('"zebra crossing"', '"zebra crossing"'),
    "a prefix of two letters": ("wo*", "wo *"),
    "three words": ("word1 word2 word3", "word1 word2 word3"),
    "Chinese": ("量子", '"量 子"'),
    "punctuation": ("C++", "c"),
    "a common word without another": ("word0 -word1", "word0 NOT word1"),
}
BARE_SEARCH = """
import sqlite3, sys
run = sqlite3.connect(sys.argv[1]).execute
for row in run("SELECT session_id, parts FROM messages_fts JOIN messages ON number = messages_fts.rowid "
               "WHERE messages_fts MATCH ? ORDER BY messages_fts.rowid DESC LIMIT 300", (sys.argv[2],)):
    pass
"""
BARE_LIST = """
import sqlite3, sys
run = sqlite3.connect(sys.argv[1]).execute
for row in run("SELECT name, updated, message_count, model, title FROM sessions WHERE shelf = 'open' "
               "ORDER BY pinned DESC, used DESC LIMIT 50"):
    print(*row)
"""
BARE_OPEN = """
import json, sqlite3, sys
run = sqlite3.connect(sys.argv[1]).execute
found = [json.loads(row[0]) for row in run("SELECT parts FROM messages WHERE session_id = 'long' ORDER BY position")]
"""
PICKER = """
import sys, time
from db import open_store
store = open_store(sys.argv[1])
slowest = 0.0
for typed in ("w", "wo", "wor", "word0", "word0 w", "zebra", "量", "c"):
    begun = time.process_time()
    store.sessions(50, typed)
    slowest = max(slowest, time.process_time() - begun)
print(slowest)
"""


def make(path: str, count: int) -> None:
    """`count` sessions, and a long one. Words are as frequent as in a language (Zipf)."""
    from db import open_store
    open_store(path).close()
    dice = random.Random(3)
    run = sqlite3.connect(path, isolation_level=None)
    words = [f"word{number}" for number in range(VOCABULARY)]
    weights = [1 / (number + 1) for number in range(VOCABULARY)]
    pool = dice.choices(words, weights, k=1_000_000)
    triggers = run.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    run.execute("PRAGMA synchronous = OFF")
    for name, _ in triggers:
        run.execute(f"DROP TRIGGER {name}")
    run.execute("BEGIN")
    for number in range(count):
        add_session(run, dice, pool, f"s{number:08d}", number, MESSAGES)
    add_session(run, dice, pool, "long", count, LONG)
    run.execute("INSERT INTO messages_fts (messages_fts) VALUES ('rebuild')")
    for _, sql in triggers:
        run.execute(sql)
    run.execute("COMMIT")
    run.close()


def add_session(
    run: sqlite3.Connection, dice: random.Random, pool: Sequence[str], name: str, number: int,
    size: int
) -> None:
    title = f"chat {number}"
    run.execute(
        "INSERT INTO sessions (id, name, title, words, model, created, updated, used, "
        "message_count) VALUES (?, ?, ?, ?, 'demo/demo', ?, ?, ?, ?)",
        (name, name, title, " ".join(words_of(title)), 1e9 + number, 1e9 + number, number, size),
    )
    rows = []
    for position in range(size):
        start = dice.randrange(len(pool) - 25)
        text = " ".join(pool[start:start + 25])
        if dice.random() < 0.0005:
            text += " " + dice.choice(RARE)
        identity = (1 << 100) + number * LONG + position
        parts = json.dumps([{"type": "text", "text": text}], ensure_ascii=False)
        said = (text if text.isascii() and text.replace(" ", "").isalnum()
                else " ".join(words_of(text)))
        before = f"{identity - 1 if position else 0:032x}"
        rows.append((f"{identity:032x}", name, position, ("user", "assistant")[position % 2],
                     number, parts, said, before))
    run.executemany(
        "INSERT INTO messages (id, session_id, position, role, state, created, parts, words, "
        "parent) VALUES (?, ?, ?, ?, 'complete', ?, ?, ?, ?)",
        rows,
    )


def cpu(command: Sequence[str], home: str, rounds: int) -> float:
    """The median of the processor seconds of the whole command."""
    env = {"PATH": os.environ.get("PATH", ""), "HOME": home, "LANG": "C.UTF-8",
           "PYTHONPATH": str(ROOT)}
    spent = []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode not in (0, 1):
            raise SystemExit(f"bench: {command} ended with {done.returncode}: {done.stderr[-500:]}")
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return median(spent)


def measure(path: str, home: str, rounds: int) -> dict[str, tuple[float, float]]:
    """Seconds of the command and of the bare script."""
    ours = [*PROGRAM, "--database-url", path]
    bare = [sys.executable, "-c"]
    listed = cpu([*ours, "--list-sessions", "--limit", "50"], home, rounds)
    found = {"List 50": (listed, cpu([*bare, BARE_LIST, path], home, rounds))}
    for name, (query, plain) in SEARCHES.items():
        found[f"Search: {name}"] = (
            cpu([*ours, "--search", query], home, rounds),
            cpu([*bare, BARE_SEARCH, path, plain], home, rounds),
        )
    picked = subprocess.run([*bare, PICKER, path], cwd=ROOT, capture_output=True, text=True,
                            check=True)
    found["A key in the picker, the slowest"] = float(picked.stdout), 0.0
    empty = cpu([*PROGRAM, "--database-url", os.path.join(home, "empty.db"), "hello"], home, rounds)
    resumed = cpu([*ours, "--session", "long", "hello"], home, rounds) - empty
    opened = cpu([*bare, BARE_OPEN, path], home, rounds) - cpu([*bare, "import json, sqlite3"],
                                                               home, rounds)
    found[f"Resume a session of {LONG:,} messages"] = resumed, opened
    return found


def main(count: int, path: str = "") -> dict[str, tuple[float, float]]:
    root = tempfile.mkdtemp(prefix="sessions-bench-")
    try:
        path = path or os.path.join(root, "sessions.db")
        if not os.path.exists(path):
            begun = time.monotonic()
            make(path, count)
            print(f"made in {time.monotonic() - begun:.0f} s, "
                  f"{os.path.getsize(path) / 1e6:,.0f} MB", file=sys.stderr)
        return measure(path, root, ROUNDS if count >= SMALL else 1)
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), *sys.argv[2:])))
