"""Makes .venv what `make chat` and `make test` need: present, whole, and as the lock files say.

Run by any Python from 3.11 on, before anything is installed. An environment that
cannot be used (half made, of a Python that is gone, copied from another machine) is
made anew; one that can is kept.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from core.engine.pip_words import why_no_connection     # noqa: E402

VENV = ROOT / ".venv"
PARTS = {"bin", "include", "lib", "lib64", "share", "pyvenv.cfg", ".gitignore", ".lock",
         "CACHEDIR.TAG",
         "chat.ok", "dev.ok"}
# What is installed, from which lock files, and how much that is to download and on the
# disk (measured, Linux).
CHAT = ("the program", ("requirements.lock",), "23 MB, 105 MB on the disk")
ENGINE = ("the embedded engine", ("requirements-local.lock",), "34 MB, 102 MB on the disk")
PAGE = ("the web page", ("requirements-web.lock",), "1 MB, 3 MB on the disk")
TESTS = ("the tests", ("requirements-dev.lock",), "32 MB, 140 MB on the disk")
RUNNING = ("import sys, platform; print(sys.prefix, platform.python_version(), platform.machine(), "
           "sys.version_info >= (3, 11))")
LOST = re.compile(r"Read-only file system|Permission denied")


class Failed(Exception):
    """What could not be done, in words; a second line says what to do."""


def main(words: Sequence[str]) -> int:
    """`chat` or `test`; `named`: the user chose this Python.

    Prints nothing when all is in place.
    """
    try:
        prepare(tests="test" in words, named="named" in words)
    except Failed as problem:
        print(f"\nerror: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command continues.", file=sys.stderr)
        return 130
    return 0


def prepare(*, tests: bool, named: bool) -> None:
    """Make the environment and install what is missing. Raise Failed."""
    running = describe()
    if running is None or named and platform.python_version() not in running.split():
        running = make()
    install(CHAT, "chat.ok", running)
    install(PAGE, "page.ok", running)
    if not tests:
        try:
            install(ENGINE, "engine.ok", running)
        except Failed as problem:
            if why_no_connection(str(problem)) or "connection" in str(problem):
                raise
            print(f"The embedded engine cannot be installed here ({problem}); everything else "
                  "works.", file=sys.stderr)
            (VENV / "engine.ok").write_text(stamp(ENGINE[1], running))
        return
    install(ENGINE, "engine.ok", running)
    install(TESTS, "dev.ok", running)
    fetch_test_model()


def fetch_test_model() -> None:
    """A real language model for the tests, into the user's cache.

    Without it they say why they skip.
    """
    code = ("import os, sys; from core.config import cache_directory; from core.engine.models "
            "import SMALLEST; print(os.path.exists(os.path.join(cache_directory(os.environ), "
            "'models', SMALLEST.file)), SMALLEST.name)")
    found = subprocess.run([python(), "-c", code], cwd=ROOT, capture_output=True,
                           text=True).stdout.split()
    if found[:1] == ["False"]:
        print("Fetching a small language model for the tests, once (93 MB) ...", file=sys.stderr)
        subprocess.run([python(), "stream_chat.py", "--provider", "local", "--pull", found[1]],
                       cwd=ROOT)


def describe() -> str | None:
    """What the environment's Python is; None for one that cannot be used."""
    try:
        done = subprocess.run([python(), "-I", "-c", RUNNING], capture_output=True, text=True,
                              timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = done.stdout.strip()
    return words if done.returncode == 0 and words.endswith("True") else None


def python() -> str:
    return str(VENV / "bin" / "python")


def make() -> str:
    """A new environment in place of what is there."""
    if os.path.lexists(VENV):
        remove()
    print(f"Making {VENV.name} for Python {platform.python_version()} ...", file=sys.stderr)
    try:
        VENV.mkdir()
    except OSError as problem:
        raise Failed(f"{ROOT} cannot be written: {problem.strerror}.\nClone into a folder of "
                     "yours, or install the program elsewhere: pipx install PATH.") from None
    done = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True)
    running = describe()
    if done.returncode or running is None:
        shutil.rmtree(VENV, ignore_errors=True)
        said = " ".join((done.stdout + done.stderr).split())
        if "ensurepip" in said or "No module named venv" in said:
            raise Failed("Python's venv module is not complete here.\n"
                         "On Debian and Ubuntu: apt install "
                         f"python{sys.version_info[0]}.{sys.version_info[1]}-venv")
        raise Failed(f"No environment could be made in {VENV}: {said[-300:]}")
    return running


def remove() -> None:
    """Take away a broken environment, and nothing that is something else."""
    if VENV.is_symlink() or not VENV.is_dir():
        VENV.unlink()
        return
    names = {entry.name for entry in VENV.iterdir()}
    if "pyvenv.cfg" not in names and names - PARTS - {"engine.ok", "page.ok"}:
        raise Failed(f"{VENV} is not a virtual environment.\nMove it away, then start again.")
    print(f"The environment in {VENV.name} cannot be used (half made, or of another Python); it is "
          "made anew.",
          file=sys.stderr)
    try:
        shutil.rmtree(VENV)
    except OSError as problem:
        raise Failed(f"{problem.filename} cannot be removed: {problem.strerror}.") from None


def stamp(locks: Sequence[str], running: str) -> str:
    digest = hashlib.sha256(running.encode())
    for name in locks:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def install(what: tuple[str, Sequence[str], str], name: str, running: str) -> None:
    """Install what the lock files say, unless that was done already."""
    title, locks, size = what
    wanted, file = stamp(locks, running), VENV / name
    if file.exists() and file.read_text() == wanted:
        return
    print(f"Installing {title} into {VENV.name}, once ({size}) ...", file=sys.stderr)
    if subprocess.run([python(), "-I", "-c", "import pip"], capture_output=True).returncode:
        subprocess.run([python(), "-I", "-m", "ensurepip"], capture_output=True)
    run_pip([argument for lock in locks for argument in ("-r", str(ROOT / lock))],
            sum(len(re.findall(r"(?m)^[\w.-]+==", (ROOT / lock).read_text())) for lock in locks))
    if what is CHAT:
        own = [str(ROOT / name) for name in ("core", "db.py", "stream_chat.py")]
        subprocess.run([python(), "-I", "-m", "compileall", "-q", *own], capture_output=True)
    file.write_text(wanted)


def run_pip(arguments: Sequence[str], count: int) -> None:
    """pip with what it does in one line. Raise Failed with its reason."""
    command = [python(), "-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-input",
               "--no-deps",
               "--require-hashes", "--progress-bar", "off", *arguments]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=log, text=True,
                                   encoding="utf-8", errors="replace", cwd=ROOT)
        assert process.stdout is not None
        try:
            show(process.stdout, count)
        finally:
            if process.poll() is None and sys.exc_info()[0] is not None:
                process.terminate()
            code = process.wait()
        log.seek(0)
        said = log.read()
    if code:
        raise Failed(explain(said))


def show(lines: Iterator[str], count: int) -> None:
    """One line that is written over; in a log, nothing."""
    able, seen = sys.stderr.isatty(), 0
    for line in lines:
        found = re.match(r"\s*(Collecting|Requirement already "
                         r"satisfied:|Downloading|Installing) (\S+)", line)
        if not found:
            continue
        seen += found[1] in ("Collecting", "Requirement already satisfied:")
        if able:
            text = "installing ..." if found[1] == "Installing" else package_named(found[2])
            row = f"  {min(seen, count)} of {count}  {text}"[:shutil.get_terminal_size().columns
                                                             - 1]
            print(f"\r\x1b[K{row}", end="", file=sys.stderr, flush=True)
    if able:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def package_named(word: str) -> str:
    """The package and its version out of a requirement, a path or the name of a wheel."""
    name = os.path.basename(word)
    wheel = re.match(r"([\w.]+)-(\d[\w.!+]*)", name)
    return f"{wheel[1].replace('_', '-')} {wheel[2]}" if wheel else name.replace("==", " ")


def explain(said: str) -> str:
    """pip's words in two lines."""
    reason = why_no_connection(said)
    if reason:
        return (f"No connection to the Python package index: {reason}.\nCheck the network; behind "
                "a proxy or with a mirror, set HTTPS_PROXY or pip's index-url. The same command "
                "continues.")
    if "No space left" in said:
        return ("There is no room left on the disk.\nThe environment takes about 210 MB. Make "
                "room; the same command continues.")
    if LOST.search(said):
        return f"{VENV} cannot be written.\nIs the folder read-only, or another user's?"
    errors = [line.partition("ERROR:")[2].strip() for line in said.splitlines() if "ERROR:" in line]
    return f"pip could not install: {' '.join(errors)[:300] or said.strip()[-300:]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
