"""The log of --debug contains the error that the user saw."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


@pytest.mark.parametrize("flags", [["q"], ["--json", "q"], ["--export-session", "nothing"]])
def test_the_error_that_was_shown_is_in_the_log(
        program: list[str], environment: dict[str, str], tmp_path: Path, flags: list[str]) -> None:
    done = subprocess.run([*program, "--base-url", "http://127.0.0.1:1", "-m", "m",
                           "--retry-max-attempts", "1", "--debug",
                           str(tmp_path / "log"), *flags], env=environment,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60)
    log = (tmp_path / "log").read_text()
    assert done.returncode != 0 and " ERROR " in log
    if "--json" not in flags:
        assert done.stderr.splitlines()[0] in log
