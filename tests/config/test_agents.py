"""Agents in the configuration: model, system prompt, options and tools under one name."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.config.agents import MAY_SET, agent_values, described
from core.errors import UsageError
from tests.fake_server import FakeOllama
from tests.pseudo_terminal import Terminal

Environment = dict[str, str]
FILE = """
model: words-5
agents:
  pirate: {model: words-3, system: You are a pirate, temperature: 0.1, tools: [calculate]}
  monk: {system_prompt: You are a monk, fallbacks: [ollama/words-9]}
"""


@pytest.fixture
def ollama(environment: Environment, tmp_path: Path) -> Iterator[FakeOllama]:
    (tmp_path / "agents.yaml").write_text(FILE)
    environment["STREAM_CHAT_CONFIG"] = str(tmp_path / "agents.yaml")
    with FakeOllama() as server:
        environment["OLLAMA_HOST"] = server.url
        yield server


def run(program: list[str], environment: Environment,
        *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*program, *words], env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True,
                          timeout=120)


def test_as_an_agent(ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    done = run(program, environment, "--as", "pirate", "hi")
    asked = ollama.chats[-1].json
    assert (done.returncode == 0 and asked["model"] == "words-3"
            and asked["options"] == {"temperature": 0.1}), done.stderr
    assert asked["messages"][0] == {"role": "system", "content": "You are a pirate"}
    assert [tool["function"]["name"] for tool in asked["tools"]] == ["calculate"]
    assert run(program, environment, "-c", "again").returncode == 0
    assert ollama.chats[-1].json["messages"][0]["content"] == "You are a pirate"
    run(program, environment, "--as", "pirate", "--temperature", "0.9", "hi")
    assert ollama.chats[-1].json["options"] == {"temperature": 0.9}
    unknown = run(program, environment, "--as", "nobody", "hi")
    assert unknown.returncode == 2 and "pirate" in unknown.stderr
    assert "You are a monk" in run(program, environment, "--list-agents").stdout


def test_a_chat_becomes_one(ollama: FakeOllama, program: list[str],
                            environment: Environment) -> None:
    with Terminal(program, environment, columns=120) as chat:
        chat.ask("/as", "You are a pirate")
        chat.ask("/as pirate", "pirate responds from the next message on: ollama/words-3")
        chat.ask("hi", "w2")
        asked = ollama.chats[-1].json
        assert asked["model"] == "words-3" and asked["messages"][0]["content"] == "You are a pirate"
        assert asked["options"] == {"temperature": 0.1} and len(asked["tools"]) == 1


@pytest.mark.parametrize("entry",
                         [{"database_url": "x"}, {"allow": ["run"]}, {"temperature": "hot"},
                          {"temperature": 9}, "words", 5])
def test_what_an_agent_cannot_set_is_refused(entry: object) -> None:
    with pytest.raises(UsageError):
        agent_values({"x": entry}, "x")


def test_an_agent_sets_only_what_a_question_needs() -> None:
    assert not MAY_SET & {"allow", "tools_file", "mcp_servers", "base_url", "databases",
                          "database_url"}


def test_a_description_is_shown_and_case_does_not_matter() -> None:
    agents = {"Reviewer": {"system": "Review.", "description": "Reviews code"}, 7: {"seed": 1}}
    assert agent_values(agents, "reviewer") == {"system": "Review."}
    assert agent_values(agents, "7") == {"seed": 1}
    assert described(agents["Reviewer"]) == ("", "Reviews code", "")
    both = {"Clerk": {"seed": 1}, "clerk": {"seed": 2}}
    assert agent_values(both, "clerk") == {"seed": 2}
    with pytest.raises(UsageError, match="There is no agent 'CLERK'"):
        agent_values(both, "CLERK")


def test_the_next_agent_has_nothing_of_the_one_before(ollama: FakeOllama, program: list[str],
                                                      environment: Environment) -> None:
    for start in ([], ["--as", "pirate"]):
        with Terminal([*program, "--top-p", "0.5", *start], environment, columns=120) as chat:
            if not start:
                chat.ask("/as pirate", "pirate responds from the next message on: ollama/words-3")
            chat.ask("/as monk", "monk responds from the next message on: ollama/words-5")
            chat.ask("hi", "w4")
            asked = ollama.chats[-1].json
            assert asked["messages"][0]["content"] == "You are a monk"
            assert asked["options"] == {"top_p": 0.5} and not asked.get("tools"), start
