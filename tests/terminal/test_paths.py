"""Completion of paths, as the commands and the shell read them."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from core.commands.sessions import shell_words
from core.terminal.paths import last_word, path_matches, shell_matches

SIGNS = "ab .-_'\"\\$`!*?[]{}()&;|<>#~=,%\u00e9\u4e2d\U0001f34a"


def names(dice: random.Random) -> list[str]:
    made = {"".join(dice.choices(SIGNS, k=dice.randint(1, 8))).strip(" .") for _ in range(12)}
    return sorted(name for name in made if name)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shell_reads(words: list[str]) -> list[str]:
    """How a shell reads each of them."""
    script = "".join(f"printf '%s\\n' {word}\n" for word in words)
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True)
    return done.stdout.split("\n")[:-1]


@pytest.mark.processes
def test_any_name_reaches_the_shell_unchanged(folder: Path) -> None:
    seed = random.randrange(10 ** 6)
    print("seed", seed)
    dice = random.Random(seed)
    meant, words = [], []
    for name in names(dice):
        (folder / name).write_text("")
        for begun in ("", "'", '"'):
            count, [found] = shell_matches(f"cat {begun}", "", asked=True)
            assert count == len(begun)
            meant.append(name)
            words.append(found)
        (folder / name).unlink()
    assert shell_reads(words) == meant, seed


def test_any_name_without_both_quotes_reaches_a_command(folder: Path) -> None:
    seed = random.randrange(10 ** 6)
    print("seed", seed)
    dice = random.Random(seed)
    for name in names(dice):
        if "'" in name and ('"' in name or "\\" in name):      # no quotes can hold it
            continue
        (folder / name).write_text("")
        [found] = path_matches("")
        assert " ".join(shell_words(found)) == name, (seed, name, found)
        (folder / name).unlink()


def test_folders_are_entered_and_hidden_names_asked_for(folder: Path) -> None:
    (folder / "a dir").mkdir()
    (folder / "a dir" / "x y.md").write_text("")
    (folder / ".hidden").write_text("")
    assert list(path_matches("")) == ['"a dir/"'] and list(path_matches(".h")) == [".hidden"]
    assert list(path_matches('"a dir/')) == list(path_matches("a dir/")) == ['"a dir/x y.md"']
    assert list(path_matches("A\\ d")) == ['"a dir/"'] and list(path_matches("gone/")) == []
    assert shell_matches("cat a\\ dir/", "", asked=False) == (7, ["a\\ dir/x\\ y.md"])
    assert shell_matches("cat 'a dir/x", "", asked=False) == (8, ["'a dir/x y.md'"])


def test_programs_and_empty_words_only_when_asked_for(folder: Path) -> None:
    program = folder / "greet"
    program.write_text("")
    os.chmod(program, 0o755)
    (folder / "green").write_text("")
    assert shell_matches("gre", str(folder), asked=False) == (0, [])
    assert shell_matches("gre", f"/nowhere:{folder}", asked=True) == (3, ["greet "])
    assert shell_matches("true && gre", str(folder), asked=True) == (3, ["greet "])
    assert shell_matches("cat ", str(folder), asked=False) == (0, [])
    assert shell_matches("cat ", str(folder), asked=True) == (0, ["green", "greet"])
    assert shell_matches("cat < gre", str(folder), asked=False) == (3, ["green", "greet"])


@pytest.mark.processes
def test_words_are_read_as_a_shell_reads_them() -> None:
    lines = ("cat a", "cat 'a b", 'x "a\\"b', "a|b\\ c", "a; b 'c'd", ">x\\'", "a 'b'\\''c", 'a "$',
             "a$'")
    words = [last_word(line) for line in lines]
    assert all(line.endswith(word.written) for line, word in zip(lines, words, strict=True))
    written = [word.written + word.quote for word in words]
    assert shell_reads(written) == [word.meant for word in words]
