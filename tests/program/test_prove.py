"""The command that proves the promises: its judge finds losses, its page names each campaign."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.proof import power
from tests.proof.clocks import set_clocks
from tests.proof.imports import kill_imports
from tests.proof.kills import kill_programs
from tests.proof.simulation import simulate
from tests.prove import CAMPAIGNS, PAGE, counted, main

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.processes
def test_kills_lose_nothing() -> None:
    tally = kill_programs(5, 6)
    assert not tally.faults and tally.kills == 6


@pytest.mark.processes
def test_killed_imports_lose_nothing() -> None:
    kills, _, faults = kill_imports(5, 2)
    assert kills == 2 and not faults


@pytest.mark.processes
def test_the_judge_finds_what_is_not_saved() -> None:
    """A program that saves nothing is found out."""
    tally = kill_programs(5, 10, ["--no-save"])
    assert tally.while_answering and any("not saved" in fault for fault in tally.faults)


@pytest.mark.processes
@pytest.mark.skipif(not power.available(), reason="strace is not installed, or may not trace")
def test_a_power_cut_loses_nothing_that_was_promised_and_a_disk_that_lies_is_noticed() -> None:
    tally = power.cut_power(5, 40)
    assert not tally.faults and tally.cuts == 40 and tally.while_answering
    assert power.cut_power(5, 40, lies=True).faults


@pytest.mark.processes
def test_clocks_that_are_set_lose_nothing() -> None:
    tally = set_clocks(5, 6)
    assert not tally.faults and tally.runs == 6


def test_simulated_conversations_are_saved_as_they_were() -> None:
    tally = simulate(5, 12)
    assert not tally.faults and tally.conversations == 12 and tally.kills and tally.stops
    again = simulate(5, 12)
    assert (again.turns, again.kills, again.stops) == (tally.turns, tally.kills, tally.stops)


def test_what_tests_count_is_summed() -> None:
    assert counted("x\n.counted: 1,250 cuts\ncounted: 3 kills\n.\ncounted: 50 cuts\n") == \
        "1,300 cuts, 3 kills"


def test_the_page_explains_each_campaign() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [each.key for each in CAMPAIGNS if f"**{each.key}**" not in page] == []


def test_an_unknown_campaign_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "nothing"]) == 2
    assert "kills" in capsys.readouterr().out


def test_a_run_that_was_stopped_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What stands in the file of an earlier run is not done again."""
    state = tmp_path / "done.jsonl"
    state.write_text('{"key": "kills", "promise": "p", "counted": "9 kills", "seconds": 1.0, '
                     '"seed": 4, "faults": ""}\n')
    assert main(["--only", "kills", "--state", str(state)]) == 0
    assert "9 kills" in capsys.readouterr().out
