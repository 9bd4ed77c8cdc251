"""Measures everything that docs/performance.md promises and writes the figures into it.

    python -m bench.run             the whole measurement, about ten minutes
    python -m bench.run --quick     a fast look: fewer runs, smaller answers, nothing written
    python -m bench.run --only start,reply --kinds mixed,code --runs 5
"""

from __future__ import annotations

import argparse
import compileall
import datetime
import json
import math
import os
import platform
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from bench.driver import Run, Step, environment, run
from bench.growth_bench import THINGS
from bench.json_bench import measure_json
from bench.server import FIRST, KINDS, LAST, number_of

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- figures: begin (written by make bench) -->", "<!-- figures: end -->"
PROGRAM = [sys.executable, str(ROOT / "stream_chat.py")]
BASELINE = [sys.executable, str(ROOT / "bench" / "baseline.py")]
RAW_SOCKET = [sys.executable, str(ROOT / "bench" / "raw_socket.py")]
T = TypeVar("T")
FIRST_MARK, LAST_MARK = FIRST.encode(), LAST.encode()
PROMPT_MARK = "›".encode()
PROMPT = "Why is the sky blue?"
NOISE = 0.005             # seconds of processor time that differ from run to run
# tokens of the answer whose processor time counts as start-up: all that is loaded
# late is loaded by then
START = 500


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    runs: int = 15                                     # of what takes a tenth of a second
    long_runs: int = 5                                 # of a long reply
    stops: int = 7                                     # of a chat that is stopped
    sizes: tuple[int, ...] = (2_000, 8_000, 32_000)    # tokens of the replies
    kinds: tuple[str, ...] = KINDS
    sessions: int = 10_000
    frames: int = 2_000
    files: int = 50_000                                # of 10,000 bytes, as context
    chats: int = 100_000                               # of ten messages, to search in
    json_bytes: int = 1_000_000_000                    # of each file that read_json_file reads
    turns: tuple[int, ...] = (10, 1_000, 4_000)        # that a conversation has already
    stores: tuple[str, ...] = ()                       # options of bench.sessions_store
    paces: tuple[tuple[int, int], ...] = ((400, 100), (3_000, 1_000))   # tokens, tokens a second
    growing: tuple[int, ...] = (100, 300, 1_000)       # of each thing that can grow, or a multiple
    things: tuple[str, ...] = tuple(THINGS)


QUICK = Plan(runs=5, long_runs=1, stops=3, sizes=(1_000, 4_000, 16_000), kinds=("mixed", "code"),
             frames=500, files=2_000, chats=1_000,
             json_bytes=10_000_000, growing=(30, 100), stores=("--seconds", "2", "--large", "500"))


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. `worst` is its limit; None if there is none."""

    what: str
    value: float
    unit: str
    worst: float | None = None
    note: str = ""

    @property
    def kept(self) -> bool:
        return self.worst is None or self.value <= self.worst


@dataclass(slots=True)
class Bench:
    """What every measurement needs."""

    plan: Plan
    homes: Path
    base: str

    def home(self, name: str) -> dict[str, str]:
        """A separate environment: empty at the first use of the name, kept for later runs."""
        place = self.homes / name
        place.mkdir(exist_ok=True)
        return environment(str(place))

    def fetch(self, path: str, model: str = "") -> Any:
        from urllib.request import ProxyHandler, Request, build_opener
        body = json.dumps({"model": model}).encode() if model else None
        with build_opener(ProxyHandler({})).open(Request(self.base + path, body),
                                                 timeout=60) as answer:
            return json.loads(answer.read())

    def last_exchange(self) -> Mapping[str, Any]:
        """The server's last reply, when it is complete."""
        for _ in range(1_000):
            last: Mapping[str, Any] = self.fetch("/bench/exchanges")[-1]
            if last["ended"]:
                return last
            time.sleep(0.001)
        raise SystemExit("bench: the server never ended its reply")

    def ask(self, model: str) -> list[str]:
        return [*PROGRAM, "--provider", "ollama", "--base-url", self.base, "-m", model]


def interleaved(commands: Mapping[str, Callable[[], T]], runs: int) -> dict[str, list[T]]:
    """Run them alternately, forwards and backwards, so that other load affects all of them.

    The first round is dropped.
    """
    results: dict[str, list[T]] = {name: [] for name in commands}
    for number in range(runs + 1):
        for name in (list(commands) if number % 2 else reversed(list(commands))):
            outcome = commands[name]()
            if number:
                results[name].append(outcome)
    return results


def checked(result: Run, *codes: int) -> Run:
    """The run, if it ended as expected."""
    if result.code not in (codes or (0,)):
        raise SystemExit(f"bench: a run ended with {result.code}: "
                         f"{result.tail[-600:].decode(errors='replace')}")
    return result


# ---- starting

def measure_start(bench: Bench) -> list[Figure]:
    """The short commands, as multiples of a Python that does nothing."""
    database, larger = bench.homes / "many.db", bench.homes / "more.db"
    make_sessions(database, bench.plan.sessions)
    make_sessions(larger, bench.plan.sessions * 10)
    env = bench.home("start")
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "--version": [*PROGRAM, "--version"],
        "--help": [*PROGRAM, "--help"],
        "--list-sessions": [*PROGRAM, "--database-url", str(database), "--list-sessions"],
    }
    screens = {f"--list-sessions in a terminal, {count:,} sessions":
               [*PROGRAM, "--database-url", str(place), "--list-sessions"]
               for place, count in ((database, bench.plan.sessions),
                                    (larger, bench.plan.sessions * 10))}
    got = interleaved({name: partial(seconds_of, words, env) for name, words in commands.items()}
                      | {name: partial(seconds_of, words, env, terminal=True)
                         for name, words in screens.items()}, bench.plan.runs * 2)
    least = median(got["python"])
    promised = {"--version": 2.0, "--help": 3.5, "--list-sessions": 5.0,
                **dict.fromkeys(screens, 3.5)}
    shown = {"--list-sessions": f"--list-sessions, {bench.plan.sessions:,} sessions"}
    figures = [Figure("python -c pass", least * 1e3, "ms")]
    for name, worst in promised.items():
        ratio = median(took / bare for took, bare in zip(got[name], got["python"]))
        figures.append(Figure(shown.get(name, name), ratio, "x python -c pass", worst,
                              f"{median(got[name]) * 1e3:.0f} ms"))
    return figures


def seconds_of(command: Sequence[str], env: Mapping[str, str], *,
               terminal: bool = False) -> float:
    return checked(run(command, env, terminal=terminal)).seconds


def make_sessions(place: Path, count: int) -> None:
    """A database made by the program with `count` sessions of two messages each."""
    sys.path.insert(0, str(ROOT))
    from db import open_store
    open_store(str(place)).close()
    connection = sqlite3.connect(place)
    with connection:
        connection.executemany(
            "INSERT INTO sessions (id, title, model, created, updated, message_count) VALUES (?, "
            "?, ?, ?, ?, 2)",
            ((f"20260101-{number // 1440:04d}-{number:05d}",
              f"Question number {number} about the sky and the sea",
              "ollama/llama3.2", 1.7e9 + number, 1.7e9 + number) for number in range(count)))
        connection.executemany(
            "INSERT INTO messages (id, session_id, position, role, state, created, parts, words) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            ((number * 2 + half, f"20260101-{number // 1440:04d}-{number:05d}", half + 1, role,
              "complete", 1.7e9 + number,
              '[{"type": "text", "text": "Some words."}]', "some words")
             for number in range(count) for half, role in enumerate(("user", "assistant"))))
    connection.close()


# ---- one short answer

@dataclass(frozen=True, slots=True)
class Answer:
    """Seconds of one short answer: to its first token without the server's part,
    from its first byte to its first word, from its last token to the end of the process.
    """

    to_request: float
    added: float
    shown: float
    leaving: float


def measure_answer(bench: Bench) -> list[Figure]:
    """What the program adds to one short answer, compared with a minimal script."""
    model = "mixed-50"
    fresh = iter(range(1_000_000))

    def ours(home: Callable[[], str], *flags: str) -> Callable[[], Answer]:
        return lambda: short_answer(bench, [*bench.ask(model), *flags, PROMPT], bench.home(home()))

    got = interleaved({
        "raw": lambda: short_answer(bench, [*RAW_SOCKET, bench.base, model, PROMPT],
                                    bench.home("bare")),
        "bare": lambda: short_answer(bench, [*BASELINE, bench.base, model, PROMPT],
                                     bench.home("bare")),
        "no-tls": lambda: short_answer(bench, [*BASELINE, bench.base, model, PROMPT, "--no-tls"],
                                       bench.home("bare")),
        "saved": ours(lambda: "saved"),
        "unsaved": ours(lambda: "unsaved", "--no-save"),
        "first": ours(lambda: f"fresh-{next(fresh)}"),
        "slow": lambda: short_answer(bench, [*bench.ask(f"{model}+300"), PROMPT],
                                     bench.home("saved")),
    }, bench.plan.runs)

    def milliseconds(name: str, part: str) -> float:
        return 1e3 * float(median(getattr(answer, part) for answer in got[name]))

    def ratio(other: str) -> float:
        return median(mine.added / bare.added for mine, bare in zip(got["saved"], got[other]))

    return [
        Figure("First token, raw socket script", milliseconds("raw", "added"), "ms"),
        Figure("First token, bare script", milliseconds("bare", "added"), "ms"),
        Figure("First token, bare script without TLS", milliseconds("no-tls", "added"), "ms"),
        Figure("First token, answer saved", ratio("bare"), "x bare script", 1.5,
               f"{milliseconds('saved', 'added'):.0f} ms"),
        Figure("First token, answer saved, beside the script without TLS", ratio("no-tls"),
               "x bare script"),
        Figure("First token, answer saved, beside the raw socket script", ratio("raw"),
               "x raw socket"),
        Figure("First token, --no-save", milliseconds("unsaved", "added"), "ms"),
        Figure("First token, very first run (database made)", milliseconds("first", "added"), "ms"),
        Figure("Request sent, bare script", milliseconds("bare", "to_request"), "ms"),
        Figure("Request sent, question saved", milliseconds("saved", "to_request"), "ms"),
        Figure("Last token to end of process, bare script", milliseconds("bare", "leaving"), "ms"),
        Figure("Last token to end of process, answer saved", milliseconds("saved", "leaving"),
               "ms"),
        Figure("A model that takes 0.3 s: first byte to first word", milliseconds("slow", "shown"),
               "ms"),
        Figure("A model that takes 0.3 s: last token to end of process",
               milliseconds("slow", "leaving"), "ms"),
    ]


def short_answer(bench: Bench, command: Sequence[str], env: Mapping[str, str]) -> Answer:
    result = checked(run(command, env, marks=(FIRST_MARK, LAST_MARK)))
    served = bench.last_exchange()
    waited = served["first_sent"] - served["asked"]
    return Answer(served["asked"] - result.started,
                  result.seen[FIRST_MARK] - result.started - waited,
                  result.seen[FIRST_MARK] - served["first_sent"],
                  result.ended - served["last_sent"])


# ---- long answers

def measure_reply(bench: Bench) -> list[Figure]:
    """Long answers of each kind, formatted and saved: processor time, growth, bytes, memory."""
    figures: list[Figure] = []
    plan = bench.plan
    for kind in plan.kinds:
        models = [f"{kind}-{size}" for size in (START, *plan.sizes)]
        got = interleaved({model: partial(long_answer, bench, [*bench.ask(model), PROMPT])
                           for model in models}, plan.long_runs)
        start = median(result.cpu for result in got[models[0]])
        spent = [median(result.cpu for result in got[model]) - start for model in models[1:]]
        text = bench.fetch("/bench/text", models[-1])["bytes"]
        more = [size - START for size in plan.sizes]
        figures += [
            Figure(f"{kind}: processor time", spent[-1] / more[-1] * 1e6, "us/token", 100.0),
            Figure(f"{kind}: growth of it with length", growth(more, spent), "exponent", 1.1),
            Figure(f"{kind}: bytes written",
                   median(result.written for result in got[models[-1]]) / text, "x the text", 6.0),
            Figure(f"{kind}: peak memory", max(result.peak for result in got[models[-1]]) / 1e6,
                   "MB", 80.0),
        ]
    return figures


def long_answer(bench: Bench, command: Sequence[str]) -> Run:
    result = checked(run(command, bench.home("long"), marks=(LAST_MARK,)))
    if LAST_MARK not in result.seen:
        raise SystemExit("bench: the end of an answer was never shown")
    return result


def growth(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """The exponent k of cost ~ size**k, by least squares on the logarithms."""
    points = [(math.log(size), math.log(max(cost, 1e-6))) for size, cost in zip(sizes, costs)]
    middle_x, middle_y = (sum(values) / len(points) for values in zip(*points))
    slope: float = sum((x - middle_x) * (y - middle_y) for x, y in points) / sum((x - middle_x) ** 2
                                                                                 for x, _ in points)
    return slope


def measure_pace(bench: Bench) -> list[Figure]:
    """Answers at the speed of models, shown and saved frame by frame. Their first START tokens do
    not count: what an answer loads once is not a cost per token.
    """
    figures = []
    for tokens, rate in bench.plan.paces:
        commands = {f"{how} {size}": [*bench.ask(f"mixed-{size}@{rate}"), *flags, PROMPT]
                    for how, flags in (("saved", []), ("--no-save", ["--no-save"]))
                    for size in (START, START + tokens)}
        got = interleaved({name: partial(long_answer, bench, command)
                           for name, command in commands.items()}, max(1, bench.plan.runs // 7))
        spent = {name: median(result.cpu for result in results) for name, results in got.items()}
        each = {how: (spent[f"{how} {START + tokens}"] - spent[f"{how} {START}"]) / tokens
                for how in ("saved", "--no-save")}
        figures += [Figure(f"{rate:,} tokens/s, {how}: processor time", seconds * 1e6, "us/token",
                           note=f"{seconds * rate * 100:.1f} % of a core")
                    for how, seconds in each.items()]
    return [*figures, *measure_lateness(bench)]


def measure_lateness(bench: Bench) -> list[Figure]:
    """How long after the server sent it a token is on the screen."""
    tokens, rate = bench.plan.paces[0]
    late = sorted(sum((token_delays(bench, tokens, rate) for _ in range(bench.plan.long_runs)), []))
    return [Figure(f"{rate:,} tokens/s, saved: {share} of them on the screen within",
                   late[int(len(late) * part)] * 1e3, "ms")
            for share, part in (("half", 0.5), ("99 %", 0.99))]


def token_delays(bench: Bench, tokens: int, rate: int) -> list[float]:
    """The delay in seconds of each token of an answer, except at its beginning."""
    marks = [number_of(token).strip().encode() for token in range(tokens)]
    model = f"numbers-{tokens + 4}@{rate}"
    result = checked(run([*bench.ask(model), PROMPT], bench.home("late"), marks=marks))
    sent = bench.last_exchange()["sent"][2:]
    return [result.seen[mark] - when for mark, when in zip(marks, sent)][tokens // 4:]


# ---- the chat

def measure_chat(bench: Bench) -> list[Figure]:
    """The chat's first prompt, and Ctrl-C in a reply:
    at the prompt again, or out of a one-shot answer.
    """
    stops = bench.plan.stops
    got = interleaved({"prompt": lambda: first_prompt(bench), "stop": lambda: stop_in_chat(bench),
                       "leave": lambda: stop_one_answer(bench)}, stops)
    asked = interleaved({"chat": lambda: two_questions(bench)}, stops)["chat"]
    python = [sys.executable, "-c", "pass"]
    least = interleaved({"python": lambda: seconds_of(python, bench.home("start"))}, stops)
    return [
        Figure("Chat: start to first prompt", median(got["prompt"]) / median(least["python"]),
               "x python -c pass", 12.0, f"{median(got['prompt']) * 1e3:.0f} ms"),
        Figure("Chat: Enter to request, first question", median(first for first, _ in asked) * 1e3,
               "ms", 20.0),
        Figure("Chat: Enter to request, next question", median(after for _, after in asked) * 1e3,
               "ms", 15.0),
        Figure("Chat: Ctrl-C in a reply to the next prompt", median(got["stop"]) * 1e3, "ms", 200.0,
               _slowest(got["stop"])),
        Figure("One answer: Ctrl-C to end of process", median(got["leave"]) * 1e3, "ms", 200.0,
               _slowest(got["leave"])),
    ]


def _slowest(seconds: Sequence[float]) -> str:
    return f"slowest of {len(seconds)}: {max(seconds) * 1e3:.0f} ms"


def first_prompt(bench: Bench) -> float:
    result = checked(run(bench.ask("mixed-50"), bench.home("chat"),
                         steps=(Step(PROMPT_MARK, b"\x04"),)))
    return result.stepped[0][0] - result.started


def two_questions(bench: Bench) -> tuple[float, float]:
    """Seconds from Enter to the request, of the first question of a run and of the next one."""
    steps = (Step(PROMPT_MARK, b"Why?", pause=1.0), Step(b"Why?", b"\r", pause=0.2),
             Step(LAST_MARK, b"And now?", pause=0.5), Step(b"And now?", b"\r", pause=0.2),
             Step(LAST_MARK, b"\x04", pause=0.2))
    result = checked(run(bench.ask("mixed-20"), bench.home("chat"), steps=steps))
    first, after = bench.fetch("/bench/exchanges")[-2:]
    return first["asked"] - result.stepped[1][1], after["asked"] - result.stepped[3][1]


def stop_in_chat(bench: Bench) -> float:
    steps = (Step(PROMPT_MARK, b"Go on.\r"), Step(FIRST_MARK, b"\x03", pause=0.5),
             Step(PROMPT_MARK, b"\x04", pause=0.05))
    result = checked(run(bench.ask("mixed-2000@100"), bench.home("chat"), steps=steps))
    return result.stepped[2][0] - result.stepped[1][1]


def stop_one_answer(bench: Bench) -> float:
    result = checked(run([*bench.ask("mixed-2000@100"), PROMPT], bench.home("chat"),
                         steps=(Step(FIRST_MARK, b"\x03", pause=0.5),)), 130)
    return result.ended - result.stepped[0][1]


# ---- the store

_COMMITS = """
import sys, time
from core.messages import Message
from core.store.identity import new_message_id
from core.store.rows import Chunk
from db import open_store
store = open_store(sys.argv[1])
store.create_session("bench", "bench", "ollama/m", 1.0)
message = new_message_id()
store.add_message("bench", message, Message("assistant", ()), "streaming")
durable = sys.argv[3] == "durable"
text = "some words of a frame " * 5
for number in range(int(sys.argv[2])):
    begun = time.perf_counter()
    store.append_chunk(message, number, Chunk("text", 0, text), durable=durable)
    print(time.perf_counter() - begun)
"""


def measure_store(bench: Bench) -> list[Figure]:
    """A commit of one frame through the program's store, in a separate process."""
    def commits(mode: str, count: int) -> float:
        words = [sys.executable, "-c", _COMMITS, str(bench.homes / f"{mode}.db"), str(count), mode]
        env = {**bench.home("store"), "PYTHONPATH": str(ROOT)}
        made = subprocess.run(words, env=env, capture_output=True, text=True, check=True, cwd=ROOT)
        return median(map(float, made.stdout.split()))

    return [Figure("Commit of a frame", commits("plain", bench.plan.frames) * 1e6, "us"),
            Figure("Commit of a frame, synced to the disk",
                   commits("durable", bench.plan.frames // 10) * 1e6, "us")]


def measure_context(bench: Bench) -> list[Figure]:
    """Files and earlier chats as context."""
    def told(what: str, count: int) -> dict[str, Any]:
        made = subprocess.run([sys.executable, "-m", "bench.context_bench", what, str(count)],
                              env=bench.home("context"), cwd=ROOT,
                              capture_output=True, text=True, check=True)
        found: dict[str, Any] = json.loads(made.stdout)
        return found

    files, chats = told("files", bench.plan.files), told("sessions", bench.plan.chats)
    where = f"{bench.plan.chats * 10:,} messages"
    return [Figure(f"{bench.plan.files:,} files: first request ready", files["seconds"] * 1000,
                   "ms"),
            Figure(f"{bench.plan.files:,} files: {files['name']}, only listing them",
                   files["baseline"] * 1000, "ms"),
            Figure(f"{bench.plan.files:,} files: peak memory", files["memory"], "MB", 150),
            *(Figure(f"{name} words in {where}", chats[key] * 1000, "ms", 200)
              for key, name in (("rare", "Rare"), ("common", "Common"), ("several", "Several")))]


def measure_turns(bench: Bench) -> list[Figure]:
    """One more question in a short and in a very long conversation, without the server's time."""
    counts = [str(count) for count in bench.plan.turns]
    made = subprocess.run([sys.executable, "-m", "bench.turns_bench", bench.base, *counts],
                          env=bench.home("turns"), cwd=ROOT,
                          capture_output=True, text=True, check=True)
    spent: dict[str, float] = json.loads(made.stdout)
    return [Figure(f"A question after {count:,} turns: processor time", spent[str(count)] * 1e3,
                   "ms", 15.0)
            for count in bench.plan.turns]


def measure_growth(bench: Bench) -> list[Figure]:
    """How the cost of each thing grows with its number."""
    counts = [str(count) for count in bench.plan.growing]
    words = ["--only", ",".join(bench.plan.things), "--rounds", str(max(1, bench.plan.runs // 3))]
    made = subprocess.run([sys.executable, "-m", "bench.growth_bench", bench.base, *counts, *words],
                          env=bench.home("growth"), cwd=ROOT, capture_output=True, text=True,
                          check=True)
    figures = []
    for name, costs in json.loads(made.stdout).items():
        sizes = sorted(map(int, costs))
        seconds = [max(NOISE, costs[str(size)]) for size in sizes]
        note = f"{sizes[-1]:,}: {seconds[-1] * 1e3:.0f} ms more than one"
        figures.append(Figure(f"{THINGS[name].title}: growth", growth(sizes, seconds), "exponent",
                              1.1, note))
    return figures


def measure_sessions(bench: Bench) -> list[Figure]:
    """Processor time of whole commands over many sessions, compared with a bare script that runs
    one such query.
    """
    words = [sys.executable, "-m", "bench.sessions_bench", str(bench.plan.chats)]
    made = subprocess.run(words, env=bench.home("sessions"), cwd=ROOT, capture_output=True,
                          text=True, check=True)
    figures = []
    for name, (ours, bare) in json.loads(made.stdout).items():
        note = f"{ours / bare:.1f} x a bare script" if bare > 0 else ""
        figures.append(Figure(name, ours * 1000, "ms CPU", note=note))
    return figures


# What bench.sessions_store says, with the unit and the worst value in SQLite and in PostgreSQL.
STORES: dict[str, tuple[str, float | None, float | None]] = {
    "append to an empty session, ms": ("ms", None, None),
    "append to one of 10,000, ms": ("ms", None, None),
    "branch of 10,000, ms": ("ms", None, 1_000),
    "export, MB for a second of processor time": ("MB/s CPU", None, None),
    "export, peak memory in MB": ("MB", 60, 60),
    "many writers, 99th percentile, ms": ("ms", 60, 100),
    "many writers, refused": ("", 0, 0),
}


def measure_stores(bench: Bench) -> list[Figure]:
    """One long session, and many programs that write at once, in each database."""
    words = [sys.executable, "-m", "bench.sessions_store", *bench.plan.stores]
    made = subprocess.run(words, env=bench.home("stores"), cwd=ROOT, capture_output=True, text=True,
                          check=True)
    size, *databases = map(json.loads, made.stdout.splitlines())
    figures = [Figure("SQLite: bytes for each byte of short messages",
                      size["bytes for each byte of text"], "x their text")]
    for told in databases:
        place = 1 if told["database"] == "SQLite" else 2
        for name, about in STORES.items():
            worst = about[place]
            what = f"{told['database']}: {name.removesuffix(', ms')}"
            figures.append(Figure(what, told[name], about[0], worst))
    return figures


def measure_json_tool(bench: Bench) -> list[Figure]:
    """read_json_file compared with the streaming parser alone."""
    figures = []
    for case in measure_json(bench.plan.json_bytes):
        size = f"{bench.plan.json_bytes / 1e9:g} GB {case.what}"
        figures += [Figure(size, case.seconds / case.parser_seconds, "x the parser alone", 1.5,
                           f"{case.seconds:.1f} s"),
                    Figure(f"{size}: peak memory", case.megabytes, "MB", 100)]
    return figures


# ---- putting it together

MEASUREMENTS: dict[str, tuple[str, Callable[[Bench], list[Figure]]]] = {
    "start":  ("Starting", measure_start),
    "answer": ("One short answer", measure_answer),
    "chat":   ("The chat", measure_chat),
    "store":  ("Saving", measure_store),
    "pace":   ("An answer at a model's pace", measure_pace),
    "reply":  ("Long answers", measure_reply),
    "turns":  ("Long conversations", measure_turns),
    "growth": ("Growth", measure_growth),
    "context": ("Context", measure_context),
    "sessions": ("Many sessions", measure_sessions),
    "stores": ("One session, many writers", measure_stores),
    "json":   ("Large JSON files", measure_json_tool),
}


@contextmanager
def running_server() -> Iterator[str]:
    """Run the fake server in a separate process; yield its address."""
    process = subprocess.Popen([sys.executable, "-m", "bench.server"], cwd=ROOT,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True)
    assert process.stdin and process.stdout
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        process.wait(10)


def compile_program() -> None:
    """Compile everything, so that no run has to; child processes do not inherit
    PYTHONDONTWRITEBYTECODE.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for path in (ROOT / "core", ROOT / "bench"):
        compileall.compile_dir(path, quiet=2)
    for file in ("db.py", "stream_chat.py"):
        compileall.compile_file(ROOT / file, quiet=2)


def measure(plan: Plan, names: Sequence[str]) -> dict[str, list[Figure]]:
    """The figures of the named measurements, by their titles."""
    compile_program()
    figures = {}
    with (tempfile.TemporaryDirectory(prefix="stream-chat-bench-") as homes,
          running_server() as base):
        bench = Bench(plan, Path(homes), base)
        for name in names:
            title, how = MEASUREMENTS[name]
            figures[title] = how(bench)
            print(f"{title}\n\n{table(figures[title])}\n", flush=True)
    return figures


def table(figures: Sequence[Figure]) -> str:
    """The figures as a Markdown table; missed limits are marked."""
    rows = ["| what | measured | promised | |", "|:---|---:|---:|:---|"]
    for figure in figures:
        promised = ("" if figure.worst is None
                    else f"at most {figure.worst:g}" + ("" if figure.kept else " **missed**"))
        rows.append(f"| {figure.what} | {_number(figure.value)} {_unit(figure.unit)} | {promised} "
                    f"| {figure.note} |")
    return "\n".join(rows)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}" if value >= 5 else f"{value:.2f}"


def _unit(unit: str) -> str:
    return (unit.replace("us", "µs", 1) if unit.startswith("us")
            else unit.replace("x ", "× ", 1) if unit.startswith("x ") else unit)


def report(figures: Mapping[str, Sequence[Figure]], command: str) -> str:
    """The text between the markers."""
    parts = [f"Measured {datetime.date.today().isoformat()} with `{command}` on {machine()}."]
    parts += [f"### {title}\n\n{table(values)}" for title, values in figures.items()]
    return "\n\n".join(parts)


def machine() -> str:
    load = os.getloadavg()[0]
    return (f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python "
            f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}, load {load:.1f}")


def write_page(page: Path, text: str) -> None:
    """Replace the text between the markers."""
    old = page.read_text(encoding="utf-8")
    new, found = re.subn(f"{re.escape(BEGIN)}.*?{re.escape(END)}",
                         lambda _: f"{BEGIN}\n{text}\n{END}", old, flags=re.S)
    if not found:
        raise SystemExit(f"bench: {page} has no markers")
    page.write_text(new, encoding="utf-8")


def chosen_plan(options: argparse.Namespace) -> Plan:
    plan = QUICK if options.quick else Plan()
    return replace(plan, runs=options.runs or plan.runs,
                   kinds=tuple(options.kinds.split(",")) if options.kinds else plan.kinds)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true",
                        help="fewer runs and smaller answers; nothing is written")
    parser.add_argument("--only", help=f"some of {','.join(MEASUREMENTS)}; nothing is written")
    parser.add_argument("--kinds", help=f"some of {','.join(KINDS)}; nothing is written")
    parser.add_argument("--runs", type=int, help="runs of each short command")
    options = parser.parse_args(words)
    begun = time.monotonic()
    figures = measure(chosen_plan(options),
                      options.only.split(",") if options.only else list(MEASUREMENTS))
    print(f"{time.monotonic() - begun:.0f} s; {machine()}")
    if not (options.quick or options.only or options.kinds):
        write_page(PAGE, report(figures, "make bench"))
        print(f"written to {PAGE.relative_to(ROOT)}")
    missed = [figure.what for values in figures.values() for figure in values if not figure.kept]
    if missed:
        print("missed: " + "; ".join(missed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
