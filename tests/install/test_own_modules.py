"""The installed program uses its own modules wherever it is started, and prints one line if Python
is too old.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
Environment = dict[str, str]


@pytest.fixture
def installed(tmp_path: Path) -> list[str]:
    """The wheel's files in a directory that comes last on the path,
    started as its script does it.
    """
    site = tmp_path / "site"
    shutil.copytree(ROOT / "core", site / "core", ignore=shutil.ignore_patterns("*.pyc.*"))
    for name in ("db.py", "stream_chat.py"):
        shutil.copy(ROOT / name, site / name)
    script = tmp_path / "bin" / "stream-chat"
    script.parent.mkdir()
    script.write_text(f"import sys\nsys.path.append({str(site)!r})\nfrom stream_chat import main\n"
                      "main()\n")
    return [sys.executable, str(script)]


@pytest.mark.parametrize("shape", ["package", "module", "folder"])
def test_a_project_with_the_same_names_does_not_matter(
        installed: list[str], environment: Environment, tmp_path: Path, shape: str) -> None:
    project = tmp_path / "project"
    project.mkdir()
    for name in ("core", "db"):
        if shape != "module":
            (project / name).mkdir()
        if shape != "folder":
            file = project / name / "__init__.py" if shape == "package" else project / f"{name}.py"
            file.write_text("raise SystemExit('not ours')\n")
    for path in (".", str(project), f"/nowhere:{project}"):
        for words in (["--version"], ["-p", "demo", "--demo-delay", "0", "hello"],
                      ["--list-sessions"]):
            done = subprocess.run([*installed, *words], env=environment | {"PYTHONPATH": path},
                                  cwd=project,
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=60)
            assert done.returncode == 0 and "not ours" not in done.stderr, done.stderr


def test_a_python_without_the_packages_gets_two_lines(environment: Environment,
                                                      tmp_path: Path) -> None:
    """A question and a list need none; what needs one names it."""
    config = tmp_path / "config.yaml"
    config.write_text("temperature: 0.3\n")
    for words in (["--config", str(config), "hi"], ["--config", str(config), "--list-sessions"]):
        done = subprocess.run([sys.executable, "-S", str(ROOT / "stream_chat.py"), *words],
                              env=environment, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        assert (done.returncode == 1 and "Traceback" not in done.stderr
                and "fault of" not in done.stderr), done.stderr
        assert "is missing in" in done.stderr and len(done.stderr.splitlines()) == 2
    done = subprocess.run([sys.executable, "-S", str(ROOT / "stream_chat.py"), "-p", "demo",
                           "--demo-delay", "0", "hi"], env=environment, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert done.returncode == 0 and done.stdout, done.stderr


@pytest.mark.parametrize("name", ["python3.8", "python3.9", "python3.10"])
def test_an_old_python_gets_one_line(environment: Environment, name: str) -> None:
    old = shutil.which(name)
    if old is None or subprocess.run([old, "-c", ""], capture_output=True).returncode:
        pytest.skip(f"there is no {name} here")
    done = subprocess.run([old, str(ROOT / "stream_chat.py"), "hi"], env=environment,
                          capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: Stream Chat needs Python 3.11 "
                                                           "or newer; this is 3.")
    assert len(done.stderr.splitlines()) == 1
