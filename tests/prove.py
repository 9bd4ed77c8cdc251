"""Checks the promises of docs/guarantees.md, prints what was counted, and writes it into that page.

    python -m tests.prove                      everything, some minutes
    python -m tests.prove --full --state FILE  many times as much, hours; FILE keeps what is done
    python -m tests.prove --only kills,cuts --seed 7 --count 500
    python -m tests.prove --write              also write the figures into docs/guarantees.md
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from core import __version__
from tests.proof import power
from tests.proof.clocks import set_clocks
from tests.proof.imports import kill_imports
from tests.proof.kills import kill_programs
from tests.proof.simulation import simulate

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "guarantees.md"
BEGIN, END = "<!-- figures: begin (written by make prove) -->", "<!-- figures: end -->"
HEAD = "| promise | | counted | when | took | again |\n|---|---|---|---|---|---|"
SHOWN = 30      # lines of a failed campaign


@dataclass(frozen=True, slots=True)
class Result:
    """What a campaign counted; `faults` is "" when it held."""

    counted: str
    faults: str = ""


@dataclass(frozen=True, slots=True)
class Campaign:
    """A promise and what checks it. `quick` and `full` are how much is done."""

    key: str
    promise: str
    run: Callable[[int, int], Result]
    quick: int = 1
    full: int = 1


@dataclass(frozen=True, slots=True)
class Done:
    """A campaign that has run, as it is kept and written down."""

    key: str
    promise: str
    counted: str
    seconds: float
    seed: int
    faults: str


def kills(seed: int, count: int) -> Result:
    tally = kill_programs(seed, count)
    return Result(f"{tally.kills:,} kills, {tally.while_answering:,} of them in mid-answer, "
                  f"{tally.shown:,} characters shown, {tally.questions:,} questions sent",
                  "\n".join(tally.faults))


def imports(seed: int, count: int) -> Result:
    ended, midway, faults = kill_imports(seed, count)
    return Result(f"{ended:,} imports killed, {midway:,} of them midway", "\n".join(faults))


def power_cuts(seed: int, count: int) -> Result:
    if not power.available():
        return Result("not run: it needs strace (apt install strace) and the right to trace")
    tally = power.cut_power(seed, count)
    return Result(f"{tally.cuts:,} power cuts, {tally.while_answering:,} of them in mid-answer, "
                  f"at most {tally.most_lost * 1000:.0f} ms of a reply lost",
                  "\n".join(tally.faults))


def clocks(seed: int, count: int) -> Result:
    tally = set_clocks(seed, count)
    return Result(f"{tally.runs:,} runs, each at another time, {tally.back:,} of them earlier "
                  f"than the one before; {tally.questions:,} questions", "\n".join(tally.faults))


def simulation(seed: int, count: int) -> Result:
    tally = simulate(seed, count)
    return Result(f"{tally.conversations:,} conversations, {tally.turns:,} turns, {tally.kills:,} "
                  f"programs killed, {tally.stops:,} stopped, {tally.seconds / 3600:,.0f} hours of "
                  "their time",
                  "\n".join(tally.faults))


def tests(*targets: str, count: str = "") -> Callable[[int, int], Result]:
    """A campaign that is a test; `count` is the variable that says how much it does."""
    def run(seed: int, number: int) -> Result:
        environment = {**os.environ, "STREAM_CHAT_TEST_SEED": str(seed)}
        if count:
            environment[count] = str(number)
        command = [sys.executable, "-m", "pytest", "-q", "-s", "-x", "--timeout", "0", *targets]
        done = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True)
        said = re.search(r"(\d+) passed", done.stdout)
        passed = int(said[1]) if said else 0
        faults = "" if done.returncode == 0 and passed else "\n".join(
            (done.stdout + done.stderr).splitlines()[-SHOWN:])
        return Result(counted(done.stdout) or f"{passed:,} tests", faults)
    return run


def counted(printed: str) -> str:
    """The sums of what the tests say that they have done, in lines like "counted: 250 answers"."""
    sums = Counter[str]()
    for number, unit in re.findall(r"counted: ([\d,]+) (.+)", printed):
        sums[unit.strip()] += int(number.replace(",", ""))
    return ", ".join(f"{number:,} {unit}" for unit, number in sums.items())


CAMPAIGNS: tuple[Campaign, ...] = (
    Campaign("kills", "What was sent or shown is saved, whenever the program is killed", kills,
             60, 10_000),
    Campaign("power", "A power cut takes no question, no finished answer, and 250 ms of a reply",
             power_cuts, 200, 1_000),
    Campaign("clocks", "A clock that is set, even years back, loses and mixes up nothing", clocks,
             25, 2_000),
    Campaign("simulation", "What is saved is what was said, whatever fails in whichever order",
             simulation, 400, 100_000),
    Campaign("imports", "An import that was killed is finished by the next one, nothing twice",
             imports, 18, 2_000),
    Campaign("servers", "No killed server ends a conversation, or doubles or drops a character",
             tests("tests/program/test_campaign.py", count="STREAM_CHAT_TEST_CAMPAIGN"),
             100, 10_000),
    Campaign("page", "A page's server that is killed finishes the answer when it is back",
             tests("tests/web/test_turns.py", count="STREAM_CHAT_TEST_PAGE_KILLS"), 20, 200),
    Campaign("faults", "Whatever fails in an answer, it comes whole, and no tool runs twice",
             tests("tests/program/test_faults.py")),
    Campaign("cuts", "A lost connection costs no token twice where the server keeps its answer",
             tests("tests/providers/test_reattach.py", "tests/web/test_kept_answers.py",
                   count="STREAM_CHAT_TEST_CUTS"), 40, 10_000),
    Campaign("again", "A killed program takes a running answer up again, and no token is "
             "written twice",
             tests("tests/program/test_taken_up.py", count="STREAM_CHAT_TEST_KILLS"), 3, 500),
    Campaign("engine", "The embedded engine ends with its chats, and a lost connection costs "
             "nothing",
             tests("tests/engine/test_engine_cuts.py", "tests/engine/test_engine.py")),
    Campaign("wire", "How the network cuts a stream changes nothing",
             tests("tests/providers/test_dialect_streams.py")),
    Campaign("joints", "A reply that broke off and its continuation fit",
             tests("tests/chat/test_joining.py")),
    Campaign("store", "What the database refuses is kept and saved later",
             tests("tests/program/test_program_spool.py")),
    Campaign("gate", "No text of others moves the cursor or sets the title",
             tests("tests/test_safe_text.py", "tests/program/test_safe_everywhere.py")),
    Campaign("doors", "Tools reach no file, address or database that they may not",
             tests("tests/tools/test_guard_files.py", "tests/tools/test_guard_net.py",
                   "tests/tools/test_secret_files.py", "tests/tools/test_tool_database.py")),
    Campaign("keys", "Keys go to the server that they are for, and nowhere else",
             tests("tests/config/test_keys.py", "tests/providers/test_access.py")),
    Campaign("cost", "No request can pass the limit on cost",
             tests("tests/stats/test_spending.py", count="STREAM_CHAT_TEST_CONVERSATIONS"),
             2_000, 10_000),
    Campaign("mask", "What is masked does not leave, and comes back unchanged",
             tests("tests/providers/test_masking.py", count="STREAM_CHAT_TEST_PROMPTS"),
             1_000, 10_000),
    Campaign("sent", "/sent shows what a server saw, byte for byte",
             tests("tests/providers/test_sent.py")),
    Campaign("asides", "An aside leaves the next request as it was, byte for byte",
             tests("tests/chat/test_aside.py")),
    Campaign("quotes", "A quotation that is not in the files is noticed",
             tests("tests/context/test_quotes.py")),
)


def main(words: Sequence[str] | None = None) -> int:
    given = _arguments(words)
    chosen = [each for each in CAMPAIGNS if not given.only or each.key in given.only.split(",")]
    if not chosen:
        print(f"There is no such campaign; there are {', '.join(each.key for each in CAMPAIGNS)}.")
        return 2
    print(f"seed {given.seed}")
    done = [_kept(each, given) or _run(each, given) for each in chosen]
    print(_table(done))
    failed = [each for each in done if each.faults]
    for each in failed:
        print(f"\n{each.key} failed. Again: {_again(each)}\n{each.faults}")
    if given.write and not failed:
        write_page(done)
    return 1 if failed else 0


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="", help="these campaigns, with commas between them")
    parser.add_argument("--seed", type=int, default=random.randrange(1, 1 << 30))
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--count", type=int, default=0, help="how much each campaign does")
    parser.add_argument("--state", default="", help="file that keeps what is done")
    parser.add_argument("--write", action="store_true")
    return parser.parse_args(words)


def _run(campaign: Campaign, given: argparse.Namespace) -> Done:
    print(f"{campaign.key} ...", end=" ", flush=True)
    began = time.monotonic()
    count = given.count or (campaign.full if given.full else campaign.quick)
    result = campaign.run(given.seed, count)
    spent = time.monotonic() - began
    done = Done(campaign.key, campaign.promise, result.counted, spent, given.seed, result.faults)
    print(f"{'FAILED' if done.faults else 'held'}: {done.counted}, {spent:.0f} s", flush=True)
    if given.state and not done.faults:
        with open(given.state, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(done)) + "\n")
    return done


def _kept(campaign: Campaign, given: argparse.Namespace) -> Done | None:
    """What an earlier run with the same file has done already."""
    if not given.state or not os.path.exists(given.state):
        return None
    with open(given.state, encoding="utf-8") as file:
        rows = [Done(**json.loads(line)) for line in file]
    return next((row for row in rows if row.key == campaign.key), None)


def _again(done: Done) -> str:
    return f"make prove ONLY={done.key} SEED={done.seed}"


def _table(done: Sequence[Done]) -> str:
    return "\n".join([HEAD, *map(_row, done)])


def _row(done: Done) -> str:
    held = "**failed**" if done.faults else "held"
    return (f"| {done.promise} | {held} | {done.counted} | {datetime.date.today():%Y-%m-%d} | "
            f"{done.seconds:.0f} s | `{_again(done)}` |")


def write_page(done: Sequence[Done]) -> None:
    """Put the figures between the marks; of campaigns that were not run, those of before stay."""
    text = PAGE.read_text(encoding="utf-8")
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    rows = {match[1]: match[0] for match in re.finditer(r"\| .*ONLY=(\w+).*\|", text[begin:end])}
    rows |= {each.key: _row(each) for each in done}
    table = "\n".join([HEAD, *(rows[each.key] for each in CAMPAIGNS if each.key in rows)])
    where = (f"Stream Chat {__version__}, Python {platform.python_version()}, {platform.system()} "
             f"{platform.machine()}, {os.cpu_count()} cores")
    PAGE.write_text(f"{text[:begin]}\n{where}:\n\n{table}\n{text[end:]}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
