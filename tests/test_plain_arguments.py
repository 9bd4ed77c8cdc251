"""Command lines parsed without argparse have the same meaning as with it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from core.argument_parser import parse_arguments
from core.config import SETTINGS
from core.config.setting import Setting
from core.errors import ChatError

ROOT = Path(__file__).resolve().parent.parent
VALUES = ("x", "1", "0.5", "a,b", "k=v", "yes", "http://h:1", "-", "", "two words", "-1", "32k",
          "--nope", "=x", "-x y", "auto")


def some_words(chance: random.Random) -> list[str]:
    words: list[str] = []
    for _ in range(chance.randint(0, 5)):
        row = chance.choice(SETTINGS)
        if chance.random() < 0.4:
            words.append(chance.choice(VALUES))
            continue
        words.append(chance.choice(row.flags))
        if row.kind is bool and chance.random() < 0.3:
            words[-1] = f"--no-{words[-1].lstrip('-')}"
        if chance.random() < 0.3:
            words[-1] += f"={chance.choice(VALUES)}"
        elif row.kind is not bool and chance.random() < 0.8:
            words.append(value_of(row, chance))
    return words


def value_of(row: Setting, chance: random.Random) -> str:
    return chance.choice(row.choices) if row.choices else chance.choice(VALUES)


def meaning(words: list[str], environment: Mapping[str, str]) -> Any:
    try:
        settings = parse_arguments(words, environment)
    except ChatError as error:
        return type(error), error.message
    values = {row.name: getattr(settings, row.name) for row in SETTINGS}
    return values, settings.prompt, settings.reads_stdin, settings.flags


def test_the_order_and_the_form_of_options_change_nothing(tmp_path: Path) -> None:
    """A value that begins with - is left to argparse, so one more of those has it read all words.
    """
    seed = int(os.environ.get("STREAM_CHAT_TEST_SEED") or random.randrange(2 ** 32))
    print(f"seed {seed}")
    chance, environment = random.Random(seed), {"HOME": str(tmp_path)}
    for _ in range(250):
        words = some_words(chance)
        if any(word.split("=")[0] in ("--help", "-h") for word in words):
            continue
        found = meaning([*words, "--seed", "1"], environment)
        assert found == meaning(["--seed", "-1", *words, "--seed", "1"], environment), words


@pytest.mark.parametrize("words, expected", [
    (["-m", "x", "why", "not"], {"model": "x"}), (["why", "--model=x", "not"], {"model": "x"}),
    (["-m", "a", "-m", "x", "why", "not"], {"model": "x"}),
    (["--context", "a", "why", "--context=b", "not"], {"context": ("a", "b")}),
    (["--json", "why", "not", "--no-save"], {"json": True, "save": False}),
])
def test_meanings(words: list[str], expected: dict[str, object], tmp_path: Path) -> None:
    settings = parse_arguments(words, {"HOME": str(tmp_path)})
    assert settings.prompt == "why not"
    assert {name: getattr(settings, name) for name in expected} == expected


@pytest.mark.processes
def test_a_usual_command_line_loads_no_argparse(tmp_path: Path) -> None:
    script = ("import sys; from core.argument_parser import parse_arguments\n"
              "parse_arguments(['-m', 'x', '--json', '--no-save', 'why', '--num-ctx=32k'], {})\n"
              "assert 'argparse' not in sys.modules and 'gettext' not in sys.modules")
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
