"""Pools: models under one name that share the load, across providers and programs."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from core.config import Settings
from core.errors import (BadRequest, ConnectFailed, Overloaded, ProviderError,
                         UsageError)
from core.events import Delta, Notice, TextDelta
from core.model_manager import Providers, Target, build_model_list, find_target, pool_entry
from core.models.fallback import chain_of
from core.models.pool import REST, Pool
from core.providers.loads import Load, Loads
from tests.conftest import NOTHING_LISTENS
from tests.fake_server import FakeOllama
from tests.waiting import wait_until

MEMBERS = ["one/words-3", "two/words-3", "three/words-3"]


@pytest.fixture
def three(tmp_path: Path, environment: dict[str, str]) -> Iterator[list[FakeOllama]]:
    """Three servers, and a configuration with one provider for each and a pool of all."""
    with ExitStack() as stack:
        servers = [stack.enter_context(FakeOllama()) for _ in range(3)]
        urls = dict(zip(("one", "two", "three"), [server.url for server in servers]))
        write(environment, urls, {"members": MEMBERS})
        yield servers


def write(environment: dict[str, str], urls: dict[str, str], pool: Any) -> None:
    providers = {name: {"dialect": "ollama", "base_url": url} for name, url in urls.items()}
    path = Path(environment["HOME"], "config.json")
    path.write_text(json.dumps({"providers": providers, "pools": {"fast": pool}}))
    environment["STREAM_CHAT_CONFIG"] = str(path)


def ask(program: list[str], environment: dict[str, str], *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [*program, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout, done.stderr


def asked(servers: list[FakeOllama]) -> list[int]:
    return [len(server.chats) for server in servers]


def test_one_shots_at_once_are_spread(
    three: list[FakeOllama], program: list[str], environment: dict[str, str]
) -> None:
    """Programs share their load records: two answers from each of three servers."""
    write(
        environment,
        dict(zip(("one", "two", "three"), [server.url for server in three])),
        {"members": [member.replace("words-3", "slow") for member in MEMBERS]},
    )
    running = []
    for number in range(6):
        running.append(
            subprocess.Popen(
                [*program, "-m", "fast", "q"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        )
        wait_until(lambda: sum(asked(three)) > number)  # each has begun before the next one looks
    spread = asked(three)
    for each in running:
        each.kill()
        each.wait(60)
    assert spread == [2, 2, 2]


def test_one_after_the_other_take_turns(
    three: list[FakeOllama], program: list[str], environment: dict[str, str]
) -> None:
    for _ in range(3):
        assert ask(program, environment, "-m", "pool/fast", "q")[0] == 0
    assert asked(three) == [1, 1, 1]


def test_a_member_that_is_away_is_passed_over_also_by_the_next_program(
    three: list[FakeOllama], program: list[str], environment: dict[str, str]
) -> None:
    write(
        environment,
        {"one": NOTHING_LISTENS, "two": three[1].url, "three": three[2].url},
        ",".join(MEMBERS),
    )
    code, out, said = ask(program, environment, "-m", "fast", "--retry-max-attempts", "1", "q")
    assert code == 0 and out == "w0 w1 w2\n" and "one/words-3" in said
    for _ in range(2):
        code, out, said = ask(program, environment, "-m", "fast", "q")
        assert (code, out, said) == (0, "w0 w1 w2\n", "")


def test_the_session_keeps_the_pool(
    three: list[FakeOllama], program: list[str], environment: dict[str, str]
) -> None:
    assert ask(program, environment, "-m", "fast", "q")[0] == 0
    assert ask(program, environment, "-c", "and then?")[0] == 0
    assert sum(count > 0 for count in asked(three)) == 2, (
        "the second question went to another member"
    )
    path = Path(environment["HOME"], ".local/share/stream-chat/sessions.db")
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT model FROM sessions").fetchall() == [("pool/fast",)]
    answers = {
        row[0] for row in connection.execute("SELECT model FROM messages WHERE role = 'assistant'")
    }
    assert len(answers) == 2 and answers <= set(MEMBERS), "who answered is recorded"


def test_it_is_listed(
    three: list[FakeOllama], program: list[str], environment: dict[str, str]
) -> None:
    code, out, _ = ask(program, environment, "--list-providers", "--json")
    row = next(row for row in json.loads(out) if row["provider"] == "pool/fast")
    assert code == 0 and all(member in row["members"] for member in MEMBERS)


def settings(pool: Any, **more: Any) -> Settings:
    return Settings(
        {"pools": {"fast": pool}, "save": False, **more}, environment={"HOME": "/nowhere"}
    )


@pytest.mark.parametrize(
    "pool",
    [
        None,
        "",
        [],
        {},
        7,
        {"members": []},
        {"members": 7},
        {"members": ["a"], "prefer": "luck"},
        {"members": ["groq/"]},
        {"members": ["pool/fast"]},
        {"members": ["fast"]},
        {"members": ["a"], "weights": [1]},
        {"prefer": "cost"},
    ],
)
def test_a_pool_that_cannot_be_read_is_refused_with_the_form(pool: Any) -> None:
    with pytest.raises(UsageError) as raised:
        pool_entry("fast", settings(pool))
    assert "pool" in raised.value.message and raised.value.hint


def test_names() -> None:
    given = settings({"members": "groq/x, openai/y"}, model="fast", model_fallbacks=("ollama/z",))
    assert find_target("fast", given) == find_target("pool/fast", given) == Target("pool", "fast")
    assert [str(target) for target in build_model_list(given)] == ["groq/x", "openai/y", "ollama/z"]
    with pytest.raises(UsageError, match="There is no pool 'slow'"):
        pool_entry("slow", given)


def order(prefer: str, loads: Loads) -> list[str]:
    given = settings(
        {"members": ["groq/openai/gpt-oss-120b", "openai/gpt-4o", "llamacpp/m"], "prefer": prefer}
    )
    providers = Providers(given)
    providers.loads = loads
    chain = chain_of(given, providers, Target("pool", "fast"), [])
    assert chain.chosen == Target("pool", "fast")
    return [target.provider for target in chain.targets]


def test_what_decides() -> None:
    now = [1_000.0]
    loads = Loads(clock=lambda: now[0])
    assert order("cost", loads) == ["llamacpp", "groq", "openai"], "what runs here costs nothing"
    for name, seconds in (
        ("groq/openai/gpt-oss-120b", 2.0),
        ("openai/gpt-4o", 1.0),
        ("llamacpp/m", 4.0),
    ):
        loads.begin(name)
        loads.end(name, seconds)
    assert order("speed", loads) == ["openai", "groq", "llamacpp"]
    loads.begin("openai/gpt-4o")
    loads.begin("openai/gpt-4o")
    assert order("speed", loads) == ["groq", "openai", "llamacpp"], (
        "three at a time are three times as slow"
    )
    assert order("load", loads) == ["groq", "llamacpp", "openai"]
    loads.note_down("groq/openai/gpt-oss-120b", 60)
    assert (
        order("load", loads) == ["llamacpp", "openai", "groq"]
        and order("cost", loads)[-1] == "groq"
    )
    now[0] += 61
    assert order("load", loads) == ["groq", "llamacpp", "openai"]


# ---- what programs remember together


@pytest.mark.processes
def test_loads_are_shared_and_those_of_dead_programs_are_forgotten(tmp_path: Path) -> None:
    path = str(tmp_path / "cache" / "loads.json")
    one, two = Loads(path), Loads(path)
    one.begin("a")
    two.begin("a")
    assert one.look()["a"].busy == two.look()["a"].busy == 2
    one.end("a", 1.0)
    assert two.look()["a"].busy == 1 and 0.9 < two.look()["a"].seconds <= 1.0
    stored = json.loads(Path(path).read_text())
    gone = subprocess.run(["true"], check=True) and 2**22 + 7  # above the largest process number
    stored["a"]["busy"].append([gone, stored["a"]["last"]])
    stored["a"]["busy"].append([os.getpid(), stored["a"]["last"] - 7_200])
    Path(path).write_text(json.dumps(stored))
    assert one.look()["a"].busy == 1


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[",
        "[1]",
        "null",
        '{"a": 1}',
        '{"a": {}}',
        '{"a": {"busy": [[1]]}}',
        '{"a": {"busy": 7, "seconds": null}}',
        "\udce9",
    ],
)
def test_a_file_of_loads_that_makes_no_sense_is_begun_anew(tmp_path: Path, content: str) -> None:
    path = tmp_path / "loads.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    loads = Loads(str(path))
    assert loads.look() == {}
    loads.begin("a")
    loads.end("a", 0.5)
    assert loads.look()["a"].seconds == pytest.approx(0.5, rel=0.05)


def test_where_nothing_can_be_written_nothing_fails() -> None:
    loads = Loads("/proc/none/loads.json")
    loads.begin("a")
    loads.end("a", None)
    loads.note_down("a", 5)
    assert loads.look().get("a", Load()) == Load()


def test_a_load_ends_and_a_rest_too() -> None:
    now = [1_000.0]
    loads = Loads(clock=lambda: now[0])
    loads.begin("a")
    loads.begin("a")
    loads.end("a", None)
    assert loads.look()["a"].busy == 1
    loads.end("a", 2.0)
    loads.end("a", None)
    assert loads.look()["a"].busy == 0 and loads.look()["a"].seconds == 2.0
    loads.note_down("a", REST)
    now[0] += REST - 1
    assert loads.look()["a"].down
    now[0] += 1
    assert not loads.look()["a"].down


def test_a_file_of_loads_makes_its_folder_and_knows_who_runs(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "loads.json"
    loads = Loads(str(path))
    loads.begin("a")
    stored = json.loads(path.read_text())
    assert Loads(str(path)).look()["a"].busy == 1
    for process, busy in ((1, 2), (2**22 + 7, 1), (2**80, 2)):  # runs; does not; no number
        stored["a"]["busy"][1:] = [[process, stored["a"]["last"]]]
        path.write_text(json.dumps(stored))
        assert Loads(str(path)).look()["a"].busy == busy, process


def test_speed_counts_what_runs_and_load_only_tenths_of_a_second() -> None:
    now = [1_000.0]
    loads = Loads(clock=lambda: now[0])
    groq, openai, here = "groq/openai/gpt-oss-120b", "openai/gpt-4o", "llamacpp/m"
    for name, seconds in ((groq, 1.0), (openai, 1.9), (here, 9.0)):
        loads.begin(name)
        loads.end(name, seconds)
    loads.begin(groq)
    assert order("speed", loads)[:2] == ["openai", "groq"], "2 s against 1.9 s"
    loads = Loads(clock=lambda: now[0])
    for name, seconds in ((groq, 1.04), (openai, 1.02), (here, 1.03)):
        now[0] += 1e-6
        loads.begin(name)
        loads.end(name, seconds)
    assert order("load", loads) == ["groq", "openai", "llamacpp"], "the least recent first"


@pytest.mark.parametrize("error, begun, left, rests", [
    (ConnectFailed("away"), False, 0, True), (Overloaded("busy"), False, 0, True),
    (BadRequest("no"), False, 0, False), (Overloaded("busy"), True, 0, False),
    (ConnectFailed("away"), False, 1, False)])
def test_a_member_rests_after_what_may_pass(error: ProviderError, begun: bool, left: int,
                                            rests: bool) -> None:
    now = [1_000.0]
    pool = Pool(Target("pool", "fast"), (Target("groq", "x"),), "load",
                Loads(clock=lambda: now[0]), lambda member: 0.0)
    error.hosts_left = left

    async def stream() -> AsyncGenerator[Delta | Notice, None]:
        if begun:
            yield TextDelta("a")
        raise error

    async def read() -> None:
        async for _ in pool.counted(Target("groq", "x"), stream()):
            pass
    with pytest.raises(type(error)):
        asyncio.run(read())
    load = pool.loads.look()["groq/x"]
    assert load.down == rests and load.busy == 0
