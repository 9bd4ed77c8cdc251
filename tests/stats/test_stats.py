"""Statistics of model calls: what is stored for each turn, and what /stats and --stats show."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from core.chat.conversation import Chat
from core.config import Settings
from core.errors import ChatError, ProviderError, UsageError
from core.events import Event, MessageAdded, TextDelta, Waiting
from core.messages import Message, Text, Usage, user_message
from core.model_manager import Providers, Target, parse_target
from core.models.fallback import Chain
from core.retry_handler import RetryConfig
from core.session_manager import Session
from core.stats.failures import WORDS, Failure, failures
from core.stats.report import (days_between, quantile, read_since, short, sparkline, summarise,
                               table_rows, total_line, trouble)
from core.stats.turn_numbers import TurnNumbers, measured, origin
from core.store.rows import CallRow
from core.store.sqlite.store import SqliteStore
from db import open_store
from tests.fake_server import FakeOllama
from tests.pseudo_terminal import Terminal

Environment = dict[str, str]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(str(tmp_path / "sessions.db"))
    yield opened
    opened.close()


def calls_of(store: SqliteStore, server: FakeOllama, model: str, *fallbacks: str,
             stop_after: int = 0, **settings: object,
             ) -> list[CallRow]:
    """The numbers of one turn; `stop_after` closes it after that many events."""
    values = {"model": f"ollama/{model}", "ollama_host": server.url, "model_fallbacks": fallbacks,
              "retry_initial_delay": 0.0,
              "resume": False, **settings}
    made = Settings(values)

    async def run() -> None:
        chat = Chat(made, Session(store), Providers(made), parse_target(made.model),
                    open_session=lambda name: Session(store))
        seen = 0
        try:
            events = chat.turn(user_message("q"))
            async for _ in events:
                seen += 1
                if seen == stop_after:
                    await events.aclose()
                    break
        except ChatError:
            pass
        await chat.close()
    asyncio.run(run())
    return store.calls()


def essence(call: CallRow) -> tuple[object, ...]:
    return (call.model, call.input_tokens, call.output_tokens, call.retries, call.fallbacks,
            call.finish, call.error)


def test_a_whole_answer(store: SqliteStore, ollama: FakeOllama) -> None:
    (call,) = calls_of(store, ollama, "words-50")
    assert essence(call) == ("words-50", 7, 50, 0, 0, "stop", None)
    assert call.provider == "ollama" and call.host == ollama.url and call.cost is None
    assert (call.first is not None and 0 <= call.first <= call.seconds
            and call.speed == pytest.approx(50 / 0.02))
    assert call.session == store.sessions()[0].id


@pytest.mark.parametrize(("model", "finish", "error"), [
    ("missing", None, "model_not_found"), ("locked", None, "authentication"),
    ("cut-3", "truncated", "stream_broken"),
    ("error-3", "error", "overloaded"), ("overflow", None, "context_too_long"),
    ("forbidden", None, "authentication")])
def test_failures_count(store: SqliteStore, ollama: FakeOllama, model: str, finish: str | None,
                        error: str) -> None:
    (call,) = calls_of(store, ollama, model)
    assert essence(call) == (model, None, None, 0, 0, finish, error)


def test_retries_and_fallbacks_count(store: SqliteStore, ollama: FakeOllama) -> None:
    first, second, third = calls_of(store, ollama, "busy", "missing", "words-5")
    assert essence(first) == ("busy", None, None, 2, 0, None, "overloaded")
    assert essence(second) == ("missing", None, None, 0, 1, None, "model_not_found")
    assert essence(third) == ("words-5", 7, 5, 0, 2, "stop", None)


def test_a_resumed_answer_is_two_calls(store: SqliteStore, ollama: FakeOllama) -> None:
    calls = calls_of(store, ollama, "cut-3", "words-5", resume=True)
    assert [call.error for call in calls][0] == "stream_broken" and calls[0].finish == "truncated"
    assert calls[-1].error is None and calls[-1].finish == "stop" and len(calls) >= 2


def test_a_stopped_answer_counts(store: SqliteStore, ollama: FakeOllama) -> None:
    (call,) = calls_of(store, ollama, "slow", stop_after=2)
    assert (essence(call) == ("slow", None, None, 0, 0, "interrupted", None)
            and call.first is not None)


def test_the_host_is_the_one_that_answered(store: SqliteStore, ollama: FakeOllama) -> None:
    made = Settings({"model": "ollama/words-5"},
                    providers={"ollama": {"base_urls": ["http://127.0.0.1:1", ollama.url]}})

    async def run() -> None:
        chat = Chat(made, Session(store), Providers(made), parse_target(made.model),
                    open_session=lambda name: Session(store))
        async for _ in chat.turn(user_message("q")):
            pass
        await chat.close()
    asyncio.run(run())
    assert [call.host for call in store.calls()] == [ollama.url]


def test_prices_of_cloud_models_are_kept(store: SqliteStore) -> None:
    """Costs come from the table or the provider's own figure; local models cost nothing."""
    providers = Providers(Settings({}, environment={"OPENAI_API_KEY": "k"}))
    for name, usage, cost in (("openai/gpt-4o", Usage(1_000_000, 0), 2.5),
                              ("groq/x", Usage(5, 5, None, {"cost": 0.25}), 0.25),
                              ("ollama/gpt-4o", Usage(1_000_000, 0), None),
                              ("openai/unheard-of", Usage(1, 1), None)):
        target = parse_target(name)
        numbers = TurnNumbers(target, Chain((target,), providers, RetryConfig()), providers)
        numbers.note(MessageAdded(Message("assistant", (Text("a"),), name, usage, "stop")))
        (call,) = numbers.rows("s")
        assert call.cost == cost, name


def test_nothing_is_kept_without_saving(ollama: FakeOllama, program: list[str],
                                        environment: Environment, tmp_path: Path) -> None:
    subprocess.run([*program, "--no-save", "-m", "words-5", "q"], env=environment, check=True,
                   capture_output=True)
    assert not list(tmp_path.rglob("sessions.db"))


def test_every_round_of_tools_is_a_call(
        store: SqliteStore, ollama: FakeOllama, program: list[str],
        environment: Environment) -> None:
    place = str(Path(store.place))
    subprocess.run([*program, "--database-url", place, "-m", "tools", "--tools", "calculate", "q"],
                   env=environment, check=True,
                   capture_output=True, stdin=subprocess.DEVNULL)
    assert [call.finish for call in store.calls()] == ["tool_calls", "stop"]


def test_a_delta_costs_a_flag(ollama: FakeOllama) -> None:
    """The clock is not read after the first content."""
    ticks = 0

    def clock() -> float:
        nonlocal ticks
        ticks += 1
        return float(ticks)
    providers = Providers(Settings({"ollama_host": ollama.url}))
    numbers = TurnNumbers(Target("ollama", "m"),
                          Chain((Target("ollama", "m"),), providers, RetryConfig()), providers,
                          clock)

    async def events() -> AsyncGenerator[Event, None]:
        yield Waiting(1.0, "")
        for _ in range(1000):
            yield TextDelta("x")

    async def run() -> int:
        return len([event async for event in measured(events(), numbers, Session(None))])
    assert asyncio.run(run()) == 1001
    assert ticks == 2, "when the call began, and at its first content"


def test_the_host_is_an_origin() -> None:
    assert origin("https://user:secret@a.example:8443/v1?key=1") == "https://a.example:8443"
    assert origin("http://[::1]:11434") == "http://[::1]:11434" and origin("") == ""


# ---- the report

def row(model: str = "m", *, day: int = 0, error: str | None = None, **more: object) -> CallRow:
    base = CallRow(1_800_000_000.0 - day * 86400, "s", "p", model, "http://h", 0.1, 1.0, 10, 20,
                   None, 40.0, None, 0, 0,
                   None if error else "stop", error)
    return base._replace(**more)  # type: ignore[arg-type]  # the caller's own fields


def test_a_summary_by_model() -> None:
    entries = summarise([row(), row(day=1, cost=0.5, first=0.3, retries=2),
                         row(error="rate_limit", first=None), row("n"),
                         row("n", finish="interrupted")])
    many, few = entries
    assert (many.model, many.calls, many.errors["rate_limit"], many.cost,
            many.retries) == ("m", 3, 1, 0.5, 2)
    assert (few.model, few.calls, few.interrupted, few.cost) == ("n", 2, 1, None)
    assert trouble(many) == "1 rate limit, 2 retries" and trouble(few) == "1 stopped"
    assert len(many.days) == 2 and many.to_dict()["first_content_seconds"] == {"median": 0.1,
                                                                               "p90": 0.3}
    assert total_line(entries, 0.0).startswith("In all: 5 calls, 1 failed, 50 tokens in, 100 out, "
                                               "about $0.5000.")


def test_failures_and_what_became_of_them() -> None:
    """A failure is recovered if the same turn was answered later, by any model."""
    broken, limited = row(error="stream_broken"), row(error="rate_limit")
    entries = summarise([broken, row("n"), limited._replace(session="t"),
                         broken._replace(session="u"), row(session="u", finish="interrupted")])
    assert failures(entries) == [
        Failure("Broke off after the first word", "p/m", 2, 1, broken.created),
        Failure("Rate limit", "p/m", 1, 0, limited.created)]
    assert sum(entry.to_dict()["recovered"] for entry in entries) == 1


def test_every_failure_has_words() -> None:
    def kinds(error: type[ProviderError]) -> set[str]:
        return {error.kind}.union(*map(kinds, error.__subclasses__()))
    assert kinds(ProviderError) <= set(WORDS)


def test_quantiles() -> None:
    values = [float(number) for number in range(1, 11)]
    assert (quantile(values, 0.5), quantile(values, 0.9), quantile(values, 1.0)) == (5.0, 9.0, 10.0)
    assert quantile([], 0.5) is None and quantile([3.0], 0.9) == 3.0


def test_sparklines() -> None:
    assert sparkline([0, 1, 5, 10]) == "▁▂▃▇" and sparkline([]) == "" and sparkline([0, 0]) == "▁▁"
    assert len(sparkline(list(range(100)))) <= 14 and sparkline([0] * 99 + [1])[-1] == "▇"


def test_days_have_no_gaps() -> None:
    assert days_between("2026-02-27", "2026-03-02") == ["2026-02-27", "2026-02-28", "2026-03-01",
                                                        "2026-03-02"]
    assert days_between("2026-03-02", "2026-03-02") == ["2026-03-02"]
    today = time.strftime("%Y-%m-%d", time.localtime(1_800_000_000.0))
    (cells,) = table_rows(summarise([row(), row(day=3), row(day=3)]), today)
    assert cells[7] == "▇▁▁▃"


def test_spans_of_time() -> None:
    assert (read_since("", 100.0) == 0.0 and read_since("1h", 3700.0) == 100.0
            and read_since("2w", 2e6) == 2e6 - 14 * 86400)
    assert time.strftime("%Y-%m-%d", time.localtime(read_since("2026-11-21", 0.0))) == "2026-11-21"
    for text in ("soon", "7", "-1d", "2026-13-01"):
        with pytest.raises(UsageError):
            read_since(text, 0.0)


def test_short_numbers() -> None:
    assert [short(count) for count in (0, 9_999, 12_345, 4_600_000)] == ["0", "9,999", "12.3k",
                                                                         "4.6M"]


# ---- the whole program

def test_stats_in_a_pipe_and_as_json(ollama: FakeOllama, program: list[str],
                                     environment: Environment) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*program, *arguments], env=environment, capture_output=True,
                              text=True, stdin=subprocess.DEVNULL)
    assert run("--stats").stderr == "No model has been called yet.\n"
    run("-m", "words-5", "q")
    run("-m", "missing", "q")
    lines = run("--stats", "--since", "1d").stdout.splitlines()
    assert lines[0].split()[:2] == ["model", "calls"] and len(lines) >= 3
    assert ("ollama/missing" in lines[1] and "1 model not found" in lines[1]
            and "\x1b" not in lines[1])
    found = json.loads(run("--stats", "--json").stdout)
    assert found["since"] is None
    assert [(entry["model"], entry["calls"], entry["errors"]) for entry in found["models"]] == [
        ("missing", 1, {"model_not_found": 1}), ("words-5", 1, {})]
    assert run("--stats", "--since", "soon").returncode == 2


def test_stats_in_a_chat(ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    with Terminal([*program, "-m", "words-5"], environment, columns=120) as chat:
        chat.ask("q", "w0 w1 w2 w3 w4")
        shown = chat.ask("/stats 7d", "1 call, 0 failed")
        assert "ollama/words-5" in shown and "▇" in shown


def test_numbers_outlive_a_store_that_is_read_again(store: SqliteStore, ollama: FakeOllama) -> None:
    calls_of(store, ollama, "words-5")
    again = open_store(store.place)
    assert again.calls() == store.calls()
    again.close()


def test_numbers_that_no_store_can_keep_do_not_end_a_turn(store: SqliteStore) -> None:
    target, providers = parse_target("openai/gpt-4o"), Providers(Settings({}))
    numbers = TurnNumbers(target, Chain((target,), providers, RetryConfig()), providers)
    numbers.note(MessageAdded(Message("assistant", (Text("x"),), "openai/gpt-4o",
                                      Usage(10 ** 30, 1), "stop")))
    numbers.save("s", store)
    assert store.calls() == []
