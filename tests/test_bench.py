"""The benchmarks work: their server, their driver, their page.

Speed does not matter here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import run as bench
from bench.driver import Step, environment, run
from bench.run import (BEGIN, END, Bench, Figure, Plan, growth, report, running_server, table,
                       write_page)
from bench.server import FIRST, KINDS, LAST, document, frames

pytestmark = [pytest.mark.processes,
              pytest.mark.skipif(sys.platform != "linux",
                                 reason="the harness reads /proc and uses pidfd")]

TINY = Plan(runs=1, long_runs=1, stops=1, sizes=(600, 700), kinds=("mixed",), sessions=20,
            frames=20, files=300, chats=20,
            json_bytes=100_000, turns=(3, 40), paces=((20, 2_000),), growing=(2, 3),
            things=("tools",),
            stores=("--seconds", "0.1", "--programs", "2", "--large", "20", "--only-sqlite"))


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Bench]:
    with running_server() as base:
        yield Bench(TINY, tmp_path, base)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", [3, 10, 1234])
def test_a_document_has_its_tokens_and_its_ends(kind: str, tokens: int) -> None:
    words = document(kind, tokens)
    assert (len(words), words[0], words[-1]) == (tokens, FIRST, LAST)
    assert "".join(words).count("```") % 2 == 0


def test_frames_are_one_http_chunk_per_token() -> None:
    made = frames("mixed-10")
    assert len(made) == 10 + 2
    assert made[-1] == b"0\r\n\r\n"
    assert b'"done": true' in made[-2]


def test_the_driver_times_words_in_a_terminal(tmp_path: Path) -> None:
    code = "import os; print(os.isatty(1), os.get_terminal_size().columns, os.environ['HOME'])"
    result = run([sys.executable, "-c", code], environment(str(tmp_path)), marks=(b"True 120",))
    assert result.code == 0
    assert result.started < result.seen[b"True 120"] <= result.ended
    assert str(tmp_path).encode() in result.tail
    assert result.cpu > 0 and result.peak > 1_000_000 and result.written == len(result.tail)


def test_the_driver_counts_a_pipe_to_its_end(tmp_path: Path) -> None:
    result = run([sys.executable, "-c", "print('x' * 999_999)"], environment(str(tmp_path)),
                 terminal=False)
    assert (result.code, result.written) == (0, 1_000_000)


def test_the_driver_types(tmp_path: Path) -> None:
    result = run([sys.executable, "-c", "print(input('name? ') + '!')"], environment(str(tmp_path)),
                 steps=(Step(b"name? ", b"Ada\r"), Step(b"Ada!")))
    assert result.code == 0
    assert len(result.stepped) == 2


def test_the_driver_ends_what_does_not_end(tmp_path: Path) -> None:
    sleeping = "import time; print('asleep', flush=True); time.sleep(60)"
    with pytest.raises(TimeoutError, match="asleep"):
        run([sys.executable, "-c", sleeping], environment(str(tmp_path)), timeout=1)


@pytest.mark.parametrize("name", list(bench.MEASUREMENTS))
def test_every_measurement_gives_figures(tiny: Bench, name: str) -> None:
    _, measurement = bench.MEASUREMENTS[name]
    figures = measurement(tiny)
    assert figures
    assert len({figure.what for figure in figures}) == len(figures)


def test_homes_hold_nothing_of_the_person(tiny: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    made = tiny.home("x")
    assert os.listdir(made["HOME"]) == []
    assert not {"OPENAI_API_KEY", "PYTHONDONTWRITEBYTECODE"} & set(made)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_growth_is_the_exponent(power: float) -> None:
    sizes = (2_000, 8_000, 32_000)
    assert growth(sizes, [3e-6 * size ** power for size in sizes]) == pytest.approx(power)


def test_a_missed_promise_stands_out() -> None:
    rows = table([Figure("a", 3.0, "us/token", 2.0),
                  Figure("b", 1.0, "x bare script", 2.0, "5 ms")]).splitlines()
    assert rows[2:] == ["| a | 3.00 µs/token | at most 2 **missed** |  |",
                        "| b | 1.00 × bare script | at most 2 | 5 ms |"]


def test_only_what_stands_between_the_markers_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_page(page, report({"Starting": [Figure("a", 1.0, "ms")]}, "make bench"))
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\nMeasured 2") and text.endswith(f"{END}\nafter\n")
    assert "`make bench`" in text and "cores" in text and "old" not in text


def test_the_page_has_its_markers() -> None:
    text = bench.PAGE.read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
