"""The commands of docs/teams.md about the database, as people type them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests import postgres

pytestmark = pytest.mark.processes


class Person:
    """A member with a separate home directory and database role."""

    def __init__(
        self, program: list[str], environment: dict[str, str], home: Path, url: str
    ) -> None:
        home.mkdir()
        self._program, self._environment = program, environment | {"HOME": str(home)}
        self.url = url

    def start(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._program, "-p", "demo", "--database-url", self.url, *words],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def run(self, *words: str) -> str:
        done = self.start(*words)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def titles(self) -> list[str]:
        return [row["title"] for row in json.loads(self.run("--list-sessions", "--json"))]


def test_three_people_share_one_database(
    postgres_url: str, program: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    url = postgres.new_database(postgres_url)
    admin = Person(program, environment, tmp_path / "admin", url)
    for words in (("--member", "ana,ben"), ("--member", "ana,ben,cleo", "--server", "page"), ()):
        admin.run("--db-init", *words)
    ana, ben, cleo = (
        Person(program, environment, tmp_path / name, url.replace("//chat@", f"//{name}@"))
        for name in ("ana", "ben", "cleo")
    )
    ana.run("the garden of ana")
    ben.run("the house of ben")
    assert (ana.titles(), ben.titles(), cleo.titles(), admin.titles()) == (
        ["the garden of ana"],
        ["the house of ben"],
        [],
        [],
    )
    session = json.loads(ana.run("--list-sessions", "--json"))[0]["name"]
    for words in (
        ("--session", session, "more"),
        ("--export-session", session),
        ("--session", session, "--fork"),
        ("--delete-session", session, "--yes"),
        ("--session", session, "--rename", "x"),
        ("--session", session, "--undo"),
        ("--session", session, "--share", "ben"),
    ):
        done = ben.start(*words)
        assert done.returncode == 2 and "There is no session" in done.stderr, (words, done.stderr)
    assert "garden" not in ben.run("--export-all", "--format", "jsonl")
    assert cleo.start("--continue", "x").returncode == 2
    ana.run("--share", "ben")
    done = ana.start("--share", "nobody")
    assert done.returncode == 2 and "no member 'nobody'" in done.stderr
    assert "the garden of ana (from ana)" in ben.run("--list-sessions") and len(ben.titles()) == 2
    assert "garden" in ben.run("--search", "garden")
    done = ben.start("--session", session, "more")
    assert (
        done.returncode == 1
        and "for reading only" in done.stderr
        and "--fork" in done.stderr
        and not list((tmp_path / "ben").rglob("spool/*.jsonl"))
    ), done.stderr
    ben.run("--continue", "goes to the house")
    copied = ben.run("--session", session, "--fork").strip()
    ben.run("--session", copied, "more")
    ana.run("--share", "ben:write")
    ben.run("--session", session, "written by ben")
    assert "written by ben" in ana.run("--export-session", session)
    done = ben.start("--delete-session", session, "--yes")
    assert done.returncode == 1 and "owner" in done.stderr
    ana.run("--unshare", "ben")
    assert ben.start("--export-session", session).returncode == 2


def test_what_a_team_needs_is_said_where_it_is_missing(
    postgres_url: str, program: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    url = postgres.new_database(postgres_url)
    alone = Person(program, environment, tmp_path / "alone", str(tmp_path / "s.db"))
    alone.run("a question")
    for words, said in (
        (("--share", "ben"), "PostgreSQL can be shared"),
        (("--user", "ben", "--list-sessions"), "--user is only for"),
        (("--db-init",), "kept in PostgreSQL"),
    ):
        done = alone.start(*words)
        assert done.returncode == 2 and said in done.stderr, (words, done.stderr)
    Person(program, environment, tmp_path / "admin", url).run("--db-init", "--member", "ana")
    ana = Person(program, environment, tmp_path / "ana", url.replace("//chat@", "//ana@"))
    done = ana.start("--db-init", "--member", "eve")
    assert done.returncode == 1 and "may not prepare" in done.stderr and "CREATEROLE" in done.stderr
    done = ana.start("--user", "ben", "--list-sessions")
    assert done.returncode == 1 and "may not act for 'ben'" in done.stderr
