"""Models on a server: download, delete, describe, create from a Modelfile; and the parameters sent
to them.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from core.chat.conversation import Chat
from core.commands import Fetch, run_command
from core.config import Settings
from core.errors import ModelNotFound, UsageError
from core.model_manager import Providers, Target, build_model_list, ensure_model_available
from core.providers.from_settings import options_of
from core.providers import Options, Request
from core.providers.modelfile import model_name, read_modelfile
from core.providers.parameters import adapt_request, check_flags
from core.rendering.table import Table
from core.session_manager import Session
from tests.fake_server import (Answer, FakeOllama, FakeServer, Received, chat_line, done_line,
                               lines_answer)


def commands(server: FakeOllama, *lines: str) -> list[Any]:
    """What each command returns, or the error that it raises."""
    settings = Settings({"ollama_host": server.url, "model": "echo"},
                        environment={"HOME": "/nonexistent"})

    async def run() -> list[Any]:
        providers = Providers(settings)
        chat = Chat(settings, Session(None), providers, build_model_list(settings)[0],
                    open_session=lambda name: Session(None))
        outcomes: list[Any] = []
        for line in lines:
            try:
                outcome = await run_command(chat, line)
                outcomes.append(outcome)
                if isinstance(outcome, Fetch):
                    outcomes.append([step.status async for step
                                     in ensure_model_available(outcome.target, providers)][-1])
            except (UsageError, ModelNotFound) as error:
                outcomes.append(error)
        await chat.close()
        return outcomes
    return asyncio.run(run())


def test_fetch_list_delete() -> None:
    with FakeOllama() as server:
        fetched, status, before, gone, after, missing, unnamed = commands(
            server, "/models pull new", "/models ollama", "/models rm new", "/models ollama",
            "/models rm new", "/models rm")
    assert (fetched, status) == (Fetch(Target("ollama", "new")), "success")
    names = [[row[0] for row in table.rows] for table in (before, after)]
    assert "ollama/new:latest" in names[0] and "ollama/new:latest" not in names[1]
    assert gone == "ollama/new is deleted."
    assert isinstance(missing, ModelNotFound) and isinstance(unnamed, UsageError)


def test_what_is_loaded_is_marked() -> None:
    with FakeOllama() as server:
        table, = commands(server, "/models ollama")
    assert [row[0] for row in table.rows if row[-1] == "loaded"] == ["ollama/words-50:latest"]


def test_explain() -> None:
    with FakeOllama() as server:
        table, unknown = commands(server, "/models show echo", "/models show what")
    assert isinstance(table, Table)
    facts = dict(table.rows)
    assert (facts["context window"], facts["tools"], facts["vision"],
            facts["num ctx"]) == ("32,768", "yes", "no", "8192")
    assert isinstance(unknown, ModelNotFound)


def test_others_cannot() -> None:
    with FakeOllama() as server:
        error, = commands(server, "/models rm demo/demo")
    assert isinstance(error, UsageError) and "demo cannot delete models" in error.message


# ---- Modelfile

RECIPE = '''\
# a comment
FROM llama3.2
PARAMETER temperature 0.7
PARAMETER num_ctx 8192
PARAMETER stop "<end>"
PARAMETER stop "<eot>"
SYSTEM """
You are short.
Very short.
"""
TEMPLATE "{{ .Prompt }}"
MESSAGE user hi
MESSAGE assistant """ho"""
LICENSE MIT
'''


def test_a_modelfile_is_read(tmp_path: Path) -> None:
    path = tmp_path / "Modelfile"
    path.write_text(RECIPE)
    made = read_modelfile(str(path))
    assert (made.base, made.files) == ("llama3.2", [])
    assert made.create == {
        "parameters": {"temperature": 0.7, "num_ctx": 8192, "stop": ["<end>", "<eot>"]},
        "system": "You are short.\nVery short.\n",
        "template": "{{ .Prompt }}", "license": ["MIT"],
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}


@pytest.mark.parametrize("text, told", [
    ("SYSTEM x\n", "does not name a base model"),
    ("FROM a\nFORM b\n", "line 2: there is no instruction FORM"),
    ("FROM ./none.gguf\n", "line 1: .*none.gguf does not exist"),
    ('FROM a\nSYSTEM """x\n', "line 2: the text that begins"),
    ("FROM a\nPARAMETER seed\n", "line 2: the parameter seed needs a value"),
    ("FROM\n", "line 1: FROM needs a value"),
    ("FROM a\nMESSAGE robot x\n", "line 2: the role 'robot' is not")])
def test_the_wrong_line_is_named(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "Modelfile"
    path.write_text(text)
    with pytest.raises(UsageError, match=told):
        read_modelfile(str(path))


@pytest.mark.parametrize("path, name",
                         [("/x/My Bot/Modelfile", "my-bot"), ("short.modelfile", "short"),
                          ("/a/poet", "poet")])
def test_names_of_new_models(path: str, name: str) -> None:
    assert model_name(path) == name


def making_server(received: list[Any]) -> FakeServer:
    def script(request: Received) -> Answer:
        received.append((request.method, request.path, request.body))
        if request.path == "/api/create":
            return lines_answer([{"status": "creating"}, {"status": "success"}])
        if request.path == "/api/chat":
            model = request.json["model"]
            return lines_answer([chat_line(model, f"I am {model}"), done_line(model)])
        return Answer((), framing="length")
    return FakeServer(script)


def test_make_a_model_and_talk_to_it(tmp_path: Path, program: list[str],
                                     environment: dict[str, str]) -> None:
    (tmp_path / "weights.gguf").write_bytes(b"GGUF")
    path = tmp_path / "poet.modelfile"
    path.write_text("FROM ./weights.gguf\nSYSTEM You rhyme.\n")
    received: list[Any] = []
    with making_server(received) as server:
        done = subprocess.run([*program, "--modelfile", str(path), "who?"],
                              env=environment | {"OLLAMA_HOST": server.url},
                              capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("I am poet\n", 0), done.stderr
    blob, created = received[0], json.loads(received[1][2])
    digest = f"sha256:{sha256(b'GGUF').hexdigest()}"
    assert blob == ("POST", f"/api/blobs/{digest}", b"GGUF")
    assert created["model"] == "poet" and created["system"] == "You rhyme."
    assert created["files"] == {"weights.gguf": digest} and "from" not in created


# ---- parameters

def test_response_formats(tmp_path: Path) -> None:
    schema = tmp_path / "s.json"
    schema.write_text('{"type": "object"}')
    wanted = {"text": None, "json": {"type": "json_object"}, str(schema): {"type": "object"}}
    for text, value in wanted.items():
        assert options_of(Settings({"response_format": text})).response_format == value
    schema.write_text("[1]")
    for wrong in (str(schema), str(tmp_path / "none.json")):
        with pytest.raises(UsageError, match="--response-format"):
            options_of(Settings({"response_format": wrong}))


def test_a_schema_reaches_the_server(tmp_path: Path, program: list[str],
                                     environment: dict[str, str]) -> None:
    schema = tmp_path / "s.json"
    schema.write_text('{"type": "object"}')
    with FakeOllama() as server:
        words = ("-m", "echo", "--response-format", str(schema), "--temperature", "0", "--num-ctx",
                 "512", "--seed", "3", "hi")
        done = subprocess.run([*program, *words], env=environment | {"OLLAMA_HOST": server.url},
                              capture_output=True, text=True,
                              timeout=60)
        body = server.chats[0].json
    assert body["format"] == {"type": "object"}
    assert done.returncode == 3, "what echoes the question does not keep to the schema"
    assert body["options"] == {"temperature": 0.0, "seed": 3, "num_ctx": 512}


@pytest.mark.parametrize("dialect, flags, refused", [
    ("anthropic", {"seed": 1}, "seed"), ("gemini", {"num_ctx": 1}, "num_ctx"),
    ("ollama", {"num_ctx": 1, "seed": 1}, ""),
    ("openai", {"keep_alive": "1m"}, "keep_alive"), ("openai", {"api_version": "1"}, ""),
    ("ollama", {"api_version": "1"}, "api-version")])
def test_flags_that_a_provider_lacks_are_refused(dialect: str, flags: dict[str, Any],
                                                 refused: str) -> None:
    settings = Settings(flags, flags=frozenset(flags))
    if not refused:
        check_flags(settings, "p", dialect)
        return
    with pytest.raises(UsageError, match=refused):
        check_flags(settings, "p", dialect)


def test_what_the_configuration_sets_is_not_refused_but_left_out() -> None:
    check_flags(Settings({"seed": 1}), "p", "anthropic")


def test_what_a_model_lacks_is_left_out() -> None:
    request = Request("m", (), options=Options(temperature=0.5, stop=("x",), raw={"top_k": 3}))
    smaller = adapt_request(request, {}, Settings({}), "openai",
                            ("temperature", "stop_sequences", "top_k"))
    assert smaller.options == Options()
