"""--response-format: an answer of the wrong form is repaired once, and reported if it is still
wrong.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from core.chat.answer_form import fault_of
from core.providers.parameters import schema_of
from tests.fake_server import Answer, FakeServer, Received, chat_line, done_line, lines_answer
from tests.pseudo_terminal import CTRL_D, Terminal

Environment = dict[str, str]
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
          "required": ["name", "age"],
          "additionalProperties": False}
GOOD = '{"name": "Ada", "age": 36}'


def server(*answers: str) -> FakeServer:
    """An Ollama that sends these replies one after the other."""
    said = [lines_answer([chat_line("m", answer), done_line("m")]) for answer in answers]
    count = iter(range(1000))

    def script(request: Received) -> Answer:
        return (said[min(next(count), len(said) - 1)] if request.path == "/api/chat"
                else Answer((b"{}",), framing="length"))
    return FakeServer(script)


def ask(program: list[str], environment: Environment, url: str, schema: Any,
        *words: str) -> subprocess.CompletedProcess[str]:
    path = Path(environment["HOME"], "schema.json")
    path.write_text(json.dumps(schema))
    form = "json" if schema is None else str(path)
    return subprocess.run([*program, "-m", "m", "--response-format", form, *words, "who?"],
                          env={**environment, "OLLAMA_HOST": url}, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True,
                          timeout=120)


def test_an_answer_that_fits_is_printed_as_it_is(program: list[str],
                                                 environment: Environment) -> None:
    with server(GOOD) as ollama:
        done = ask(program, environment, ollama.url, SCHEMA)
        assert (done.returncode, done.stdout, done.stderr) == (0, GOOD + "\n", "")
        assert len(ollama.chats) == 1 and ollama.chats[0].json["format"] == SCHEMA


@pytest.mark.parametrize(("bad", "word"),
                         [("```json\n" + GOOD + "\n```", "not JSON"), ('{"name": "Ada"}', "'age'"),
                          ('{"name": "Ada", "age": "old"}', "age: 'old'"), ("[]", "object"),
                          ("NaN", "not JSON")])
def test_one_that_does_not_is_asked_for_once_more(bad: str, word: str, program: list[str],
                                                  environment: Environment) -> None:
    with server(bad, GOOD) as ollama:
        done = ask(program, environment, ollama.url, SCHEMA)
        assert (done.returncode, done.stdout) == (0, GOOD + "\n"), done.stderr
        assert word in done.stderr and "once more" in done.stderr and len(ollama.chats) == 2
        repair = ollama.chats[1].json["messages"]
        assert repair[1]["content"] == bad and json.dumps(SCHEMA) in repair[2]["content"]


def test_after_that_it_is_an_error_with_the_reason(program: list[str],
                                                   environment: Environment) -> None:
    with server("no", "never") as ollama:
        done = ask(program, environment, ollama.url, SCHEMA)
        assert (done.returncode == 3 and done.stdout == "never\n"
                and "not JSON" in done.stderr.splitlines()[-2])
        assert len(ollama.chats) == 2
    with server("no", "never") as ollama:
        done = ask(program, environment, ollama.url, None, "--json")
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert (done.returncode == 3 and events[-1]["event"] == "error"
                and events[-1]["kind"] == "wrong_form")


def test_an_answer_that_was_cut_is_that_and_not_repaired(program: list[str],
                                                         environment: Environment) -> None:
    cut = lines_answer([chat_line("m", '{"name"'), {**done_line("m"), "done_reason": "length"}])
    with FakeServer(lambda request: cut) as ollama:
        done = ask(program, environment, ollama.url, SCHEMA)
        assert done.returncode == 3 and "form" not in done.stderr and len(ollama.chats) == 1


def test_a_chat_shows_both_and_the_reason(program: list[str], environment: Environment) -> None:
    with server("first no", "second no") as ollama:
        command = [*program, "-m", "m", "--response-format", "json"]
        with Terminal(command, {**environment, "OLLAMA_HOST": ollama.url}, columns=110) as chat:
            chat.ask("who?", "even after a second")
            assert "first no" in chat.text() and "second no" in chat.text()
            chat.send(CTRL_D)
            assert chat.exit_status() == 0


@pytest.mark.parametrize("schema",
                         [{"type": "nonsense"}, {"properties": 3},
                          {"type": "object", "required": "name"}])
def test_what_is_no_schema_is_refused_before_asking(schema: Any, program: list[str],
                                                    environment: Environment) -> None:
    with server(GOOD) as ollama:
        done = ask(program, environment, ollama.url, schema)
        assert done.returncode == 2 and "is not a JSON schema" in done.stderr and not ollama.chats


@pytest.mark.parametrize(("wanted", "expected"), [
    ({"type": "json_object"}, None),
    ({"type": "json_schema", "json_schema": {"schema": SCHEMA}}, SCHEMA), (SCHEMA, SCHEMA)])
def test_the_schema_of_a_format(wanted: Any, expected: Any) -> None:
    assert schema_of(wanted) == expected
    assert (fault_of(GOOD, wanted) == "" and fault_of(None, wanted) == ""
            and "not JSON" in fault_of("{", wanted))
