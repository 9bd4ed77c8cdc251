"""The command that checks the promises: it detects losses, and its page names each campaign."""

from __future__ import annotations

import json
import random
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from core.errors import StreamBroken
from core.events import Finished, TextDelta
from core.tools import ToolContext
from core.tools.files import read_file
from tests import postgres
from tests.fake_server import FakeOllama
from tests.proof import doors, gate, keys, power, wire
from tests.proof.calls import kill_calls
from tests.proof.chores import kill_chores
from tests.proof.clocks import set_clocks
from tests.proof.imports import kill_imports
from tests.proof.kills import kill_programs
from tests.proof.postgres import fail_server
from tests.proof.simulation import simulate
from tests.proof.campaigns import CAMPAIGNS, counted, total
from tests.proof.storage import fail_writes
from tests.proof.streams import TOKENS, pour_streams, stored_wrongly
from tests.prove import PAGE, main, program

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
    """A program that saves nothing is detected."""
    tally = kill_programs(5, 10, ["--no-save"])
    assert tally.while_answering and any("not saved" in fault for fault in tally.faults)


@pytest.mark.processes
@pytest.mark.skipif(not power.available(), reason="strace is not installed, or may not trace")
def test_a_power_cut_loses_nothing_that_was_promised_and_a_disk_that_lies_is_noticed() -> None:
    tally = power.cut_power(5, 40)
    assert not tally.faults and tally.cuts == 40 and tally.while_answering
    assert power.cut_power(5, 40, lies=True).faults


@pytest.mark.processes
@pytest.mark.skipif(not power.available(), reason="strace is not installed, or may not trace")
def test_writes_that_fail_lose_nothing() -> None:
    tally = fail_writes(5, 4)
    assert not tally.faults and tally.faults_made == 4


@pytest.mark.processes
def test_killed_calls_run_once_and_leave_what_providers_accept() -> None:
    tally = kill_calls(5, 6)
    assert not tally.faults and tally.kills == 6 and tally.calls and tally.requests


@pytest.mark.processes
def test_killed_chores_harm_nothing() -> None:
    tally = kill_chores(5, 1)
    assert not tally.faults and tally.kills == 1


@pytest.mark.processes
@pytest.mark.skipif(bool(postgres.why_not()), reason=postgres.why_not())
def test_a_failing_postgresql_loses_nothing() -> None:
    tally = fail_server(5, 1)
    assert not tally.faults and tally.faults_made == 1


@pytest.mark.processes
def test_kills_use_a_database_and_a_server_that_are_named(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    """A database with sessions is rejected."""
    with FakeOllama() as server:
        monkeypatch.setenv("PROVE_URL", server.url)
        monkeypatch.setenv("PROVE_MODEL", "words-20000")
        monkeypatch.setenv("DATABASE_URL", str(tmp_path / "mine.db"))
        assert main(["--count", "2", "--seed", "3"]) == 0
        assert "With PROVE_URL and DATABASE_URL: kills." in capsys.readouterr().out
        assert server.chats and (tmp_path / "mine.db").exists()
        assert main(["--count", "1"]) == 2
        assert "name an empty one" in capsys.readouterr().out


@pytest.mark.processes
def test_clocks_that_are_set_lose_nothing() -> None:
    tally = set_clocks(5, 6)
    assert not tally.faults and tally.runs == 6


@pytest.mark.processes
def test_streams_at_once_lose_no_token(tmp_path: Path) -> None:
    tally = pour_streams(4)
    assert not tally.faults and (tally.streams, tally.tokens) == (4, 4 * TOKENS)
    place = tmp_path / ".local/share/stream-chat"
    place.mkdir(parents=True)
    with closing(sqlite3.connect(place / "sessions.db")) as database:
        database.execute("CREATE TABLE messages (session_id, role, parts)")
        stamps = [f"@{number}.5@" for number in range(TOKENS)]
        twice, swapped = [*stamps, stamps[5]], [stamps[1], stamps[0], *stamps[2:]]
        for number, said in enumerate((stamps, stamps[1:], twice, swapped)):
            database.execute("INSERT INTO messages VALUES (?, 'assistant', ?)",
                             (number, " x ".join(said)))
        database.commit()
    assert len(stored_wrongly(tmp_path, 4)) == 3 and len(stored_wrongly(tmp_path, 5)) == 4


def test_simulated_conversations_are_saved_as_they_were() -> None:
    tally = simulate(5, 12)
    assert not tally.faults and tally.conversations == 12 and tally.kills and tally.stops
    again = simulate(5, 12)
    assert (again.turns, again.kills, again.stops) == (tally.turns, tally.kills, tally.stops)


def test_what_tests_count_is_summed() -> None:
    assert counted("x\n.counted: 1,250 cuts\ncounted: 3 kills\n.\ncounted: 50 cuts\n") == {
        "cuts": 1_300, "kills": 3}
    assert total([{"kills": 2, "ms at most": 5}, {"kills": 3, "ms at most": 4}]) == {
        "kills": 5, "ms at most": 5}


def test_streams_are_read_as_they_were_made_however_they_are_cut() -> None:
    tally = wire.split_streams(5, 400)
    assert not tally.faults and tally.streams == 400 and tally.broken > 100
    assert wire.split_streams(5, 400) == tally


def test_the_judge_of_streams_finds_what_is_lost_doubled_or_called_whole_too_early() -> None:
    streams = [wire.made_up(random.Random(number)) for number in range(40)]
    whole = next(each for each in streams if each.sent == each.whole and not each.call)
    cut = next(each for each in streams if each.sent < each.least and not each.call)
    end, text = Finished("stop"), whole.text
    assert wire.judged(whole, [TextDelta(text), end], None) == ""
    for deltas in ([TextDelta(text[1:]), end], [TextDelta(text[:-1]), end], [end],
                   [TextDelta(text), TextDelta(text), end], [TextDelta(text), end, end]):
        assert wire.judged(whole, deltas, None)
    assert wire.judged(whole, [TextDelta(text)], StreamBroken("x"))
    assert wire.judged(cut, [TextDelta(cut.text), end], None)
    assert wire.judged(cut, [], ValueError("x"))


def test_control_sequences_are_shown_and_not_obeyed() -> None:
    assert len(set(gate.sequences())) >= 4_010
    tally = gate.show_sequences(5, 20)
    assert not tally.faults and tally.shown > 1_000


@pytest.mark.processes
def test_a_key_reaches_its_server_and_nothing_else() -> None:
    tally = keys.plant_keys(0, 1)
    assert not tally.faults and tally.arrived == 1 and tally.files
    assert keys.stands_in("sk-1", "x sk-1") and keys.stands_in("sk-1", "Basic bWU6c2stMQ==")
    assert not keys.stands_in("sk-1", "sk-2")


def test_doors_stay_closed() -> None:
    tally = doors.try_doors(5, 150)
    assert not tally.faults and tally.urls == tally.paths == 150


def test_the_judges_of_doors_see_a_connection_and_a_secret(tmp_path: Path) -> None:
    doors.CONNECTIONS.install()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as made, \
            doors.CONNECTIONS.watching() as seen, pytest.raises(TimeoutError):
        made.connect(server.getsockname())
    assert seen == ["127.0.0.1"]
    doors.make_world(tmp_path)
    context = ToolContext(roots=(str(tmp_path),))
    assert doors.SECRET in str(read_file(context, "outside/secret.txt"))


@pytest.mark.parametrize("written", ["Q\x1b[31mZ", "Q\x9b2JZ", "Q\x1b]0;x\x07Z", "Q\u202eZ"])
def test_the_judge_of_screens_finds_what_a_terminal_would_obey(written: str) -> None:
    tally = gate.Tally()
    gate.judge(f"\x1b[1m{written}\x1b[m\n", [written], "here", tally)
    assert tally.faults


def test_the_page_explains_each_campaign() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [each.key for each in CAMPAIGNS if f"**{each.key}**" not in page] == []


def test_an_unknown_campaign_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "nothing"]) == 2
    assert "kills" in capsys.readouterr().out


def kept(key: str, seed: int, count: int, kills: int, code: str) -> str:
    return json.dumps({"key": key, "seed": seed, "count": count, "seconds": 1.0,
                       "counts": {"kills": kills}, "program": code, "day": "2026-01-31"}) + "\n"


def test_a_run_that_was_stopped_continues(tmp_path: Path,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    """Parts in the file are not repeated, unless the program has changed since."""
    state = tmp_path / "done.jsonl"
    state.write_text(kept("kills", 4, 200, 150, "another") + kept("kills", 4, 200, 200, program())
                     + kept("kills", 4 + 7_919, 300, 300, program()) + '{"key": "ki')
    assert main(["--only", "kills", "--state", str(state), "--count", "500"]) == 0
    shown = capsys.readouterr().out
    assert "seed 4\n" in shown and "500 kills" in shown


def test_after_the_given_minutes_no_further_part_is_started(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "done.jsonl"
    state.write_text(kept("kills", 4, 60, 55, program()))
    words = ["--full", "--state", str(state), "--minutes"]
    assert main([*words, "0"]) == 0
    shown = capsys.readouterr().out
    assert "kills held: 55 kills, 1 s" in shown and "SEED=4 COUNT=60" in shown
    assert "power" not in shown, "nothing is known about it"
    assert main(["--only", "simulation", "--seed", "5", "--full", "--state", str(state),
                 "--minutes", "0.0001"]) == 0
    assert "simulation held" in capsys.readouterr().out
    assert len(state.read_text().splitlines()) == 2, "one part, and no second one"


def test_the_parts_that_are_missing_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PROVE_PROCESSES", "1")
    state = tmp_path / "done.jsonl"
    words = ["--only", "simulation", "--state", str(state), "--seed", "4"]
    assert main([*words, "--count", "2"]) == 0 == main([*words, "--count", "3"])
    assert "3 conversations" in capsys.readouterr().out
    assert [json.loads(line)["seed"] for line in state.read_text().splitlines()] == [4, 7_923]
