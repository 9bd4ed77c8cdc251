"""Settings of a conversation are restored with it: system prompt, options and tools belong to the
session.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from core.chat.kept import KEPT, kept_settings, read_kept, with_kept
from core.config import BY_NAME, Settings
from core.model_manager import Target
from core.models.of_session import session_target
from tests.fake_server import FakeOllama
from tests.pseudo_terminal import CTRL_D, Terminal

Environment = dict[str, str]


def ask(program: list[str], environment: Environment,
        *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*program, "-m", "words-5", *words], env=environment,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done


def last_request(server: FakeOllama) -> Mapping[str, Any]:
    return [request for request in server.requests if request.path == "/api/chat"][-1].json


def system_of(request: Mapping[str, Any]) -> str:
    return "".join(message["content"]
                   for message in request["messages"] if message["role"] == "system")


def test_a_session_keeps_its_system_prompt_options_and_tools(
        ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    ask(program, environment, "--system", "You are a pirate", "--temperature", "0.1",
        "--experimental", "one")
    first = last_request(ollama)
    done = ask(program, environment, "-c", "two")
    second = last_request(ollama)
    assert (system_of(second) == "You are a pirate" and second["options"] == first["options"]
            and second["tools"] == first["tools"])
    assert "You are a pirate" in done.stderr and "temperature 0.1" in done.stderr
    fresh = ask(program, environment, "three")
    assert (system_of(last_request(ollama)) == "" and "tools" not in last_request(ollama)
            and fresh.stderr == "")


OWN_TOOL = """
from core.tools import tool

@tool(safe=True)
def my_own_tool(n: int) -> str:
    \"\"\"Count.\"\"\"
    return str(n)
"""


def test_a_session_continues_without_tools_that_are_not_here(
        ollama: FakeOllama, program: list[str], environment: Environment, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN_TOOL)
    own = ("--tools-file", str(file))
    ask(program, environment, *own, "--tools", "my_own_tool,calculate", "one")

    def offered() -> list[str]:
        return [entry["function"]["name"] for entry in last_request(ollama)["tools"]]
    assert sorted(offered()) == ["calculate", "my_own_tool"]
    done = ask(program, environment, "-c", "two")
    assert offered() == ["calculate"] and "left out: my_own_tool." in done.stderr
    ask(program, environment, "-c", *own, "three")
    assert sorted(offered()) == ["calculate", "my_own_tool"]
    refused = subprocess.run([*program, "-m", "words-5", "-c", "--tools", "my_own_tool", "four"],
                             env=environment, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2      # named now: a mistake in what was typed


def test_a_session_continues_without_a_schema_that_is_gone(
        ollama: FakeOllama, program: list[str], environment: Environment, tmp_path: Path) -> None:
    schema = tmp_path / "s.json"
    schema.write_text('{"type": "object"}')

    def run_in(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*program, "-m", "words-5", *words], env=environment, cwd=place,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    run_in(tmp_path, "--response-format", "s.json", "one")
    other = tmp_path / "other"
    other.mkdir()
    run_in(other, "-c", "two")          # it is found from another directory
    assert last_request(ollama)["format"] == {"type": "object"}
    schema.unlink()
    done = run_in(other, "-c", "three")
    assert done.returncode == 0 and done.stderr.count("response format is left out") == 1
    assert "format" not in last_request(ollama)


@pytest.mark.parametrize("content", ["", "{", "[]", '"x"', '{"type": 7}', '{"a": 1, "a": 2}', None])
def test_a_schema_that_cannot_be_used_any_more(tmp_path: Path, content: str | None) -> None:
    schema = tmp_path / "s.json"
    kept = json.dumps({"response_format": str(schema), "seed": 3})
    schema.write_text('{"type": "object"}')
    assert with_kept(Settings({}), kept)[0].response_format == str(schema)
    schema.unlink()
    if content is not None:
        schema.write_text(content)
    settings, said = with_kept(Settings({}), kept)
    assert (settings.response_format, settings.seed) == (None, 3)
    assert str(schema) in said[-1] and "left out" in said[-1]


def test_a_flag_changes_it_and_that_is_said(ollama: FakeOllama, program: list[str],
                                            environment: Environment) -> None:
    ask(program, environment, "--system", "You are a pirate", "one")
    done = ask(program, environment, "-c", "--system", "You are a monk", "two")
    assert system_of(last_request(ollama)) == "You are a monk"
    assert "You are a monk" in done.stderr and "You are a pirate" in done.stderr
    ask(program, environment, "-c", "three")
    assert system_of(last_request(ollama)) == "You are a monk"
    ask(program, environment, "-c", "--system", "", "four")
    ask(program, environment, "-c", "five")
    assert system_of(last_request(ollama)) == ""


def test_what_a_command_sets_is_kept_too(ollama: FakeOllama, program: list[str],
                                         environment: Environment) -> None:
    with Terminal([*program, "-m", "words-5"], environment) as chat:
        chat.ask("/system You are a pirate", "System prompt set")
        chat.ask("one", "w4")
        chat.send(CTRL_D)
        assert chat.exit_status() == 0
    with Terminal([*program, "-c"], environment, columns=120) as chat:
        chat.wait_prompt()
        assert "system prompt You are a pirate" in chat.text()
    ask(program, environment, "-c", "two")
    assert system_of(last_request(ollama)) == "You are a pirate"


def test_it_is_in_the_json_export(ollama: FakeOllama, program: list[str],
                                  environment: Environment) -> None:
    ask(program, environment, "--system", "You are a pirate", "--seed", "7", "one")
    done = subprocess.run([*program, "--export-session", "last", "-f", "json"], env=environment,
                          capture_output=True, text=True,
                          timeout=60)
    assert json.loads(done.stdout)["settings"] == {"system": "You are a pirate", "seed": 7}


# ---- the values

SOME: dict[type, object] = {str: "text, with \ud83d\ude00 and \"quotes\"", int: 7, float: 0.25,
                            bool: True, list: ("a", "b,c"),
                            dict: {"a": 1, "b": [True, None]}}


@pytest.mark.parametrize("name", KEPT)
def test_every_kept_setting_comes_back(name: str, tmp_path: Path) -> None:
    row = BY_NAME[name]
    value = row.choices[0] if row.choices else SOME[row.kind]
    if name == "response_format":       # the name of a file with a schema
        value = str(tmp_path / "with \"quotes\" and \u00e9")
        Path(value).write_text("{}")
    text = kept_settings(Settings({name: value}))
    restored, said = with_kept(Settings({}), text)
    assert getattr(restored, name) == value and len(said) == 1 and "\n" not in said[0]
    same, _ = with_kept(Settings({name: row.default}, flags=frozenset({name})), text)
    assert getattr(same, name) == row.default


@pytest.mark.parametrize("text",
                         ["", "{", "[]", "null", '{"nonsense": 1}', '{"temperature": "hot"}',
                          '{"seed": true}',
                          '{"experimental": 1}', '{"stop": "x"}', '{"tools_file": ["/evil.py"]}',
                          '{"allow": ["run"]}'])
def test_what_is_not_a_kept_setting_is_left_out(text: str) -> None:
    settings, said = with_kept(Settings({}), text)
    assert (read_kept(text) == {} and said == [] and settings.tools_file == ()
            and settings.allow == ())


def test_defaults_need_no_room() -> None:
    assert kept_settings(Settings({"model": "m"})) == ""


def test_a_session_whose_provider_is_gone(ollama: FakeOllama, program: list[str],
                                          environment: Environment, tmp_path: Path) -> None:
    """A pipe says which one; a chat continues with the usual model, and says so. No other provider
    is asked for that model.
    """
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"providers": {"gpu": {"base_url": ollama.url,
                                                        "dialect": "ollama"}}}))
    first = [*program, "--config", str(config), "-m", "gpu/words-5", "one"]
    subprocess.run(first, env=environment, stdin=subprocess.DEVNULL, check=True, timeout=60)
    before = len(ollama.chats)
    done = subprocess.run([*program, "-c", "two"], env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and len(ollama.chats) == before, done.stderr
    assert "This session used gpu/words-5, but the provider gpu is not configured." in done.stderr
    config.write_text(json.dumps({"model": "ollama/words-5"}))
    with Terminal([*program, "--config", str(config), "-c"], environment) as chat:
        chat.wait("answers from here on; /model chooses another.")
        chat.wait_prompt()
        chat.say("three")
        chat.wait_prompt()
        chat.send(CTRL_D)
        assert chat.exit_status() == 0
    sent = ollama.chats[-1].json
    assert sent["model"] == "words-5" and len(sent["messages"]) == 3


@pytest.mark.parametrize("model, target", [
    ("ollama/hf.co/a/b:Q4", Target("ollama", "hf.co/a/b:Q4")),
    ("llama3.2", Target("ollama", "llama3.2")),
    ("openai/a/b", Target("openai", "a/b")),
    ("gone/m", None), ("pool/gone", None), ("gone/", None)])
def test_the_model_of_a_session(model: str, target: Target | None) -> None:
    assert session_target(model, Settings({})) == target
