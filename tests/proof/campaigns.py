"""The campaigns of `make prove`: a promise, what checks it, and how often."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from tests import postgres as servers
from tests.proof import power
from tests.proof.calls import kill_calls
from tests.proof.chores import kill_chores
from tests.proof.clocks import set_clocks
from tests.proof.doors import try_doors
from tests.proof.gate import show_sequences
from tests.proof.imports import kill_imports
from tests.proof.keys import plant_keys
from tests.proof.kills import kill_programs
from tests.proof.postgres import fail_server
from tests.proof.simulation import simulate
from tests.proof.storage import fail_writes
from tests.proof.streams import pour_streams
from tests.proof.wire import split_streams

ROOT = Path(__file__).resolve().parent.parent.parent
SHOWN = 30          # lines of a failed campaign
MOST = "at most"    # ends the unit of a number that is a maximum, and not a sum
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Result:
    """What a campaign counted, a number for each unit; `faults` is "" if the promise held.

    `missing` says what the campaign lacks if it could not be run.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    faults: str = ""
    missing: str = ""


Run = Callable[[int, int], Result]      # given a seed and how much to do


@dataclass(frozen=True, slots=True)
class Campaign:
    """A promise and what checks it. `quick` and `full` are the numbers of rounds; `part` is how
    many of `full` run at a time, which a stopped run may lose. `once`: what is also checked, once
    in a campaign. `yours`: it can use the server or database of a user. `apart`: it runs
    completely in another process, so it may run in parallel with one that does not.
    """

    key: str
    promise: str
    run: Run
    quick: int = 1
    full: int = 1
    part: int = 0
    once: Run | None = None
    yours: bool = False
    apart: bool = False

    def first(self, seed: int, count: int) -> Result:
        """The first part, with what is checked once."""
        results = [self.run(seed, count)]
        if self.once and not results[0].faults:
            results.append(self.once(seed, count))
        return Result(total(result.counts for result in results), results[-1].faults,
                      " ".join(filter(None, (result.missing for result in results))))


def total(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sums of the counts, or their maximum if the unit says so."""
    sums: dict[str, int] = {}
    for part in parts:
        for unit, number in part.items():
            before = sums.get(unit, 0)
            sums[unit] = max(before, number) if unit.endswith(MOST) else before + number
    return sums


def in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {unit}" for unit, number in counts.items())


def counted(printed: str) -> dict[str, int]:
    """The sums of the numbers in lines like "counted: 250 answers" that tests print."""
    return total({unit.strip(): int(number.replace(",", ""))}
                 for number, unit in re.findall(r"counted: ([\d,]+) (.+)", printed))


# ---- how they are run

def tests(*targets: str, count: str = "") -> Run:
    """A campaign that consists of tests; `count` is the variable with the number of rounds."""
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
        return Result(counted(done.stdout) or {"tests": passed}, faults)
    return run


def on_each_core(work: Callable[[int, int], T], seed: int, count: int) -> list[T]:
    """Share the work among processes, each with a seed of its own."""
    lanes = int(os.environ.get("PROVE_PROCESSES", "") or os.cpu_count() or 1)
    shares = [count // lanes + (lane < count % lanes) for lane in range(lanes)]
    if lanes == 1:
        return [work(seed, count)]
    with ProcessPoolExecutor(lanes, mp_context=get_context("spawn")) as pool:
        return list(pool.map(work, [seed + lane for lane in range(lanes)], shares))


# ---- the campaigns

def kills(seed: int, count: int) -> Result:
    tally = kill_programs(seed, count)
    return Result({"kills": tally.kills, "of them in mid-answer": tally.while_answering,
                   "characters shown": tally.shown, "questions sent": tally.questions},
                  "\n".join(tally.faults))


def calls(seed: int, count: int) -> Result:
    tally = kill_calls(seed, count)
    return Result({"kills": tally.kills, "calls that ran": tally.calls,
                   "requests in seven dialects": tally.requests}, "\n".join(tally.faults[:SHOWN]))


def chores(seed: int, count: int) -> Result:
    tally = kill_chores(seed, count)
    return Result({"kills": tally.kills, "of them midway": tally.midway}, "\n".join(tally.faults))


def imports(seed: int, count: int) -> Result:
    ended, midway, faults = kill_imports(seed, count)
    return Result({"imports killed": ended, "of them midway": midway}, "\n".join(faults))


def power_cuts(seed: int, count: int) -> Result:
    if not power.available():
        return Result(missing="strace (apt install strace) and the right to trace")
    tally = power.cut_power(seed, count)
    return Result({"power cuts": tally.cuts, "of them in mid-answer": tally.while_answering,
                   f"ms of a reply lost {MOST}": round(tally.most_lost * 1000)},
                  "\n".join(tally.faults))


def storage(seed: int, count: int) -> Result:
    if not power.available():
        return Result(missing="strace (apt install strace) and the right to trace")
    tally = fail_writes(seed, count)
    return Result({"runs with a fault": tally.faults_made, "of them met it": tally.met,
                   "set their words aside": tally.set_aside}, "\n".join(tally.faults))


def postgres(seed: int, count: int) -> Result:
    if reason := servers.why_not():
        return Result(missing=f"PostgreSQL: {reason}")
    tally = fail_server(seed, count)
    return Result({"failures of PostgreSQL during an answer": tally.faults_made,
                   "set words aside": tally.set_aside}, "\n".join(tally.faults))


def clocks(seed: int, count: int) -> Result:
    tally = set_clocks(seed, count)
    return Result({"runs, each at another time": tally.runs,
                   "of them earlier than the one before": tally.back,
                   "questions": tally.questions}, "\n".join(tally.faults))


def simulation(seed: int, count: int) -> Result:
    tallies = on_each_core(simulate, seed, count)
    return Result(total({"conversations": tally.conversations, "turns": tally.turns,
                         "programs killed": tally.kills, "stopped": tally.stops,
                         "with a locked database": tally.locks,
                         "hours of their time": round(tally.seconds / 3600)}
                        for tally in tallies),
                  "\n".join(fault for tally in tallies for fault in tally.faults))


def streams(_: int, count: int) -> Result:
    tally = pour_streams(count)
    memory = ({} if tally.growth is None
              else {f"bytes of memory for each further stream {MOST}": tally.growth})
    return Result({"streams": tally.streams, "tokens": tally.tokens, **memory},
                  "\n".join(tally.faults[:SHOWN]))


def wire(seed: int, count: int) -> Result:
    tallies = on_each_core(split_streams, seed, count)
    return Result(total({"streams": tally.streams, "pieces": tally.pieces,
                         "broken off": tally.broken, "characters": tally.characters}
                        for tally in tallies),
                  "\n".join(fault for tally in tallies for fault in tally.faults))


def gate(seed: int, count: int) -> Result:
    tally = show_sequences(seed, count)
    return Result({"control sequences": tally.sequences, "times shown": tally.shown},
                  "\n".join(tally.faults[:SHOWN]))


def doors(seed: int, count: int) -> Result:
    tally = try_doors(seed, count)
    return Result({"addresses": tally.urls, "paths": tally.paths}, "\n".join(tally.faults[:SHOWN]))


def keys(seed: int, count: int) -> Result:
    tally = plant_keys(seed, count)
    return Result({"keys": tally.keys, "of them received by their server": tally.arrived,
                   "commands": tally.commands, "files looked through": tally.files},
                  "\n".join(tally.faults))


CAMPAIGNS: tuple[Campaign, ...] = (
    Campaign("kills", "What was sent or shown is saved, whenever the program is killed", kills,
             60, 10_000, part=60, yours=True),
    Campaign("power", "A power cut loses no question, no finished answer, and 250 ms of a reply",
             power_cuts, 200, 1_000, part=200),
    Campaign("storage", "Whichever write to the disk fails, the answer is shown and saved",
             storage, 40, 5_000, part=40),
    Campaign("postgres", "If PostgreSQL fails during an answer, the answer is shown and saved",
             postgres, 16, 1_000, part=16,
             once=tests("tests/store/test_postgres_writes.py", "tests/store/test_postgres_news.py",
                        "tests/store/test_pooled.py")),
    Campaign("calls", "A killed program's tool calls run once, and every provider accepts the rest",
             calls, 40, 4_000, part=40),
    Campaign("chores", "A killed export, backup, restore, move, shrink or repair harms nothing",
             chores, 27, 2_000, part=27, once=tests("tests/store/test_migrations.py")),
    Campaign("clocks", "Setting the clock, even years back, loses nothing and mixes up nothing",
             clocks, 25, 2_000, part=50),
    Campaign("simulation", "Everything said is saved, whatever fails in whichever order",
             simulation, 400, 100_000, part=500),
    Campaign("imports", "A killed import is completed by the next one, with nothing twice",
             imports, 18, 2_000, part=18),
    Campaign("copies", "Exports, backups, moves and repairs keep everything in a session",
             tests("tests/sessions/test_nasty_sessions.py", count="STREAM_CHAT_TEST_NASTY"),
             2_000, 20_000, part=2_000, apart=True),
    Campaign("servers", "No killed server ends a conversation, or repeats or drops a character",
             tests("tests/program/test_campaign.py", count="STREAM_CHAT_TEST_CAMPAIGN"),
             100, 10_000, part=500, apart=True),
    Campaign("page", "A killed server of the page finishes the answer when it is restarted",
             tests("tests/web/test_turns.py", count="STREAM_CHAT_TEST_PAGE_KILLS"), 20, 2_000,
             part=20, apart=True),
    Campaign("faults", "Whatever fails in an answer, it is complete, and no tool runs twice",
             tests("tests/program/test_faults.py"), apart=True),
    Campaign("cuts", "A lost connection generates no token twice if the server stores its answer",
             tests("tests/providers/test_reattach.py", "tests/web/test_kept_answers.py",
                   count="STREAM_CHAT_TEST_CUTS"), 40, 10_000, part=120, apart=True),
    Campaign("again", "A killed program resumes its running answer, and no token is generated "
             "twice",
             tests("tests/program/test_taken_up.py", count="STREAM_CHAT_TEST_KILLS"), 3, 2_000,
             part=6, apart=True),
    Campaign("engine", "The embedded engine ends with its chats, and a lost connection costs "
             "nothing",
             tests("tests/engine/test_engine_cuts.py", "tests/engine/test_engine.py"), apart=True),
    Campaign("wire", "How the network splits a stream changes nothing", wire,
             20_000, 10_000_000, part=20_000),
    Campaign("events", "Unknown events do not end a conversation, nor make it look complete",
             tests("tests/providers/test_dialect_streams.py"), apart=True),
    Campaign("joints", "A reply that broke off and its continuation fit together",
             tests("tests/chat/test_joining.py"), apart=True),
    Campaign("store", "What the database rejects is kept and saved later",
             tests("tests/program/test_program_spool.py"), apart=True),
    Campaign("load", "Fifty writers and twenty answers at once lose nothing",
             tests("tests/store/test_many_writers.py"), apart=True),
    Campaign("streams", "Hundreds of streams at once on the page lose no token, and memory is flat",
             streams, 200, 40_000, part=4_000),
    Campaign("gate", "No foreign text moves the cursor or sets the title",
             gate, 4_010, 401_000, part=4_010,
             once=tests("tests/test_safe_text.py", "tests/program/test_safe_everywhere.py")),
    Campaign("script", "No foreign text becomes a script, a request or an element of the page",
             tests("tests/web/test_injection.py"), apart=True),
    Campaign("doors", "Tools reach no file, address or database that is not allowed",
             doors, 3_000, 300_000, part=5_000,
             once=tests("tests/tools/test_guard_files.py", "tests/tools/test_guard_net.py",
                        "tests/tools/test_secret_files.py", "tests/tools/test_tool_database.py")),
    Campaign("channels", "A model that obeys what it reads sends nothing private out",
             tests("tests/tools/test_tool_web.py", count="STREAM_CHAT_TEST_ATTACKS"), 200, 20_000,
             part=1_000, apart=True),
    Campaign("keys", "Keys go to their own server, and nowhere else",
             keys, 18, 2_000, part=18,
             once=tests("tests/config/test_keys.py", "tests/providers/test_access.py")),
    Campaign("cost", "No request can exceed the limit on cost",
             tests("tests/stats/test_spending.py", count="STREAM_CHAT_TEST_CONVERSATIONS"),
             2_000, 200_000, part=5_000, apart=True),
    Campaign("mask", "Masked text does not leave, and is restored unchanged",
             tests("tests/providers/test_masking.py", count="STREAM_CHAT_TEST_PROMPTS"),
             1_000, 100_000, part=2_000, apart=True),
    Campaign("sent", "/sent shows what a server saw, byte for byte",
             tests("tests/providers/test_sent.py"), apart=True),
    Campaign("asides", "An aside leaves the next request unchanged, byte for byte",
             tests("tests/chat/test_aside.py"), apart=True),
    Campaign("quotes", "A quotation that is not in the files is reported",
             tests("tests/context/test_quotes.py"), apart=True),
)
