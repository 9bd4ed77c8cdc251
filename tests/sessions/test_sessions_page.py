"""Every command of docs/sessions.md works as written, on SQLite and on PostgreSQL."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests import postgres

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "sessions.md"


def commands() -> list[list[str]]:
    blocks = re.findall(r"```\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "s.db")
    return postgres.new_database(request.getfixturevalue("postgres_url"))


@pytest.mark.processes
def test_every_command_works(place: str, program: list[str], environment: dict[str, str],
                             tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*program, "-p", "demo", "--database-url", place, *words],
                              env=environment, cwd=tmp_path,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    for question in ("garden plans with raised beds", "a second question"):
        assert run(question).returncode == 0
    assert run("--continue", "more").returncode == 0
    assert run("--rename", "garden").returncode == 0
    pages = commands()
    assert len(pages) > 30
    for words in pages:
        done = run(*words)
        assert done.returncode == 0, (words, done.stderr)
        # the next lines need a session
        if words[0] in ("--archive", "--delete-session", "--prune"):
            assert run("another garden question").returncode == 0
