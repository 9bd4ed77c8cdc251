"""Targets of an export: a new file, an existing one only with --force, standard output, a device;
the ending chooses the format.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import UsageError
from core.sessions.export import ENDINGS, EXPORTERS, find_exporter, format_of
from core.sessions.output import write_whole
from tests.conftest import ROOT

Environment = dict[str, str]


@pytest.fixture
def saved(program: list[str], environment: Environment) -> Environment:
    done = subprocess.run([*program, "-p", "demo", "--demo-delay", "0", "hello"], env=environment,
                          capture_output=True, timeout=60)
    assert done.returncode == 0
    return environment


def export(program: list[str], environment: Environment,
           *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*program, "--export-session", "last", *words], env=environment,
                          capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=60)


def test_a_file_that_exists_is_kept_unless_it_is_to_be_replaced(
        program: list[str], saved: Environment, tmp_path: Path) -> None:
    path = tmp_path / "mine.md"
    path.write_text("precious")
    refused = export(program, saved, "-o", str(path))
    assert (refused.returncode == 2 and "exists already" in refused.stderr
            and path.read_text() == "precious")
    link = tmp_path / "link.md"
    link.symlink_to(tmp_path / "nowhere.md")
    assert (export(program, saved, "-o", str(link)).returncode == 2
            and not (tmp_path / "nowhere.md").exists())
    assert (export(program, saved, "-o", str(path), "--force").returncode == 0
            and "hello" in path.read_text())
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith("mine")] == ["mine.md"]


@pytest.mark.parametrize("output", ["-", "/dev/stdout"])
def test_standard_output_can_be_named(program: list[str], saved: Environment, tmp_path: Path,
                                      output: str) -> None:
    done = export(program, saved, "-o", output)
    assert done.returncode == 0 and done.stdout.startswith("# hello") and done.stderr == ""
    assert export(program, saved, "-o", output, "-f", "json").stdout.startswith("{")
    assert not Path("-").exists()


@pytest.mark.parametrize("name", ["x.pdf", "x.org", "x.MDX", "x.json5"])
def test_an_ending_that_stands_for_no_format_is_refused(
        program: list[str], saved: Environment, tmp_path: Path, name: str) -> None:
    done = export(program, saved, "-o", str(tmp_path / name))
    assert (done.returncode == 2 and all(ending in done.stderr for ending in ENDINGS)
            and not (tmp_path / name).exists())
    assert export(program, saved, "-o", str(tmp_path / name), "-f", "markdown").returncode == 0


def test_endings_name_formats() -> None:
    for ending, format in ENDINGS.items():
        assert format in EXPORTERS and format_of(f"a/b{ending.upper()}") == format
        with pytest.raises(UsageError) as caught:
            find_exporter(ending[1:] if ending[1:] not in EXPORTERS else f"{format}x")
        assert f"Did you mean {format}?" in caught.value.hint
    assert format_of("notes", "json") == "json" and format_of("-") == "markdown"


def test_a_file_that_comes_while_an_export_is_written_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.md"

    def pieces() -> list[str]:
        path.write_text("theirs")
        return ["ours"]
    with pytest.raises(UsageError, match="exists already"):
        write_whole(str(path), (piece for piece in pieces()), force=False)
    assert path.read_text() == "theirs" and os.listdir(tmp_path) == ["out.md"]


def test_what_may_hold_a_conversation_is_private(program: list[str], environment: Environment,
                                                 tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        done = subprocess.run([*program, "-p", "demo", "--demo-delay", "0", "--dest",
                               str(tmp_path / "log.txt"), "--debug",
                               str(tmp_path / "debug.log"), "hello"], env=environment,
                              capture_output=True, timeout=60)
    finally:
        os.umask(before)
    assert done.returncode == 0
    for name in ("log.txt", "debug.log"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600, name


NEW = '''

@exporter("org", endings=(".org",))
def export_org(session: SessionRow, messages: Sequence[StoredMessage]) -> Iterator[str]:
    """Headings for Emacs."""
    for stored in messages:
        yield f"* {stored.message.role}\\n{stored.message.text}\\n"
'''


def test_a_new_format_is_one_function(saved: Environment, tmp_path: Path) -> None:
    """In a copy of the program: the flag, the ending and the help know it."""
    copy = tmp_path / "copy"
    shutil.copytree(ROOT, copy,
                    ignore=shutil.ignore_patterns(".git", ".venv", ".mypy_cache", "*.pyc.*"))
    with open(copy / "core/sessions/export.py", "a", encoding="utf-8") as file:
        file.write(NEW)
    own = {**saved, "PYTHONPATH": str(copy)}
    subprocess.run([sys.executable, "-m", "tests.make_docs"], cwd=copy, env=own, check=True,
                   timeout=120)
    program = [sys.executable, str(copy / "stream_chat.py")]
    assert export(program, own, "-f", "org").stdout.startswith("* user\nhello\n")
    assert export(program, own, "-o", str(tmp_path / "x.org")).returncode == 0
    assert (tmp_path / "x.org").read_text().startswith("* user")
    shown = subprocess.run([*program, "--help"], env=own, capture_output=True, text=True,
                           timeout=60).stdout
    assert "markdown, sql, org)" in " ".join(shown.split())
    assert "markdown, sql, org)" in (copy / "docs/settings.md").read_text()


@pytest.mark.parametrize("path", ["folder", "folder/", "new/", "new/inner/"])
def test_a_directory_is_not_written_as_a_file(tmp_path: Path, path: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="is a directory"):
        write_whole(f"{tmp_path}/{path}", ["text"])
    assert os.listdir(tmp_path) == ["folder"]
