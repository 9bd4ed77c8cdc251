"""Looks up known vulnerabilities of everything that the lock files install;
without a network it says so.

    python install/audit.py            exit code 1 if there are any
    python install/audit.py --sbom     writes sbom.json: what is in the program (CycloneDX)
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
UV = Path(sys.executable).parent / "uv"
AUDIT = "pip-audit==2.10.1"
BOM = "cyclonedx-bom==7.5.0"
PROGRAM = ("requirements.lock", "requirements-local.lock", "requirements-web.lock")
LOCKS = (*PROGRAM, "requirements-dev.lock")
PATIENCE = 180      # seconds; a network that is slower than that counts as none


def main() -> int:
    return write_sbom() if "--sbom" in sys.argv[1:] else audit()


def audit() -> int:
    """Print each vulnerability.

    Returns 1 if there are any; what could not be looked up is no failure.
    """
    files = [word for lock in LOCKS for word in ("-r", lock)]
    said = _run(AUDIT, "pip-audit", *files, "--no-deps", "--disable-pip", "--format", "json",
                "--progress-spinner", "off")
    try:
        found = list(_vulnerable(json.loads(said)))
    except ValueError:
        print("Known vulnerabilities: not looked up, the index of packages cannot be reached.")
        return 0
    print("\n".join(found) or "Known vulnerabilities: none.")
    return 1 if found else 0


def _vulnerable(report: dict[str, Any]) -> Iterator[str]:
    for package in report["dependencies"]:
        for each in package.get("vulns", ()):
            fixed = ", ".join(each["fix_versions"]) or "no version yet"
            yield f"{package['name']} {package['version']}: {each['id']}, fixed in {fixed}"


def write_sbom() -> int:
    """One document for all that a user may install; the tools of the tests are not part of it."""
    texts = [(ROOT / lock).read_text(encoding="utf-8") for lock in PROGRAM]
    packages = dict.fromkeys(each for text in texts for each in re.split(r"\n(?=\S)", text.strip()))
    written = _run(BOM, "cyclonedx-py", "requirements", "-", "--pyproject", "pyproject.toml",
                   "--output-reproducible", given="\n".join(packages))
    try:
        count = len(json.loads(written)["components"])
    except (ValueError, KeyError):
        print("sbom.json was not written: cyclonedx-bom cannot be had without a network.")
        return 1
    (ROOT / "sbom.json").write_text(written, encoding="utf-8")
    print(f"sbom.json: {count} packages.")
    return 0


def _run(package: str, *words: str, given: str = "") -> str:
    """What a tool prints that is installed apart from the program; "" where it cannot be had."""
    command = [str(UV), "tool", "run", "--quiet", "--from", package, *words]
    try:
        done = subprocess.run(command, cwd=ROOT, input=given, capture_output=True, text=True,
                              timeout=PATIENCE, env={**os.environ, "UV_HTTP_TIMEOUT": "10"})
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
