"""A third party's provider: the example of the documentation is installed as a package and answers in the program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = ROOT / "docs" / "example-provider"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The example in a directory of its own, put there by pip."""
    source, target = tmp_path / "source", tmp_path / "installed"
    source.mkdir()
    for file in EXAMPLE.iterdir():
        if file.is_file():
            (source / file.name).write_bytes(file.read_bytes())
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation",
                    "--target", str(target), str(source)], check=True, capture_output=True, timeout=100)
    return target


def test_it_answers(installed: Path, program: list[str], environment: dict[str, str]) -> None:
    environment["PYTHONPATH"] += f":{installed}"

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*program, *words], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=60)
    answer = run("--provider", "parrot", "--model", "grey", "pretty polly")
    assert (answer.returncode, answer.stdout.strip()) == (0, "pretty polly"), answer.stderr
    assert run("--list-sessions").stdout.rstrip().endswith("parrot/grey  pretty polly")
    missing = run("--provider", "cockatoo", "hello")
    assert missing.returncode == 2 and "cockatoo" in missing.stderr and "Traceback" not in missing.stderr
