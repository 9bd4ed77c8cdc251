"""Checks the page's JavaScript as `make check` does: types from its JSDoc, style and
form, with tools from npm.

`python -m tests.web.check_javascript --write` brings the files into form.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
RULES = Path(__file__).resolve().parent / "javascript"
TOOLS = ROOT / ".venv" / "javascript"       # where the tools are installed, once for their versions
PAGE = ROOT / "core" / "web" / "static"
NOT_CHECKED = "The page's JavaScript is NOT checked: {}."


def main() -> int:
    """Print the problems; return 0 if there are none, or if the tools are missing."""
    missing = install()
    if missing:
        print(NOT_CHECKED.format(missing), file=sys.stderr)
        return 0
    programs = TOOLS / "node_modules" / ".bin"
    act = ["format", "--write"] if "--write" in sys.argv else ["ci", "--error-on-warnings"]
    form = [str(programs / "biome"), *act, "--colors=off", f"--config-path={RULES}"]
    types = [str(programs / "tsc"), "--pretty", "false", "-p", str(RULES / "tsconfig.json")]
    return max(subprocess.run(command, check=False, cwd=ROOT).returncode
               for command in ([*form, *map(str, sorted(PAGE.glob("*.[jt]s")))], types))


def install() -> str:
    """Install the tools in the versions that package.json names;
    returns why that was not possible, or "".
    """
    named, installed = RULES / "package.json", TOOLS / "package.json"
    if installed.exists() and installed.read_bytes() == named.read_bytes():
        return ""
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not installed"
    beside = TOOLS.with_name("javascript.new")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    shutil.copy(named, beside)
    done = subprocess.run([npm, "install", "--no-package-lock", "--no-audit", "--no-fund",
                           "--ignore-scripts"],
                          check=False, cwd=beside, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True)
    if done.returncode != 0:
        return ("npm cannot install its tools: "
                f"{(done.stderr.strip() or 'no reason').splitlines()[-1]}")
    shutil.rmtree(TOOLS, ignore_errors=True)
    beside.rename(TOOLS)
    return ""


if __name__ == "__main__":
    sys.exit(main())
