"""Duplicate keys in JSON that a user wrote or imported are rejected or reported: parsers disagree
on which one wins.
"""

from __future__ import annotations

import json
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from core.config.values import DuplicateKey, only_once
from core.errors import ChatError
from core.providers.parameters import read_schema
from core.sessions.importing import import_file
from db import open_store

Environment = dict[str, str]
TWICE = '"k": {"x": 1, "y": [{"z": 1, "z": 2}]}'
LISTED = ('[{"role": "user", "content": "x", "content": "y"}, '
          '{"role": "assistant", "content": "z", "content": "w"}]')


def test_the_key_is_named_however_deep_it_stands() -> None:
    with pytest.raises(DuplicateKey, match="duplicate key 'z'"):
        json.loads(f"{{{TWICE}}}", object_pairs_hook=only_once)
    many = ",".join(f'"k{number}": 1' for number in range(100_000))
    with pytest.raises(DuplicateKey, match="duplicate key 'k0'"):      # at once
        json.loads(f'{{{many}, "k0": 1}}', object_pairs_hook=only_once)


@pytest.mark.parametrize("option", ["--mcp-config", "--response-format"])
def test_a_file_that_is_named_is_refused(option: str, tmp_path: Path, program: list[str],
                                         environment: Environment) -> None:
    file = tmp_path / "given.json"
    whole = f'{{"mcpServers": {{"a": {{"command": "x"}}}}, {TWICE}}}'
    for content, words in ((whole, "key 'z'"), ("[" * 200_000, "JSON"), ("{", "JSON")):
        file.write_text(content)
        done = subprocess.run([*program, "-p", "demo", option, str(file), "hi"], env=environment,
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 2 and words in done.stderr, done.stderr
        assert done.stderr.count("\n") <= 3 and done.stdout == ""


def test_the_value_of_an_option(program: list[str], environment: Environment) -> None:
    done = subprocess.run([*program, "-p", "demo", "--option", f"a={{{TWICE}}}", "hi"],
                          env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "duplicate key 'z'" in done.stderr


def test_a_schema_says_which_key(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"type": "object", "type": "array"}')
    with pytest.raises(ChatError, match="duplicate key 'type'"):
        read_schema(str(tmp_path / "s.json"))


def test_an_import_reports_it_once(tmp_path: Path) -> None:
    (tmp_path / "i.json").write_text(LISTED)
    with closing(open_store(f"sqlite:///{tmp_path}/s.db")) as store:
        report = import_file(store, str(tmp_path / "i.json"))
    assert report.messages == 2 and report.notes == [
        "Duplicate keys in one object: content. Only the last value of each is read."]
