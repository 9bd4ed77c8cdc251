"""The advice of a context error fits the reason why nothing could be loaded."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from core.context.walking import DOCUMENTS
from core.context.loaded_sources import LoadedSources
from core.errors import ContextError

NAME, GREP = "Check its name.", "--context-grep"
RULES = "A file that is named itself is attached whatever these rules say."


def hint(root: Path, text: str, *grep: str) -> str:
    with pytest.raises(ContextError) as caught:
        asyncio.run(LoadedSources(root=str(root), grep=grep).add(text))
    return caught.value.hint


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name, content in (("notes.txt", "n"), ("dir/.hidden", "h"), ("dir/a.lock", "g"),
                          ("none/x", ""), ("bin/x.zip", "z"), ("code/a.py", "a")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "none/x").unlink()
    return tmp_path


@pytest.mark.parametrize(("text", "grep", "said"), [
    ("note.txt", (), "Did you mean notes.txt?"),
    ("nots.txt,zzz", (), f"Did you mean notes.txt? {NAME}"),
    ("zzz", (), NAME),
    ("no/such/notes.txt", (), NAME),
    ("*.rb", (), "Check the pattern; ** stands for any folders."),
    ("*.txt", ("md",), f"Check the pattern, and {GREP}."),
    ("code", ("md",), f"{GREP} lets none of them in."),
    ("dir", (), RULES),
    ("none", (), ""),
    ("bin", (), ""),
    ("-", (), ""),
    ("!true", (), ""),
])
def test_each_reason_has_its_own(place: Path, text: str, grep: tuple[str, ...], said: str) -> None:
    assert hint(place, text, *grep) == said


@pytest.mark.parametrize("form", ["zip", "tar", "gztar", "bztar", "xztar"])
def test_an_archive_is_to_be_unpacked(place: Path, form: str) -> None:
    made = Path(shutil.make_archive(str(place / "made"), form, place / "code"))
    made.rename(place / "letter.txt")
    assert hint(place, "letter.txt") == "Unpack it, and name what was in it."


def test_a_link_to_nothing_is_not_its_own_advice(place: Path) -> None:
    (place / "notes.md").symlink_to("gone.md")
    assert hint(place, "notes.md") == ""


@pytest.mark.processes
@pytest.mark.parametrize("ending", sorted(DOCUMENTS))
def test_a_broken_document_has_the_right_name(tmp_path: Path, ending: str) -> None:
    for number, content in enumerate((b"", b"PK\3\4" + os.urandom(200), b"%PDF-1.7\n" + bytes(99))):
        (tmp_path / f"{number}{ending}").write_bytes(content)
        said = hint(tmp_path, f"{number}{ending}")
        assert "name" not in said and GREP not in said


@pytest.mark.processes
def test_a_query_that_fails_has_the_right_name(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "s.db") as connection:
        connection.execute("CREATE TABLE items (id int)")
    connection.close()
    for part in ("table=item", "query=select oops", "query=delete from items"):
        said = hint(tmp_path, f"sqlite:///s.db?{part}")
        assert "name" not in said and GREP not in said


def test_on_the_command_line_it_says_how_to_ask_all_the_same(
        place: Path, program: list[str], environment: dict[str, str]) -> None:
    command = [*program, "-p", "demo", "--demo-delay", "0", "--context", "note.txt", "hi"]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 2 and done.stderr.splitlines()[1:] == [
        "Did you mean notes.txt? --context-optional asks without it."]
    done = subprocess.run([*command, "--context-optional"], cwd=place, env=environment,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "note.txt: there is no such file" in done.stderr
