"""Shared by the tests of the embedded engine: the toy model, made once, and the rule for machines
without the wheel.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.config.directories import cache_directory
from core.engine.machine import NEEDED_BY_WHEEL, processor_flags
from core.engine.process import EngineOrder
from core.engine.tiny import write_tiny_model

PROGRAM = Path(__file__).resolve().parent.parent / "stream_chat.py"
OUTSIDE = dict(os.environ)     # of the user who runs the tests, before a test replaces it


def require_wheel() -> None:
    """Skip, with the reason, if the engine cannot run; fail on CI."""
    reason = why_no_engine()
    if reason:
        skip_unless_ci(f"the engine must be tested on CI, but {reason}", reason)


@functools.cache
def why_no_engine() -> str:
    """Load it in another process: an installed package may still fail to load."""
    if importlib.util.find_spec("xllamacpp") is None:
        return "the xllamacpp wheel is not installed (requirements-local.txt)"
    if processor_flags() and not NEEDED_BY_WHEEL <= processor_flags():
        return "this processor lacks AVX2"
    tried = subprocess.run([sys.executable, "-I", "-c", "import xllamacpp"], capture_output=True,
                           text=True)
    if tried.returncode == 0:
        return ""
    said = (tried.stderr.strip().splitlines() or [f"status {tried.returncode}"])[-1]
    return ("libgomp1 is not installed (apt install libgomp1)" if "libgomp" in said
            else f"the engine cannot be loaded: {said}")


def skip_unless_ci(failure: str, reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(failure)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def real_model() -> Path:
    """The smallest real language model, in the user's own cache; downloaded unless `make test` has
    done so.
    """
    require_wheel()
    from core.engine.models import SMALLEST
    path = Path(cache_directory(OUTSIDE)) / "models" / SMALLEST.file
    if not path.exists():
        done = subprocess.run([sys.executable, str(PROGRAM), "--provider", "local", "--pull",
                               SMALLEST.name], env=OUTSIDE,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if not path.exists():
            reason = f"{SMALLEST.name} could not be fetched: {done.stderr.strip()[:300]}"
            skip_unless_ci(f"a real model must be tested on CI, but {reason}", reason)
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_wheel()
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    write_tiny_model(str(path))
    return path


def order_for(model: Path, directory: Path, context: int = 4096, **changes: object) -> EngineOrder:
    return EngineOrder(str(model), str(directory), context, **changes)  # type: ignore[arg-type]


def engines_in(directory: Path) -> list[int]:
    """Running processes whose log is in this directory: keepers and their child processes.

    Zombies do not count.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                log, state = (os.readlink(entry / "fd" / "2"),
                              (entry / "stat").read_text().rpartition(")")[2].split()[0])
            except OSError:
                continue
            if log.startswith(f"{directory}/") and state != "Z":
                found.append(int(entry.name))
    return found
