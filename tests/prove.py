"""Checks the promises of docs/guarantees.md, prints what was counted, and writes it into that page.

    python -m tests.prove                      everything, some minutes
    python -m tests.prove --full --state FILE  many times as much, hours; FILE keeps what is done
    python -m tests.prove --full --state FILE --minutes 60   an hour for each campaign
    python -m tests.prove --only kills,cuts --seed 7 --count 500
    python -m tests.prove --write              also write the figures into docs/guarantees.md

With PROVE_URL and PROVE_MODEL (a server of models), or with DATABASE_URL (an empty database), the
campaigns that can use yours are run, with it.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import math
import os
import platform
import random
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

from core import __version__
from tests.proof.campaigns import CAMPAIGNS, ROOT, Campaign, in_words, total
from tests.proof.yours import NotEmpty, Yours

PAGE = ROOT / "docs" / "guarantees.md"
TABLES = {False: "figures", True: "full figures"}      # in the page, by whether --full was given
HEAD = "| promise | | counted | when | took | again |\n|---|---|---|---|---|---|"
NEXT_PART = 7_919       # between the seeds of two parts of a campaign


@dataclass(frozen=True, slots=True)
class Done:
    """A completed part of a campaign, as stored in the file of --state."""

    key: str
    seed: int
    count: int
    seconds: float
    counts: Mapping[str, int] = field(default_factory=dict)
    faults: str = ""
    missing: str = ""
    program: str = ""       # the program that was checked
    day: str = ""           # when, as YYYY-MM-DD


def main(words: Sequence[str] | None = None) -> int:
    given = _arguments(words)
    chosen = [each for each in CAMPAIGNS if not given.only or each.key in given.only.split(",")]
    if not chosen:
        print(f"There is no such campaign; there are {', '.join(each.key for each in CAMPAIGNS)}.")
        return 2
    if not given.only and (yours := _yours()):
        chosen = [each for each in chosen if each.yours]
        print(f"With {yours}: {', '.join(each.key for each in chosen)}.")
    try:
        Yours.named()
    except NotEmpty as problem:
        print(f"error: {problem}")
        return 2
    kept = _kept(given)
    print(f"seed {given.seed}")
    done = _run_all(chosen, given, kept)
    print("\n".join([HEAD, *(_row(each, parts) for each, parts in done.items())]))
    failed = [part for parts in done.values() for part in parts if part.faults]
    for part in failed:
        print(f"\n{part.key} failed. Again: {_again(part)}\n{part.faults}")
    if given.write and not failed and not _yours():
        write_page(done, full=given.full)
    return 1 if failed else 0


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="", help="these campaigns, with commas between them")
    parser.add_argument("--seed", type=int, default=0,
                        help="of the random choices; another one each time if it is not given")
    parser.add_argument("--full", action="store_true", help="many times as much")
    parser.add_argument("--count", type=int, default=0, help="how much each campaign does")
    parser.add_argument("--minutes", type=float, default=math.inf,
                        help="after this time a campaign starts no further part; 0: only show "
                        "what the file of --state keeps")
    parser.add_argument("--state", default="", help="file that keeps what is done")
    parser.add_argument("--write", action="store_true",
                        help="write the figures into docs/guarantees.md")
    return parser.parse_args(words)


def _yours() -> str:
    return " and ".join(name for name in ("PROVE_URL", "PROVE_FLAGS", "DATABASE_URL")
                        if os.environ.get(name))


# ---- running

def _run_all(chosen: Sequence[Campaign], given: argparse.Namespace,
             kept: Sequence[Done]) -> dict[Campaign, list[Done]]:
    """Run them one after the other, in parallel with those in other processes."""
    def one(campaign: Campaign) -> list[Done]:
        return _run(campaign, given, [part for part in kept if part.key == campaign.key])
    with ThreadPoolExecutor(1) as beside:
        running = {each: beside.submit(one, each) for each in chosen if each.apart}
        here = {each: one(each) for each in chosen if not each.apart}
        done = {each: here[each] if each in here else running[each].result() for each in chosen}
    return {each: parts for each, parts in done.items() if parts}


def _run(campaign: Campaign, given: argparse.Namespace, kept: Sequence[Done]) -> list[Done]:
    """The parts of a campaign: those already done, and those still to do."""
    done = list(kept)
    end = time.monotonic() + given.minutes * 60
    for seed, count in _parts(campaign, given, done):
        if (began := time.monotonic()) >= end:
            break
        result = campaign.run(seed, count) if done else campaign.first(seed, count)
        done.append(Done(campaign.key, seed, count, time.monotonic() - began, dict(result.counts),
                         result.faults, result.missing, program(),
                         f"{datetime.date.today():%Y-%m-%d}"))
        if result.faults:
            break
        if given.state and not result.missing:
            with open(given.state, "a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(done[-1])) + "\n")
    if done:
        print(f"{campaign.key} {_held(done)}: {_counted(done)}, {_seconds(done):.0f} s",
              flush=True)
    return done


def _parts(campaign: Campaign, given: argparse.Namespace,
           done: Sequence[Done]) -> Iterator[tuple[int, int]]:
    """The seed and the size of each part that is not done yet."""
    left = given.count or (campaign.full if given.full else campaign.quick)
    left -= sum(part.count for part in done)
    seed, size = given.seed + NEXT_PART * len(done), campaign.part if given.full else 0
    while left > 0:
        count = min(left, size or left)
        yield seed, count
        left, seed = left - count, seed + NEXT_PART


def _kept(given: argparse.Namespace) -> list[Done]:
    """What an earlier run with the same file did with the same program; sets the seed."""
    parts: list[Done] = []
    if given.state and os.path.exists(given.state):
        with open(given.state, encoding="utf-8") as file:
            parts = [part for part in map(_part, file) if part and part.program == program()]
    given.seed = given.seed or (parts[0].seed if parts else random.randrange(1, 1 << 30))
    return [part for part in parts if (part.seed - given.seed) % NEXT_PART == 0]


def _part(line: str) -> Done | None:
    """Parse a line of the file of --state; None if it is truncated or has another form."""
    try:
        return Done(**json.loads(line))
    except (ValueError, TypeError):
        return None


def program() -> str:
    """A hash of the code that is checked."""
    found = hashlib.sha256()
    for path in sorted(ROOT.glob("core/**/*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()[:12]


# ---- showing

def _held(parts: Sequence[Done]) -> str:
    if any(part.faults for part in parts):
        return "**failed**"
    return "not run" if any(part.missing for part in parts) else "held"


def _counted(parts: Sequence[Done]) -> str:
    missing = next((part.missing for part in parts if part.missing), "")
    return f"needs {missing}" if missing else in_words(total(part.counts for part in parts))


def _seconds(parts: Sequence[Done]) -> float:
    return sum(part.seconds for part in parts)


def _again(part: Done) -> str:
    return f"make prove ONLY={part.key} SEED={part.seed} COUNT={part.count}"


def _row(campaign: Campaign, parts: Sequence[Done]) -> str:
    return (f"| {campaign.promise} | {_held(parts)} | {_counted(parts)} | "
            f"{parts[-1].day} | {_seconds(parts):.0f} s | "
            f"`{_again(parts[0])}` |")


def write_page(done: Mapping[Campaign, Sequence[Done]], *, full: bool = False) -> None:
    """Put the figures between the marks; figures of campaigns that were not run stay."""
    text = PAGE.read_text(encoding="utf-8")
    name = TABLES[full]
    first, last = f"<!-- {name}: begin (written by make prove) -->", f"<!-- {name}: end -->"
    begin, end = text.index(first) + len(first), text.index(last)
    rows = {match[1]: match[0] for match in re.finditer(r"\| .*ONLY=(\w+).*\|", text[begin:end])}
    rows |= {each.key: _row(each, parts) for each, parts in done.items() if _held(parts) == "held"}
    table = "\n".join([HEAD, *(rows[each.key] for each in CAMPAIGNS if each.key in rows)])
    where = (f"Stream Chat {__version__}, Python {platform.python_version()}, {platform.system()} "
             f"{platform.machine()}, {os.cpu_count()} cores")
    PAGE.write_text(f"{text[:begin]}\n{where}:\n\n{table}\n{text[end:]}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
