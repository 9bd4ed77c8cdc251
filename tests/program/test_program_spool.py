"""Text rejected by a locked database is available to every command, and another database is not
changed.
"""

from __future__ import annotations

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest


def run(program: list[str], environment: dict[str, str],
        *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*program, "-p", "demo", *arguments], env=environment,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=120)


def test_last_is_what_was_spooled_last(program: list[str], environment: dict[str, str],
                                       tmp_path: Path) -> None:
    """An older session is not taken for the last one, above all not when deleting."""
    environment["DATABASE_URL"] = path = str(tmp_path / "sessions.db")
    assert run(program, environment, "echo older").returncode == 0
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        asked = run(program, environment, "echo newer")
        assert asked.returncode == 0 and "NOT SAVED" in asked.stderr
        other.execute("ROLLBACK")
    assert run(program, environment, "--delete-session", "last", "--yes").returncode == 0
    listed = run(program, environment, "--list-sessions").stdout
    assert "echo older" in listed and "echo newer" not in listed


@pytest.mark.parametrize("url", ["mysql://user:secret@host/x", "{foreign}"])
def test_the_variable_is_named(program: list[str], environment: dict[str, str], tmp_path: Path,
                               url: str) -> None:
    foreign = tmp_path / "app.db"
    with closing(sqlite3.connect(foreign, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE customers (x)")
    content = foreign.read_bytes()
    environment["DATABASE_URL"] = url.format(foreign=foreign)
    done = run(program, environment, "--list-sessions")
    assert (done.returncode in (1, 2) and "DATABASE_URL" in done.stderr
            and "secret" not in done.stderr)
    assert "Traceback" not in done.stderr and foreign.read_bytes() == content
