"""Quotations from attached files are checked, and the result is shown and reported."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.fake_server import (Answer, FakeServer, Received, chat_line, done_line, json_answer,
                               lines_answer)

ANSWER = ("The notes say \u201cthe pump is checked every Monday\u201d (notes.md:2), and also "
          "\u201cthe valve is opened every Friday at noon\u201d (notes.md:3).")


def script(request: Received) -> Answer:
    if request.path == "/api/chat":
        return lines_answer([chat_line("m", ANSWER), done_line("m")])
    return json_answer({"models": [], "capabilities": ["completion"]})


@pytest.mark.parametrize("options, wanted", [((), True), (("--no-check-quotes",), False)])
def test_quotes_are_checked(environment: dict[str, str], program: list[str], tmp_path: Path,
                            options: tuple[str, ...],
                            wanted: bool) -> None:
    (tmp_path / "notes.md").write_text("# Notes\nThe pump is checked every Monday.\nThe valve "
                                       "stays shut.\n")
    with FakeServer(script) as server:
        command = [*program, "-m", "ollama/m", *options, "--context", "notes.md",
                   "what is checked?"]
        where = environment | {"OLLAMA_HOST": server.url}
        done = subprocess.run([*command, "--json"], env=where, cwd=tmp_path,
                              stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120)
        said = subprocess.run(command, env=where, cwd=tmp_path, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    found = [event for event in events if event["event"] == "quotes"]
    line = ("1 of 2 references found; \u201cthe valve is opened every Friday at noon\u201d is not "
            "in notes.md (line 3 differs).")
    if not wanted:
        assert not found and line not in said.stderr
        return
    assert found == [{"event": "quotes", "checked": 2, "found": 1,
                      "problems": [line.partition("; ")[2].removesuffix(".")]}], done.stderr
    assert line in said.stderr and said.stdout.strip() == ANSWER
