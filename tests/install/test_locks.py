"""The lock files contain what requirements*.txt request, with hashes, and nothing about the machine
that made them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent.parent
LOCKS = {"requirements.txt": "requirements.lock",
         "requirements-local.txt": "requirements-local.lock",
         "requirements-web.txt": "requirements-web.lock",
         "requirements-dev.txt": "requirements-dev.lock"}
ENTRY = re.compile(r"(?m)^([\w.-]+)==(\S+)(?: ; ([^\\\n]+?))? \\\n((?:    "
                   r"--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)")


def asked(name: str) -> list[Requirement]:
    """The lines of a file and of the files that it names."""
    found = []
    for line in (ROOT / name).read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r "):
            found += asked(text[3:].strip())
        elif text:
            found.append(Requirement(text))
    return found


def locked(name: str) -> dict[str, str]:
    return {entry[1].lower(): entry[2] for entry in ENTRY.finditer((ROOT / name).read_text())}


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_is_locked_to_a_version_that_it_allows(name: str) -> None:
    versions = locked(LOCKS[name])
    for requirement in asked(name):
        key = re.sub(r"[-_.]+", "-", requirement.name).lower()
        assert key in versions, f"{requirement} is not in {LOCKS[name]}: run `make lock`"
        assert Version(versions[key]) in requirement.specifier, (f"{requirement} is locked to "
                                                                 f"{versions[key]}: run "
                                                                 "`make lock`")


@pytest.mark.parametrize("lock", LOCKS.values())
def test_a_lock_holds_entries_with_hashes_and_nothing_else(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert ENTRY.sub("", text).strip() == ""
    assert "://" not in text and "/" not in text


def test_what_stands_in_two_locks_is_the_same() -> None:
    everything = locked("requirements-dev.lock")
    for lock in ("requirements.lock", "requirements-local.lock", "requirements-web.lock"):
        assert locked(lock).items() <= everything.items()
