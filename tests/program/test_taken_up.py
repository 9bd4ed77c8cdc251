"""A program that is killed while a server answers resumes the same answer later.

STREAM_CHAT_TEST_KILLS sets how many are killed for each server (3 otherwise),
STREAM_CHAT_TEST_SEED the seed.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.fake_server import Answer, FakeServer, Stall
from tests.faulty_proxy import TEXT, wire
from tests.kept_answers import BackgroundServer, KeptAnswers, LlamaServer
from tests.pseudo_terminal import Terminal

Environment = dict[str, str]
pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]
KILLS = int(os.environ.get("STREAM_CHAT_TEST_KILLS", "") or 3)
SEED = int(os.environ.get("STREAM_CHAT_TEST_SEED", "") or random.randrange(1 << 32))
FLAGS = {"llamacpp": (), "openai-responses": ("--option", "background=true")}
TOKENS = {"llamacpp": len(wire("openai", TEXT).texts),
          "openai-responses": len(wire("openai-responses", TEXT).texts)}
SERVERS: dict[str, type[KeptAnswers]] = {"llamacpp": LlamaServer,
                                         "openai-responses": BackgroundServer}


def stops_once(server: KeptAnswers, chance: random.Random) -> None:
    """The first connection sends at least half of the answer, and then nothing more."""
    plain, asked = server.part, list[int]()

    def part(data: bytes) -> Answer:
        if asked:
            return plain(data)
        asked.append(1)
        return Answer([data[:chance.randrange(len(data) // 2, len(data) - 300)], Stall()],
                      content_type=server.type)
    server.part = part  # type: ignore[method-assign]


def killed(words: list[str], environment: Environment, chance: random.Random) -> str:
    """Kill the program when it has shown something; return what it has shown."""
    shown = b""
    with subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as program:
        assert program.stdout is not None
        wanted = chance.randrange(1, 200)
        while len(shown) < wanted and (more := os.read(program.stdout.fileno(), 64)):
            shown += more
        program.kill()
        shown += program.stdout.read()
    return shown.decode("utf-8", "ignore")


def replies(environment: Environment) -> list[str]:
    """The text of each answer, oldest first."""
    database = Path(environment["HOME"]) / ".local/share/stream-chat/sessions.db"
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "SELECT parts FROM messages WHERE role = 'assistant' ORDER BY id").fetchall()
    return ["".join(part.get("text", "") for part in json.loads(parts)) for parts, in rows]


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_program_takes_the_answer_up_again(
        name: str, number: int, program: list[str], environment: Environment) -> None:
    chance = random.Random(SEED + number)
    print(f"STREAM_CHAT_TEST_SEED={SEED}")
    server = SERVERS[name](chance)
    assert finished_after_a_kill(name, server, program, environment, chance) == TEXT
    assert (server.asked, server.written) == (1, TOKENS[name])
    print("\ncounted: 1 programs killed in mid-answer")


def test_a_server_that_was_restarted_is_asked_to_continue(program: list[str],
                                                          environment: Environment) -> None:
    chance = random.Random(SEED)
    print(f"STREAM_CHAT_TEST_SEED={SEED}")
    server = LlamaServer(chance, forgets=True)
    assert finished_after_a_kill("llamacpp", server, program, environment, chance) == TEXT
    assert server.asked == 2


def finished_after_a_kill(name: str, server: KeptAnswers, program: list[str],
                          environment: Environment, chance: random.Random) -> str:
    """The text of the answer that is saved in the end."""
    stops_once(server, chance)
    with FakeServer(server) as real:
        at = ["-p", name, "--base-url", real.url, "-m", "m", *FLAGS[name]]
        shown = killed([*program, *at, "Go."], environment | {"OPENAI_API_KEY": "k"}, chance)
        assert shown and TEXT.startswith(shown)
        with Terminal([*program, *at, "-c"], environment | {"OPENAI_API_KEY": "k"}) as chat:
            chat.wait_prompt()
            chat.ask("/continue", TEXT.split()[-1])
    return "".join(replies(environment))
