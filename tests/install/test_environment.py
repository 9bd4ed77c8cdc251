"""`make chat` and `make test` in a fresh clone: the real Makefile, venv and pip, with one tiny
package instead of the real ones.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.pseudo_terminal import Terminal

ROOT = Path(__file__).resolve().parent.parent.parent
FILE = "toy-1.0-py3-none-any.whl"
PROGRAM = "import sys, toy\nprint('chat with', toy.NAME, *sys.argv[1:])\n"
Environment = dict[str, str]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")


def toy_wheel() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("toy.py", "NAME = 'toy'\n")
        archive.writestr("toy-1.0.dist-info/METADATA",
                         "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
        archive.writestr("toy-1.0.dist-info/WHEEL",
                         "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("toy-1.0.dist-info/RECORD", "")
    return made.getvalue()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone in a path with a space, whose lock files name only the toy package."""
    made = tmp_path / "a clone"
    shutil.copytree(ROOT / "install", made / "install",
                    ignore=shutil.ignore_patterns("__pycache__"))
    (made / "core" / "engine").mkdir(parents=True)
    for name in ("core/__init__.py", "core/regex.py", "core/engine/__init__.py",
                 "core/engine/pip_words.py", "Makefile"):
        shutil.copy(ROOT / name, made / name)
    (made / "stream_chat.py").write_text(PROGRAM)
    (made / "db.py").touch()
    wheel = toy_wheel()
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / FILE).write_bytes(wheel)
    for name in ("requirements.lock", "requirements-local.lock", "requirements-web.lock",
                 "requirements-dev.lock"):
        (made
         / name).write_text(f"toy==1.0 \\\n    --hash=sha256:{hashlib.sha256(wheel).hexdigest()}\n")
    return made


@pytest.fixture(scope="module")
def ready_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One environment shared by the tests that need no new one, since creating it takes seconds."""
    made = tmp_path_factory.mktemp("ready") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(made)], check=True)
    return made


@pytest.fixture
def offline(environment: Environment, tmp_path: Path) -> Environment:
    """The toy comes from a folder; PYTHONPATH must not matter."""
    found = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1",
             "PIP_FIND_LINKS": str(tmp_path / "wheels")}
    here = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": "/nowhere"}
    return environment | found | here


def make(clone: Path, environment: Environment, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *words], cwd=clone, env=environment, capture_output=True,
                          text=True, timeout=110,
                          stdin=subprocess.DEVNULL)


def test_from_nothing_then_at_once(clone: Path, offline: Environment) -> None:
    done = make(clone, offline, "chat", "ARGS=now")
    assert done.stdout == "chat with toy now\n" and done.returncode == 0, done.stderr
    assert "Installing the program into .venv, once (" in done.stderr and " MB" in done.stderr
    again = make(clone, offline, "chat")
    assert (again.stdout, again.stderr) == ("chat with toy\n", "")
    (clone / "requirements.lock").write_text((clone / "requirements.lock").read_text()
                                             + "\n# newer\n")
    assert "Installing the program" in make(clone, offline, "chat").stderr


def damage(venv: Path, how: str) -> None:
    if how == "link":
        venv.symlink_to(venv.parent / "gone")
    elif how == "file":
        venv.write_text("")
    else:
        venv.mkdir()
    if how in ("dangling", "half"):
        (venv / "pyvenv.cfg").write_text("home = /gone\n")
    if how == "dangling":
        (venv / "bin").mkdir()
        (venv / "bin" / "python").symlink_to("/gone/python3")


def test_an_environment_whose_python_is_gone_is_made_anew(clone: Path,
                                                          offline: Environment) -> None:
    damage(clone / ".venv", "dangling")
    done = make(clone, offline, "chat")
    assert done.stdout == "chat with toy\n" and "made anew" in done.stderr, done.stderr


@pytest.mark.parametrize("how", ["dangling", "half", "empty", "link", "file"])
def test_every_kind_of_broken_environment_makes_way(clone: Path, offline: Environment,
                                                    how: str) -> None:
    damage(clone / ".venv", how)
    code = "import environment; assert environment.describe() is None; environment.remove()"
    subprocess.run([sys.executable, "-c", code], cwd=clone / "install",
                   env=offline | {"PYTHONPATH": "."}, check=True)
    assert not os.path.lexists(clone / ".venv")


def test_an_environment_without_pip_gets_one(clone: Path, offline: Environment) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(clone / ".venv")],
                   check=True)
    done = make(clone, offline, "chat")
    assert done.stdout == "chat with toy\n" and "made anew" not in done.stderr, done.stderr


def test_what_is_no_environment_is_left_alone(clone: Path, offline: Environment) -> None:
    (clone / ".venv").mkdir()
    (clone / ".venv" / "thesis.txt").write_text("mine")
    done = make(clone, offline, "chat")
    assert done.returncode and "is not a virtual environment" in done.stderr
    assert (clone / ".venv" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("python, words", [("/no/such", "there is no such program"),
                                           ("/bin/false", "does not run as Python here"),
                                           ("/etc/passwd", "does not run as Python here"),
                                           ("./old", "is Python 3.9.1; Stream Chat needs Python "
                                            "3.11 or newer")])
def test_words_for_a_python_that_does_not_do(clone: Path, offline: Environment, python: str,
                                             words: str) -> None:
    (clone / "old").write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.1\nexit 1\n')
    (clone / "old").chmod(0o755)
    done = make(clone, offline, "chat", f"PYTHON={python}")
    assert done.returncode and words in done.stderr and f"PYTHON={python}" in done.stderr
    assert not (clone / ".venv").exists()


def test_words_when_there_is_no_network(clone: Path, offline: Environment,
                                        ready_environment: Path) -> None:
    shutil.copytree(ready_environment, clone / ".venv", symlinks=True)
    offline |= {"PIP_NO_INDEX": "", "PIP_FIND_LINKS": "",
                "PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_RETRIES": "1"}
    done = make(clone, offline, "chat")
    assert (done.returncode and "No connection to the Python package index: connection "
            "refused" in done.stderr)
    assert "Traceback" not in done.stderr


def test_progress_is_one_row_that_fits(clone: Path, offline: Environment,
                                       ready_environment: Path) -> None:
    """Names of wheels are long: the package and version are shown, truncated at the width of the
    terminal.
    """
    shutil.copytree(ready_environment, clone / ".venv", symlinks=True)
    with Terminal(["make", "chat"], offline | {"TERM": "xterm"}, columns=40, lines=12,
                  cwd=clone) as screen:
        assert screen.exit_status(110) == 0
        shown = screen.text()
    assert b"1 of 1  toy 1.0" in screen.raw and b"none-any" not in screen.raw, screen.raw
    assert "of 1" not in shown and "chat with toy" in shown, shown


def test_a_file_that_is_not_the_locked_one_is_refused(clone: Path, offline: Environment,
                                                      ready_environment: Path) -> None:
    shutil.copytree(ready_environment, clone / ".venv", symlinks=True)
    (clone / "requirements.lock").write_text("toy==1.0 --hash=sha256:" + "0" * 64 + "\n")
    done = make(clone, offline, "chat")
    assert done.returncode and "hash" in done.stderr.lower() and "Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "posix" and os.getuid() == 0, reason="root may write everywhere")
def test_words_for_a_folder_that_cannot_be_written(clone: Path, offline: Environment) -> None:
    clone.chmod(0o555)
    try:
        done = make(clone, offline, "chat")
    finally:
        clone.chmod(0o755)
    assert done.returncode and "cannot be written" in done.stderr and "Traceback" not in done.stderr
