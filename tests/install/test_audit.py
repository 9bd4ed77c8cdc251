"""`make check` looks up known vulnerabilities, and still works without a network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.processes
BAD = {"dependencies": [{"name": "good", "version": "1", "vulns": []},
                        {"name": "bad", "version": "2",
                         "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]},
                                   {"id": "PYSEC-2", "fix_versions": []}]}]}


def audited(tmp_path: Path, says: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run it with a fake uv whose tools print this."""
    (tmp_path / "python").symlink_to(sys.executable)
    uv = tmp_path / "uv"
    uv.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\n")
    uv.chmod(0o755)
    return subprocess.run([tmp_path / "python", "-I", ROOT / "install" / "audit.py", *words],
                          capture_output=True, text=True, timeout=120)


def test_vulnerabilities_are_named_and_fail_the_check(tmp_path: Path) -> None:
    done = audited(tmp_path, json.dumps(BAD))
    assert done.returncode == 1, done.stderr
    assert done.stdout == ("bad 2: PYSEC-1, fixed in 2.1\n"
                           "bad 2: PYSEC-2, fixed in no version yet\n")


@pytest.mark.parametrize(("says", "told"), [
    ('{"dependencies": []}', "Known vulnerabilities: none.\n"),
    ("", "Known vulnerabilities: not looked up, the index of packages cannot be reached.\n")])
def test_without_any_or_without_a_network_it_passes(tmp_path: Path, says: str, told: str) -> None:
    done = audited(tmp_path, says)
    assert (done.returncode, done.stdout) == (0, told), done.stderr


def test_no_list_of_packages_without_a_network(tmp_path: Path) -> None:
    done = audited(tmp_path, "", "--sbom")
    assert (done.returncode == 1 and "not written" in done.stdout
            and not (ROOT / "sbom.json").exists())
