"""A misspelled setting, or one used as another type, fails the type check."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core.config import SETTINGS, Settings
from tests.conftest import ROOT


@pytest.mark.parametrize("line, problem",
                         [("settings.modle", "has no attribute"),
                          ("len(settings.limit)", "incompatible type"),
                          ("settings.system.strip()", "has no attribute"), ("settings.model", "")])
@pytest.mark.processes
def test_the_type_check_knows_each_setting(tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "use.py").write_text("from core.config import Settings\nsettings = "
                                     f"Settings({{}})\n{line}\n")
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--cache-dir",
                           str(ROOT / ".mypy_cache"),
                           str(tmp_path / "use.py")], cwd=tmp_path,
                          env={"PATH": "/usr/bin:/bin", "MYPYPATH": str(ROOT)},
                          capture_output=True, text=True, timeout=300)
    assert ((done.returncode == 0) == (problem == "")
            and problem in done.stdout), (done.stdout + done.stderr)


def test_every_row_is_an_attribute() -> None:
    assert all(hasattr(Settings({}), row.name) for row in SETTINGS)
