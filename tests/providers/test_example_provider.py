"""A third party's provider: the example of the documentation is installed as a package
and answers in the program.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pseudo_terminal import Terminal

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
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
                    "--no-build-isolation",
                    "--target", str(target), str(source)], check=True, capture_output=True,
                   timeout=100)
    return target


def test_it_answers(installed: Path, program: list[str], environment: dict[str, str]) -> None:
    environment["PYTHONPATH"] += f":{installed}"

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*program, *words], env=environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True,
                              timeout=60)
    answer = run("--provider", "parrot", "--model", "grey", "pretty polly")
    assert (answer.returncode, answer.stdout.strip()) == (0, "pretty polly"), answer.stderr
    assert run("--list-sessions").stdout.rstrip().endswith("parrot/grey  pretty polly")
    named = run("--model", "parrot/grey", "hello there")
    assert (named.returncode, named.stdout.strip()) == (0, "hello there"), named.stderr
    again = run("-c", "and again")
    assert (again.returncode, again.stdout.strip()) == (0, "and again"), again.stderr
    stand_in = run("--model", "llamacpp/x", "--base-url", "http://127.0.0.1:1/v1",
                   "--model-fallbacks", "parrot/grey",
                   "--retry-max-attempts", "1", "I am here")
    assert (stand_in.returncode, stand_in.stdout.strip()) == (0, "I am here"), stand_in.stderr
    assert any(line.split()[0] == "parrot"
               for line in run("--list-providers").stdout.splitlines() if line.split())
    assert "parrot/grey" in run("--list-models", "--provider", "parrot").stdout
    missing = run("--provider", "cockatoo", "hello")
    assert (missing.returncode == 2 and "cockatoo" in missing.stderr
            and "Traceback" not in missing.stderr)


def test_the_chat_changes_to_it(installed: Path, program: list[str],
                                environment: dict[str, str]) -> None:
    environment["PYTHONPATH"] += f":{installed}"
    with Terminal([*program, "--provider", "demo"], environment, columns=110) as chat:
        chat.ask("/model parrot/grey", "The model is now parrot/grey")
        chat.ask("pretty polly", "pretty polly", 2)


def test_a_package_that_cannot_be_loaded_costs_only_itself(
        tmp_path: Path, program: list[str], environment: dict[str, str]) -> None:
    broken = tmp_path / "broken-1.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (broken / "entry_points.txt").write_text("[stream_chat.providers]\nbroken = "
                                             "nowhere_at_all:Thing\n")
    environment["PYTHONPATH"] += f":{tmp_path}"
    listed = subprocess.run([*program, "--list-providers"], env=environment, capture_output=True,
                            text=True, timeout=120)
    assert (listed.returncode == 0 and "cannot be loaded" in listed.stdout
            and "anthropic" in listed.stdout)
    asked = subprocess.run([*program, "-m", "broken/x", "hi"], env=environment,
                           stdin=subprocess.DEVNULL, capture_output=True,
                           text=True, timeout=120)
    assert (asked.returncode == 2 and "package broken" in asked.stderr
            and "Traceback" not in asked.stderr)
