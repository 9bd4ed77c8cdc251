"""Every command of docs/first-steps.md is run, in order, with one new home directory."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_server import FakeOllama, FakeServer, sse_answer

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "first-steps.md"
OWN = ".venv/bin/python stream_chat.py"
# tests/install/test_environment.py; another program
ELSEWHERE = ("make chat", "ollama serve &", "ollama pull llama3.2")
OPENAI = [b'data: {"choices":[{"delta":{"content":"Hello from a '
          b'key."},"finish_reason":"stop"}]}\n\n', b"data: [DONE]\n\n"]


def commands() -> list[str]:
    return re.findall(r"(?m)^    (\S.*)$", PAGE.read_text(encoding="utf-8"))


@pytest.fixture
def newcomer(environment: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """A home with an Ollama that has a model (echo), and a provider in the place of OpenAI."""
    with FakeOllama(models=("echo",)) as ollama, FakeServer(sse_answer(OPENAI)) as openai:
        config = Path(environment["HOME"], ".config", "stream-chat", "config.yaml")
        config.parent.mkdir(parents=True)
        config.write_text(f"providers:\n  ollama: {{base_url: '{ollama.url}'}}\n  openai: "
                          f"{{base_url: '{openai.url}/v1', "
                          "model: gpt-x, dialect: openai}\n")
        yield environment


def test_every_line_works(newcomer: dict[str, str], tmp_path: Path) -> None:
    found = commands()
    assert len(found) > 12 and set(ELSEWHERE) <= set(found)
    for name in ("README.md", "Makefile"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    program = shlex.join([sys.executable, str(ROOT / "stream_chat.py")])
    for command in (command for command in found if command not in ELSEWHERE):
        assert OWN in command, f"not a line that this test can run: {command}"
        key = "sk-test-0123456789" if "--set-key" in command else ""
        line = command.replace(OWN, program).replace("llama3.2", "echo")
        done = subprocess.run(line, shell=True, env=newcomer, cwd=tmp_path, input=key, text=True,
                              capture_output=True, timeout=60)
        assert (done.returncode == 0
                and "Traceback" not in done.stderr), f"{command}\n{done.stdout}\n{done.stderr}"
        assert "sk-test" not in done.stdout + done.stderr
    assert (tmp_path / "chat.md").read_text() and os.listdir(tmp_path)
