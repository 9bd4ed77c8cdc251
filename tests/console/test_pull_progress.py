"""Fetching a model as a person sees it: a bar for each layer, in a real pseudo-terminal and in a pipe."""

from __future__ import annotations

import io
import os
import random
import re
import subprocess
import sys
import threading
from typing import Any

import pytest

from core.providers import PullProgress
from core.console.pull_progress import STOPPED, LayerBars
from tests.fake_server import Answer, FakeServer, Hold, Pause, Received, Stall, Step, json_answer, json_line
from tests.pseudo_terminal import Terminal

WEIGHTS, TEMPLATE, LICENCE = (letter * 64 for letter in "abc")
GB = 1_000_000_000


def status(digest: str, done: int | None, total: int) -> bytes:
    line: dict[str, Any] = {"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}", "total": total}
    return json_line(line if done is None else {**line, "completed": done})


def plain(text: str) -> bytes:
    return json_line({"status": text})


def puller(*pulls: list[Step]) -> FakeServer:
    """An Ollama that has no model; each pull is answered with the next of these."""
    left = list(pulls)

    def script(request: Received) -> Answer:
        return Answer(left.pop(0)) if request.path == "/api/pull" else json_answer({"models": []})
    return FakeServer(script)


END: list[Step] = [plain("verifying sha256 digest"), plain("writing manifest"), plain("success")]


def command(program: list[str], server: FakeServer) -> list[str]:
    return [*program, "--pull", "new", "--base-url", server.url]


def test_layers_that_come_at_once_have_a_bar_each(program: list[str], environment: dict[str, str]) -> None:
    steps: list[Step] = [plain("pulling manifest"), status(WEIGHTS, None, 4 * GB), status(LICENCE, 5000, 5000)]
    for number in range(1, 9):
        steps += [status(WEIGHTS, number * GB // 8, 4 * GB), status(TEMPLATE, number * 1_000_000, 10_000_000), Pause(0.15)]
    seen = threading.Event()
    held = [*steps, Hold(seen), status(TEMPLATE, 10_000_000, 10_000_000), status(WEIGHTS, 4 * GB, 4 * GB), *END]
    with puller(held) as server, Terminal(command(program, server), environment) as person:
        person.wait(r"^aaaaaaaaaaaa [━╸╺]+ +25% 1.0/4.0 GB .* [MG]B/s")
        person.wait(r"^bbbbbbbbbbbb [━╸╺]+ +80% 8.0/10.0 MB .*B/s")
        assert person.text().splitlines()[0] == "cccccccccccc  done  5.0 kB"
        seen.set()
        assert person.exit_status() == 0
        assert person.text().splitlines() == ["cccccccccccc  done  5.0 kB", "bbbbbbbbbbbb  done  10.0 MB",
                                              "aaaaaaaaaaaa  done  4.0 GB", "ollama/new is here."]
        person.check_restored()


def test_a_narrow_terminal_and_one_that_changes(program: list[str], environment: dict[str, str]) -> None:
    """Nothing is wider than the screen, so that nothing is left behind when it is painted again."""
    steps: list[Step] = []
    narrow, wide = threading.Event(), threading.Event()
    for number in range(60):
        steps += [status(WEIGHTS, number * GB // 60, GB), status(TEMPLATE, number * GB // 61, GB), Pause(0.05)]
        steps += [Hold(narrow)] if number == 12 else [Hold(wide)] if number == 30 else []
    steps += [status(TEMPLATE, GB, GB), status(WEIGHTS, GB, GB), *END]
    with puller(steps) as server, Terminal(command(program, server), environment, columns=40, lines=10) as person:
        person.wait(r"^a.* 0\.2/1\.0")
        assert len([row for row in person.text().splitlines() if row.startswith(("a", "b"))]) == 2
        person.resize(90, 20)
        narrow.set()
        person.wait(r"^aaaaaaaaaaaa [━╸╺]+ +[4-6]\d%")
        assert len([row for row in person.text().splitlines() if row.startswith(("a", "b"))]) == 2
        wide.set()
        assert person.exit_status() == 0
        last = person.text().splitlines()[-3:]
        assert last == ["bbbbbbbbbbbb  done  1.0 GB", "aaaaaaaaaaaa  done  1.0 GB", "ollama/new is here."]


def test_ctrl_c_says_that_it_goes_on_and_the_next_time_does(program: list[str], environment: dict[str, str]) -> None:
    seen = threading.Event()
    first: list[Step] = [plain("pulling manifest"), status(LICENCE, 5000, 5000), status(WEIGHTS, GB, 2 * GB), Stall()]
    second: list[Step] = [plain("pulling manifest"), status(LICENCE, 5000, 5000), status(WEIGHTS, GB, 2 * GB),
                          Hold(seen), status(WEIGHTS, 2 * GB, 2 * GB), *END]
    with puller(first, second) as server:
        with Terminal(command(program, server), environment) as person:
            person.wait(r"^aaaaaaaaaaaa [━╸╺]+ +50%")
            person.interrupt()
            assert person.exit_status() == 130
            assert re.fullmatch(rf"cccccccccccc  done  5.0 kB\naaaaaaaaaaaa [━╸╺]+ +50% 1.0/2.0 GB.*\n{re.escape(STOPPED)}",
                                person.text().replace("^C", "")), person.text()
            person.check_restored()
        assert server.wait_for(1).done.wait(10) and server.requests[0].outcome == "client_left"
        with Terminal(command(program, server), environment) as person:
            person.wait(r"^aaaaaaaaaaaa [━╸╺]+ +50%")
            seen.set()
            assert person.exit_status() == 0 and person.text().splitlines()[0] == "cccccccccccc  done  5.0 kB"


@pytest.mark.parametrize("dumb", [False, True])
def test_without_a_terminal_there_is_a_line_for_each_finished_layer(dumb: bool, program: list[str],
                                                                    environment: dict[str, str]) -> None:
    steps: list[Step] = [plain("pulling manifest"), status(WEIGHTS, 1, GB), status(TEMPLATE, 10, 10), status(WEIGHTS, GB, GB),
                         status(WEIGHTS, GB, GB), *END]
    said = "bbbbbbbbbbbb  done  10 bytes\naaaaaaaaaaaa  done  1.0 GB\nollama/new is here."
    with puller(steps) as server:
        if dumb:
            with Terminal(command(program, server), environment | {"TERM": "dumb"}) as person:
                assert person.exit_status() == 0 and person.text() == said and b"\x1b" not in person.raw
            return
        done = subprocess.run(command(program, server), env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"{said}\n")


def test_in_the_chat(program: list[str], environment: dict[str, str]) -> None:
    steps: list[Step] = [plain("pulling manifest"), status(TEMPLATE, 10, 10), status(WEIGHTS, GB, 2 * GB), Stall()]
    with puller(steps) as server, Terminal([*program, "-m", "x", "--base-url", server.url], environment) as person:
        person.say("/models pull new")
        person.wait(r"^aaaaaaaaaaaa [━╸╺]+ +50% 1.0/2.0 GB")
        person.interrupt()
        person.wait(re.escape(STOPPED))
        person.wait_prompt()


def test_an_end_in_the_middle_keeps_what_is_known(program: list[str], environment: dict[str, str]) -> None:
    steps: list[Step] = [status(WEIGHTS, GB, 2 * GB), json_line({"error": "max retries exceeded: EOF"})]
    with puller(steps) as server, Terminal(command(program, server), environment) as person:
        assert person.exit_status() == 1
        assert re.match(r"aaaaaaaaaaaa [━╸╺]+ +50% 1.0/2.0 GB.*\n.*max retries exceeded", person.text()), person.text()


def test_hundreds_of_layers_leave_room_for_ctrl_c(program: list[str], environment: dict[str, str]) -> None:
    """They have no bar each, but each that is whole is told."""
    many = [f"{number:064x}"[::-1] for number in range(2000)]
    steps: list[Step] = [b"".join(status(digest, 5, GB) for digest in many), status(many[-1], GB, GB), Stall()]
    with puller(steps) as server, Terminal(command(program, server), environment) as person:
        person.wait("GB")
        person.wait(f"^{many[-1][:12]}  done  1.0 GB")
        assert len([row for row in person.text().splitlines() if "%" in row]) <= 30
        person.interrupt()
        assert person.exit_status() == 130
        person.check_restored()


def test_numbers_of_any_length_are_no_failure(program: list[str], environment: dict[str, str]) -> None:
    number = int("9" * 400)
    with puller([status(WEIGHTS, number // 10, number), Pause(0.3), status(WEIGHTS, number, number), *END]) as server:
        with Terminal(command(program, server), environment) as person:
            assert person.exit_status() == 0
            assert person.text() == "aaaaaaaaaaaa  done  9.0 PB\nollama/new is here."


def test_a_bar_is_one_row_of_a_narrow_terminal(program: list[str], environment: dict[str, str]) -> None:
    steps: list[Step] = []
    for number in range(200, 212):
        steps += [status(WEIGHTS, number * 1_000_000, 777_700_000), Pause(0.1)]
    with puller([*steps, Stall()]) as server, Terminal(command(program, server), environment, columns=40, lines=10) as person:
        person.wait(r"^aaaaaaaaaaaa [━╸╺]+ +27% 211\.0/777\.7 MB$")
        assert len(person.text().splitlines()) == 1
        person.interrupt()
        assert person.exit_status() == 130


# ---- by itself

def test_bars_of_many_layers_are_few_and_begin_as_others_end() -> None:
    with LayerBars(io.StringIO(), live=True) as bars:
        for done in (1, 10):
            for number in range(100):
                bars.update(PullProgress("pulling", done, 10, f"sha256:{number:064}"))
                assert len(bars._running) <= 30
        assert not bars._running and len(bars._finished) == 100
        bars.update(PullProgress("pulling", 10**399, 10**400, "x"))


def test_what_comes_in_one_piece_has_one_bar() -> None:
    out = io.StringIO()
    steps = (("downloading", 10), ("connection lost, going on", 20), ("downloading", 50), ("checking", 100), ("ready", 100))
    with LayerBars(out, live=True, color=False) as bars:
        for what, done in steps:
            bars.update(PullProgress(what, done, 100))
            bars.refresh()
    assert "downloading" in out.getvalue() and " 50%" in out.getvalue() and "done" not in out.getvalue()
    assert out.getvalue().count("\n") <= 1, "one row, painted over"


def test_any_numbers_and_names_of_a_server_are_shown_in_one_row() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    sizes = [0, 1, 9, 999, 1000, 999_999, GB, 1 << 53, -1, -GB]
    for _ in range(60):
        out = io.StringIO()
        with LayerBars(out, live=True, color=chance.random() < 0.5) as bars:
            for _ in range(20):
                name = chance.choice(["", "sha256:" + "a" * 64, "\x1b[2J", "漢字" * 40, "x\ny", ":", "[red]x[/]"])
                bars.update(PullProgress(name + " going", chance.choice(sizes), chance.choice(sizes), name))
                bars.refresh()
        shown = re.sub(r"\x1b\[[?\d;]*[AKJmClh]", "", out.getvalue())
        assert not set(shown) & {"\x1b", "\x07"}
        assert all(len(row) <= 80 for row in shown.replace("\r", "\n").split("\n"))


@pytest.mark.processes
def test_nothing_of_it_is_loaded_before_a_model_is_fetched() -> None:
    code = "import sys, core.console.pull_progress; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ), timeout=60).returncode == 0
