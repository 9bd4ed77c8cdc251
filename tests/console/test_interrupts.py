"""Signals in a chat: Ctrl-C stops only the reply, any number of times; other signals end the
program cleanly.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.console.interrupts import Interrupted, Interrupts, Terminated
from tests.fake_server import MODELS, FakeOllama, Received, fake_word, fake_words
from tests.pseudo_terminal import CTRL_C, CTRL_D, Terminal

Environment = dict[str, str]


@pytest.fixture
def ollama(environment: Environment) -> Iterator[FakeOllama]:
    with FakeOllama(models=("words-5", *MODELS)) as server:
        environment["OLLAMA_HOST"] = server.url
        yield server


@pytest.fixture(autouse=True)
def no_alarm_left() -> Iterator[None]:
    """Cancel the timer that a program sets when it must end: this process does not end."""
    yield
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)


def chats(server: FakeOllama) -> list[Received]:
    return server.chats


def stored(environment: Environment) -> list[tuple[str, str]]:
    path = Path(environment["HOME"], ".local/share/stream-chat/sessions.db")
    return sqlite3.connect(path).execute("SELECT role, state FROM messages ORDER BY id").fetchall()


def test_ctrl_c_keeps_what_came_and_the_next_turn_builds_on_it(
        ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    with Terminal([*program, "-m", "words-500@50"], environment) as chat:
        chat.say("go")
        chat.wait(r"^w0 w1 w2 w3")
        chat.interrupt()
        pressed = time.monotonic()
        chat.wait("Stopped")
        assert time.monotonic() - pressed < 5
        chat.wait_prompt()
        request = chats(ollama)[-1]
        assert (request.done.wait(10)
                and request.outcome == "client_left"), "the server must not go on computing"
        chat.ask("/model words-5", "now ollama/words-5")
        chat.ask("and now", "^w0 w1 w2 w3 w4$")
        sent = chats(ollama)[-1].json["messages"]
        assert [message["role"] for message in sent] == ["user", "assistant", "user"]
        shown = chat.text().split("\u203a go\n")[1].split("^C")[0].split(
            "\u00b7 Stopped")[0].split()
        assert sent[1]["content"].split()[:len(shown)] == shown
        assert fake_words(500).startswith(sent[1]["content"])
    assert stored(environment) == [("user", "complete"), ("assistant", "interrupted"),
                                   ("user", "complete"), ("assistant", "complete")]


def test_twenty_interrupts_in_a_row(ollama: FakeOllama, program: list[str],
                                    environment: Environment) -> None:
    with Terminal([*program, "-m", "slow"], environment, lines=60) as chat:
        for number in range(1, 21):
            chat.say(f"turn {number}")
            chat.wait(r"^w0", number)
            chat.interrupt()
            chat.wait("Stopped", number)
        chat.wait_prompt()
        assert all(request.done.wait(10) and request.outcome == "client_left"
                   for request in chats(ollama))
        assert len(chats(ollama)) == 20 and len(chats(ollama)[-1].json["messages"]) == 39
        chat.send(CTRL_D)
        assert chat.exit_status() == 0
        chat.check_restored()
    assert stored(environment) == [("user", "complete"), ("assistant", "interrupted")] * 20


def test_ctrl_c_before_the_first_word(ollama: FakeOllama, program: list[str],
                                      environment: Environment) -> None:
    with Terminal([*program, "-m", "stall-0"], environment) as chat:
        chat.say("go")
        request = ollama.wait_for()
        time.sleep(0.1)
        chat.interrupt()
        chat.wait("Stopped")
        chat.wait_prompt()
        assert request.done.wait(10) and request.outcome == "client_left"
        chat.ask("/model words-5", "now ollama/words-5")
        chat.ask("again", "^w0 w1 w2 w3 w4$")


def test_ctrl_c_in_a_wait_between_attempts(ollama: FakeOllama, program: list[str],
                                           environment: Environment) -> None:
    with Terminal([*program, "-m", "busy", "--retry-initial-delay", "60", "--retry-max-delay",
                   "60"], environment, columns=40) as chat:
        chat.say("go")
        chat.wait(r"^\u25b8 [^\n]*\u2026 Attempt 2 in \d+ s")    # what is cut is marked
        chat.interrupt()
        chat.wait("Stopped")
        chat.wait_prompt()


def test_a_double_ctrl_c_stops_once(ollama: FakeOllama, program: list[str],
                                    environment: Environment) -> None:
    """The second one arrives while the first is being handled, or just after the prompt is back.

    It must not end the chat.
    """
    with Terminal([*program, "-m", "slow"], environment) as chat:
        for number, gap in enumerate((0.0, 0.002, 0.005, 0.01, 0.02, 0.2), 1):
            chat.say("go")
            chat.wait("^w0", number)
            chat.interrupt()
            time.sleep(gap)
            chat.interrupt()
            chat.wait("Stopped", number)
            time.sleep(0.2)
            while chat.read(0):
                pass
            chat.send("/model words-5\r")
            chat.wait("now ollama/words-5", number)
            chat.ask("/model slow", "now ollama/slow", number)
        assert "Traceback" not in chat.text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("place", ["in a reply", "at the prompt", "before the first word"])
def test_a_signal_that_ends(ollama: FakeOllama, program: list[str], environment: Environment,
                            number: int, place: str) -> None:
    with Terminal([*program, "-m", "stall-0" if place == "before the first word" else "slow"],
                  environment) as chat:
        chat.wait_prompt()
        if place != "at the prompt":
            chat.say("go")
            ollama.wait_for()
        if place == "in a reply":
            chat.wait("^w0")
        chat.child.send_signal(number)
        assert chat.exit_status() == 128 + number
        chat.check_restored()
        assert "Traceback" not in chat.text()
    if place == "in a reply":
        assert stored(environment) == [("user", "complete"), ("assistant", "interrupted")]
        request = ollama.wait_for()
        assert request.done.wait(10) and request.outcome == "client_left"


@pytest.mark.parametrize("place", ["in a reply", "at the prompt"])
def test_a_window_that_is_closed(ollama: FakeOllama, program: list[str], environment: Environment,
                                 tmp_path: Path,
                                 place: str) -> None:
    told = tmp_path / "told"
    with (told.open("wb") as stderr,
          Terminal([*program, "-m", "slow"], environment, stderr=stderr) as chat):
        chat.wait_prompt()
        if place == "in a reply":
            chat.say("go")
            chat.wait("^w0")
        chat.hang_up()
        assert chat.child.wait(20) in (0, 1, 129)
    if place == "in a reply":
        assert b"Traceback" not in told.read_bytes()
    if place == "in a reply":
        assert stored(environment) == [("user", "complete"), ("assistant", "interrupted")]


def test_ctrl_c_while_a_model_is_fetched(ollama: FakeOllama, program: list[str],
                                         environment: Environment) -> None:
    with Terminal([*program, "-m", "no-such"], environment) as chat:
        chat.say("go")
        chat.wait(r"\[y/N\]")
        chat.interrupt()
        chat.wait_prompt()
        chat.ask("/model words-5", "now ollama/words-5")


def test_words_shown_after_an_interrupt_are_those_that_are_kept(
        ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    with Terminal([*program, "-m", "words-500@200"], environment) as chat:
        chat.say("go")
        chat.wait(r"w9\b")
        chat.interrupt()
        chat.wait("Stopped")
        chat.send(CTRL_D)
        chat.exit_status()
        shown = chat.text().split("\u203a go\n")[1].replace(CTRL_C,
                                                            "").split("\u00b7 Stopped")[0].replace(
                                                                "^C", " ").split()
    path = Path(environment["HOME"], ".local/share/stream-chat/sessions.db")
    rows = sqlite3.connect(path).execute("SELECT parts FROM messages WHERE role = "
                                         "'assistant'").fetchall()
    text = "".join(part["text"] for (parts,) in rows
                   for part in json.loads(parts) if part["type"] == "text")
    assert text.split()[:len(shown)] == shown and shown[0] == fake_word(0)


# ---- the unit

def test_results_and_errors_pass_through() -> None:
    async def answer() -> int:
        return 7

    async def fail() -> None:
        raise LookupError("own")
    interrupts = Interrupts()
    try:
        assert interrupts.run(answer()) == 7
        with pytest.raises(LookupError):
            interrupts.run(fail())
    finally:
        interrupts.close()


@pytest.mark.parametrize("fails", [False, True])
def test_a_signal_that_comes_at_the_end_of_what_runs_still_ends_the_program(fails: bool) -> None:
    """The task has finished before it can be cancelled; the cleanup afterwards is completed."""
    async def finish() -> int:
        signal.raise_signal(signal.SIGTERM)
        if fails:
            raise LookupError("own")
        return 7

    async def close() -> str:
        await asyncio.sleep(0)
        return "closed"
    interrupts = Interrupts()
    try:
        with pytest.raises(Terminated) as raised:
            interrupts.run(finish())
        assert raised.value.code == 128 + signal.SIGTERM
        assert interrupts.run(close()) == "closed"
    finally:
        interrupts.close()


def test_an_end_that_a_library_swallows_while_a_line_is_read_is_asked_for_again() -> None:
    interrupts = Interrupts()
    try:
        with pytest.raises(Terminated) as raised, interrupts.reading():
            with contextlib.suppress(Terminated):
                signal.raise_signal(signal.SIGTERM)
            threading.Event().wait(60)
        assert raised.value.code == 128 + signal.SIGTERM
        with pytest.raises(Terminated), interrupts.reading():
            pytest.fail("nothing is read once the program is to end")
    finally:
        interrupts.close()


@pytest.mark.parametrize("number, expected",
                         [(signal.SIGINT, Interrupted), (signal.SIGTERM, Terminated)])
def test_a_signal_cancels_what_runs_and_its_cleanup_is_done(number: signal.Signals,
                                                            expected: type[BaseException]) -> None:
    cleaned = []

    async def wait() -> None:
        try:
            asyncio.get_running_loop().call_later(0.01, signal.raise_signal, number)
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    interrupts = Interrupts()
    try:
        with pytest.raises(expected) as raised:
            interrupts.run(wait())
    finally:
        interrupts.close()
    assert cleaned == [True]
    assert before == [signal.getsignal(each)
                      for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    if isinstance(raised.value, Terminated):
        assert raised.value.code == 143


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer that sends a signal")
def test_a_signal_ends_a_program_whose_terminal_nobody_reads(
        ollama: FakeOllama, program: list[str], environment: Environment,
        number: signal.Signals) -> None:
    with Terminal([*program, "-m", "words-20000"], environment) as chat:
        chat.say("go")
        chat.wait("^w0 w1 w2 w3")
        await_full(chat)
        chat.child.send_signal(number)
        assert chat.child.wait(20) == 128 + number
        assert chat.modes() == chat.modes_before
    assert (stored(environment)[0] == ("user", "complete")
            and stored(environment)[1][0] == "assistant")


def await_full(chat: Terminal) -> None:
    """Write until the terminal accepts no more for a while."""
    limit, full = time.monotonic() + 20, 0
    while full < 10:
        assert time.monotonic() < limit, "the terminal takes everything"
        full = 0 if select.select([], [chat.slave], [], 0)[1] else full + 1
        time.sleep(0.05)


def test_ctrl_c_stops_only_the_part_that_is_stoppable() -> None:
    interrupts = Interrupts()

    async def part() -> None:
        signal.raise_signal(signal.SIGINT)
        await asyncio.Event().wait()

    async def rest() -> str:
        try:
            await interrupts.stoppable(part())
        except Interrupted:
            pass
        await asyncio.sleep(0)
        return "continued"

    try:
        assert interrupts.run(rest()) == "continued"
    finally:
        interrupts.close()


def test_a_signal_that_ends_the_program_is_not_stopped_at_a_part() -> None:
    interrupts = Interrupts()

    async def part() -> None:
        signal.raise_signal(signal.SIGTERM)
        await asyncio.Event().wait()

    try:
        with pytest.raises(Terminated):
            interrupts.run(interrupts.stoppable(part()))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        interrupts.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_as_the_work_ends_leaves_the_loop_in_order(number: signal.Signals) -> None:
    """If the task has finished and the loop still runs, an exception would leave a callback that
    stops the next run.
    """
    async def end_with_a_signal() -> int:
        asyncio.get_running_loop().call_soon(signal.raise_signal, number)
        return 1

    async def work() -> int:
        await asyncio.sleep(0.01)
        return 2
    interrupts = Interrupts()
    try:
        if number == signal.SIGINT:
            assert interrupts.run(end_with_a_signal()) == 1
        else:
            with pytest.raises(Terminated):
                interrupts.run(end_with_a_signal())
        assert interrupts.run(work()) == 2
    finally:
        interrupts.close()


def test_ctrl_c_between_a_part_and_the_rest_stops_the_rest() -> None:
    async def part() -> None:
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)

    async def whole(interrupts: Interrupts) -> None:
        await interrupts.stoppable(part())
        await asyncio.sleep(60)
    interrupts = Interrupts()
    try:
        with pytest.raises(Interrupted):
            interrupts.run(whole(interrupts))
    finally:
        interrupts.close()
