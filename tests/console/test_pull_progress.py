"""Downloading a model, as the user sees it: one row, in a real pseudo-terminal and in a pipe."""

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

from core.config import Settings
from core.console.pull_progress import Pull
from core.console.screen import Screen
from core.events import PullProgress
from core.rendering.widths import text_width
from tests.fake_server import (Answer, FakeServer, Hold, Pause, Received, Stall, Step, json_answer,
                               json_line)
from tests.pseudo_terminal import Terminal

WEIGHTS, TEMPLATE, LICENCE = (letter * 64 for letter in "abc")
GB = 1_000_000_000


def status(digest: str, done: int | None, total: int) -> bytes:
    line: dict[str, Any] = {"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}",
                            "total": total}
    return json_line(line if done is None else {**line, "completed": done})


def plain(text: str) -> bytes:
    return json_line({"status": text})


def puller(*pulls: list[Step]) -> FakeServer:
    """An Ollama without models; each pull gets the next of these responses."""
    left = list(pulls)

    def script(request: Received) -> Answer:
        return Answer(left.pop(0)) if request.path == "/api/pull" else json_answer({"models": []})
    return FakeServer(script)


END: list[Step] = [plain("verifying sha256 digest"), plain("writing manifest"), plain("success")]


def command(program: list[str], server: FakeServer) -> list[str]:
    return [*program, "--pull", "new", "--base-url", server.url]


def test_layers_that_come_at_once_are_one_row(program: list[str],
                                              environment: dict[str, str]) -> None:
    steps: list[Step] = [plain("pulling manifest"), status(WEIGHTS, None, 4 * GB),
                         status(LICENCE, 5000, 5000)]
    for number in range(1, 9):
        steps += [status(WEIGHTS, number * GB // 8, 4 * GB),
                  status(TEMPLATE, number * 1_000_000, 10_000_000), Pause(0.15)]
    seen = threading.Event()
    held = [*steps, Hold(seen), status(TEMPLATE, 10_000_000, 10_000_000),
            status(WEIGHTS, 4 * GB, 4 * GB), *END]
    with puller(held) as server, Terminal(command(program, server), environment) as person:
        person.wait(r"^\u25b8 Pulling new  \u2501{5}\u2500{15}   25%  1\.0 of 4\.0 GB, .* [MG]B/s, "
                    r".* left$")
        assert len(person.text().splitlines()) == 1
        seen.set()
        assert person.exit_status() == 0
        pulled = r"\u2713 Pulled new  4\.0 GB in [\d.]+ m?s"
        assert re.fullmatch(pulled, person.text()), person.text()
        person.check_restored()


def test_a_narrow_terminal_and_one_that_changes(program: list[str],
                                                environment: dict[str, str]) -> None:
    """No row is wider than the screen, so repainting leaves nothing behind."""
    steps: list[Step] = []
    narrow, wide = threading.Event(), threading.Event()
    for number in range(60):
        steps += [status(WEIGHTS, number * GB // 60, GB), status(TEMPLATE, number * GB // 61, GB),
                  Pause(0.05)]
        steps += [Hold(narrow)] if number == 12 else [Hold(wide)] if number == 30 else []
    steps += [status(TEMPLATE, GB, GB), status(WEIGHTS, GB, GB), *END]
    with (puller(steps) as server,
          Terminal(command(program, server), environment, columns=40, lines=10) as person):
        person.wait(r"^\S Pulling new +\d+%$")
        assert len(person.text().splitlines()) == 1
        person.resize(90, 20)
        narrow.set()
        person.wait(r"^\S Pulling new  [\u2501\u2500]{20}   [4-6]\d%  ")
        assert len(person.text().splitlines()) == 1
        wide.set()
        assert person.exit_status() == 0
        assert re.fullmatch(r"\S Pulled new  2\.0 GB in \d.*", person.text()), person.text()


def test_ctrl_c_says_how_far_it_came_and_the_next_time_continues(
        program: list[str], environment: dict[str, str]) -> None:
    seen = threading.Event()
    first: list[Step] = [plain("pulling manifest"), status(LICENCE, 5000, 5000),
                         status(WEIGHTS, GB, 2 * GB), Stall()]
    second: list[Step] = [plain("pulling manifest"), status(LICENCE, 5000, 5000),
                          status(WEIGHTS, GB, 2 * GB),
                          Hold(seen), status(WEIGHTS, 2 * GB, 2 * GB), *END]
    with puller(first, second) as server:
        with Terminal(command(program, server), environment) as person:
            person.wait(r"Pulling new .* 50%")
            person.interrupt()
            assert person.exit_status() == 130
            assert person.text().replace("^C", "").strip() == (
                "\u00b7 Stopped at 50%. The downloaded part is kept; pull again to "
                "continue."), person.text()
            person.check_restored()
        assert server.wait_for(1).done.wait(10) and server.requests[0].outcome == "client_left"
        with Terminal(command(program, server), environment) as person:
            person.wait(r"Pulling new .* 50%")
            seen.set()
            assert person.exit_status() == 0 and "Pulled new  2.0 GB" in person.text()


@pytest.mark.parametrize("kind", ["pipe", "dumb", "plain"])
def test_where_nothing_is_written_over_there_is_a_line_for_every_fifth(
        kind: str, program: list[str], environment: dict[str, str]) -> None:
    steps: list[Step] = [plain("pulling manifest"), status(TEMPLATE, 10, 10)]
    steps += [status(WEIGHTS, number * GB // 10, GB) for number in range(11)]
    said = [f"Pulling {'ollama/' * (kind == 'plain')}new: {percent}% of 1.0 GB"
            for percent in (20, 40, 60, 80, 100)]
    with puller([*steps, *END]) as server:
        if kind == "pipe":
            done = subprocess.run(command(program, server), env=environment, capture_output=True,
                                  text=True, timeout=60)
            assert (done.returncode, done.stdout) == (0, "")
            shown = done.stderr
        else:
            more = {"dumb": {"TERM": "dumb"}, "plain": {"ACCESSIBLE": "1"}}[kind]
            with Terminal(command(program, server), environment | more) as person:
                assert person.exit_status() == 0 and b"\x1b" not in person.raw
                shown = person.text()
    *rows, last = shown.splitlines()
    assert rows == said
    assert re.fullmatch(r"(\S )?Pulled \S+  1\.0 GB in [\d.]+ m?s", last), last


def test_in_the_chat(program: list[str], environment: dict[str, str]) -> None:
    steps: list[Step] = [plain("pulling manifest"), status(TEMPLATE, 10, 10),
                         status(WEIGHTS, GB, 2 * GB), Stall()]
    with (puller(steps) as server,
          Terminal([*program, "-m", "x", "--base-url", server.url], environment) as person):
        person.say("/models pull new")
        person.wait(r"Pulling new .* 50%  1\.0 of 2\.0 GB")
        person.interrupt()
        person.wait(r"^\u00b7 Stopped at 50%\. The downloaded part is kept")
        person.wait_prompt()


def test_an_end_in_the_middle_keeps_what_is_known(program: list[str],
                                                  environment: dict[str, str]) -> None:
    steps: list[Step] = [status(WEIGHTS, GB, 2 * GB),
                         json_line({"error": "max retries exceeded: EOF"})]
    with puller(steps) as server, Terminal(command(program, server), environment) as person:
        assert person.exit_status() == 1
        assert re.match(r"\u00b7 Stopped at 50%.*\n.*max retries exceeded",
                        person.text()), person.text()


def test_hundreds_of_layers_leave_room_for_ctrl_c(program: list[str],
                                                  environment: dict[str, str]) -> None:
    many = [f"{number:064x}"[::-1] for number in range(2000)]
    steps: list[Step] = [b"".join(status(digest, GB // 2, GB) for digest in many),
                         status(many[-1], GB, GB), Stall()]
    with puller(steps) as server, Terminal(command(program, server), environment) as person:
        person.wait(r" 50%  1\.0 of 2\.0 TB")
        assert len(person.text().splitlines()) == 1
        person.interrupt()
        assert person.exit_status() == 130
        person.check_restored()


def test_numbers_of_any_length_are_no_failure(program: list[str],
                                              environment: dict[str, str]) -> None:
    number = int("9" * 400)
    with puller([status(WEIGHTS, number // 10, number), Pause(0.3), status(WEIGHTS, number, number),
                 *END]) as server:
        with Terminal(command(program, server), environment) as person:
            assert person.exit_status() == 0
            assert person.text().startswith("\u2713 Pulled new  9.0 PB in "), person.text()


# ---- by itself

def screen_of(columns: int, monkeypatch: pytest.MonkeyPatch, *, color: str = "never") -> Screen:
    class Tty(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True
    monkeypatch.setenv("COLUMNS", str(columns))
    settings = Settings({"color": color},
                        environment={"TERM": "xterm-256color", "COLORTERM": "truecolor"})
    return Screen(Tty(), settings)


def test_what_comes_in_one_piece_says_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = (("asking the package index", 0, 0), ("downloading", 10, 100),
             ("connection lost, resuming", 20, 100),
             ("downloading", 50, 100), ("checking", 100, 100), ("ready", 100, 100))
    rows = []
    with Pull(screen_of(80, monkeypatch), "small") as pull:
        for what, done, total in steps:
            pull.update(PullProgress(what, done, total))
            rows.append(pull.row())
    assert rows[0].endswith("asking the package index") and "connection lost, resuming" in rows[2]
    assert " 50%" in rows[3] and "50 of 100 bytes" in rows[3] and rows[4].endswith("checking")


@pytest.mark.parametrize("kept", [True, False])
def test_what_a_stop_leaves_is_said_as_it_is(kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = screen_of(80, monkeypatch)
    with pytest.raises(KeyboardInterrupt), Pull(screen, "small") as pull:
        pull.update(PullProgress("downloading", 62, 100, kept=kept))
        raise KeyboardInterrupt
    said = screen.out.getvalue()  # type: ignore[attr-defined]
    assert "Stopped at 62%." in said
    assert (("pull again to continue" in said) == kept
            and ("The next download starts again." in said) != kept)


def test_any_numbers_and_names_of_a_server_are_shown_in_one_row(
        monkeypatch: pytest.MonkeyPatch) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    sizes = [0, 1, 9, 999, 1000, 999_999, GB, 1 << 53, -1, -GB]
    for _ in range(60):
        columns = chance.choice([20, 40, 60, 80, 120])
        name = chance.choice(["", "a" * 64, "\x1b[2J", "\u6f22\u5b57" * 40, "x\ny", ":",
                              "[red]x[/]"])
        with Pull(screen_of(columns, monkeypatch, color=chance.choice(["never", "always"])),
                  name) as pull:
            for _ in range(20):
                layer = chance.choice(["", "one", "two"])
                pull.update(PullProgress(name + " going", chance.choice(sizes),
                                         chance.choice(sizes), layer))
                pull.refresh()
                row = re.sub(r"\x1b\[[\d;]*m", "", pull.row())
                assert (not set(row) & {"\x1b", "\x07", "\n"}
                        and text_width(row) < columns), (row, columns)


@pytest.mark.processes
def test_nothing_of_it_is_loaded_before_a_model_is_fetched() -> None:
    code = "import sys, core.console.pull_progress; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ),
                          timeout=60).returncode == 0
