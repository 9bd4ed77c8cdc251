"""What the tests of the embedded engine share: the toy model, made once, and the rule for machines without the wheel."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.engine.machine import NEEDED_BY_WHEEL, processor_flags
from core.engine.process import EngineOrder
from core.engine.tiny import write_tiny_model


def require_wheel() -> None:
    """Skip, saying why, where the engine cannot run; on CI that is a failure."""
    if importlib.util.find_spec("xllamacpp") is None:
        reason = "the xllamacpp wheel is not installed (requirements-local.txt)"
    elif processor_flags() and not NEEDED_BY_WHEEL <= processor_flags():
        reason = "this processor lacks AVX2"
    else:
        return
    if os.environ.get("CI"):
        pytest.fail(f"the engine must be tested on CI, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_wheel()
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    write_tiny_model(str(path))
    return path


def order_for(model: Path, directory: Path, context: int = 4096, **changes: object) -> EngineOrder:
    return EngineOrder(str(model), str(directory), context, **changes)  # type: ignore[arg-type]


def engines_in(directory: Path) -> list[int]:
    """Living processes whose log is in this directory: keepers and what they started. Zombies do not count."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                log, state = os.readlink(entry / "fd" / "2"), (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if log.startswith(f"{directory}/") and state != "Z":
                found.append(int(entry.name))
    return found


def wait_until(true: Callable[[], bool], seconds: float = 10.0) -> bool:
    """A generous limit: what is tested is that it happens, not how fast."""
    limit = time.monotonic() + seconds
    while not true():
        if time.monotonic() > limit:
            return False
        time.sleep(0.01)
    return True
