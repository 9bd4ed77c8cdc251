"""The rules of docs/testing.md that no single test can check: where tests are, what `make` runs,
which tests start processes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests import mutate, mutations, quick

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = sorted(path.name for path in (ROOT / "tests").iterdir()
                 if (path / "__init__.py").exists())


def test_folders_mirror_the_program() -> None:
    rooms = {path.name for path in (ROOT / "core").iterdir() if (path / "__init__.py").exists()}
    assert set(FOLDERS) <= rooms | {"program", "install", "proof"}


@pytest.mark.processes
def test_a_process_in_an_unmarked_test_fails_it(tmp_path: Path) -> None:
    """So that `make quick` starts none."""
    test = tmp_path / "test_sample.py"
    test.write_text("import subprocess\nimport pytest\n\n"
                    "def test_plain(): subprocess.run(['true'])\n\n"
                    "@pytest.mark.processes\ndef test_marked(): subprocess.run(['true'])\n\n"
                    "def test_by_fixture(environment): subprocess.run(['true'], "
                    "env=environment)\n\ndef test_without(): pass\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:xdist",
               "--confcutdir", str(tmp_path),
               "-c", str(ROOT / "pyproject.toml"), str(test)]
    # without the plugins of others, which take longer to load than the tests to run
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, timeout=100)
    assert "1 failed, 3 passed" in done.stdout and "FAILED" in done.stdout, done.stdout
    assert ("mark the test with @pytest.mark.processes: it starts "
            "subprocess.Popen: true" in done.stdout)
    quick = subprocess.run([*command, "-m", "not processes"], cwd=ROOT, env=alone,
                           capture_output=True, text=True, timeout=100)
    assert "2 deselected" in quick.stdout, quick.stdout


def test_no_test_patches_a_constant() -> None:
    """A limit that a test must change is an argument."""
    patched = re.compile(r"""setattr\([^()]*?(?:["'][\w.]*\.|,\s*["'])[A-Z][A-Z_]+["']""")
    assert patched.search('setattr("core.x.MOST", 1)') and patched.search("setattr(x, 'MOST', 1)")
    assert [f"{path.relative_to(ROOT)}: {found[0]}" for path in (ROOT / "tests").rglob("*.py")
            if path.name != "test_suite.py"
            for found in patched.finditer(path.read_text(encoding="utf-8"))] == []


def test_quick_tests_look_into_every_room() -> None:
    """tests/program and tests/proof start programs, which takes long."""
    with_tests = {folder for folder in FOLDERS if any((ROOT / "tests" / folder).glob("test_*.py"))}
    assert set(quick.ROOMS) == with_tests - {"program", "proof"} | {""}
    for file in quick.FILES:
        assert (ROOT / "tests" / file).exists(), f"tests/quick.py names {file}, which is missing"
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nquick:")[2]
    assert '--quick -m "not processes"' in recipe.partition("\n\n")[0]


@pytest.mark.processes
def test_quick_leaves_other_files_alone() -> None:
    """They are not imported, and none of the quick tests starts a process."""
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "--collect-only", "--quick", "-p",
                           "no:xdist", "-m", "not processes", "tests/web", "tests/store"],
                          cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    files = {line.partition("::")[0].removeprefix("tests/")
             for line in done.stdout.splitlines() if "::" in line}
    assert files == {file for file in quick.FILES if file.startswith(("web/", "store/"))}
    assert "postgresql" not in done.stdout


def test_the_page_names_what_make_runs() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"),
                             re.MULTILINE))
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    named = set(re.findall(r"make ([a-z]+)", page))
    assert named <= targets and {"quick", "test", "coverage", "check"} <= named


def test_the_page_names_what_tests_share() -> None:
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    for name in re.findall(r"`([a-z_]+\.py)`", page):
        assert (ROOT / "tests" / name).exists() or (ROOT / name).exists(), name


def test_each_explained_change_can_be_made() -> None:
    """A row of the table for `make mutants` must name an existing line."""
    rows = mutate.explained((ROOT / mutate.PAGE).read_text(encoding="utf-8"))
    possible = {mutate.key_of(mutant) for module in {row[0] for row in rows}
                for mutant in mutations.mutants_of(
                    module, (ROOT / module).read_text(encoding="utf-8"))}
    assert rows and rows.keys() <= possible, rows.keys() - possible


def test_each_module_that_is_mutated_has_tests() -> None:
    for module in mutate.MODULES:
        tests = mutate.mirrored_tests(module)
        assert tests and all(os.path.exists(test) for test in tests), module


def test_markers_need_no_package() -> None:
    """A marker that only a package of requirements-dev.txt declares is an error without it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = {line.partition(":")[0] for line in
                settings["tool"]["pytest"]["ini_options"]["markers"]}
    used = {name for path in (ROOT / "tests").rglob("*.py")
            for name in re.findall(r"^\s*@?\(?pytest\.mark\.(\w+)|pytestmark = pytest\.mark\.(\w+)",
                                   path.read_text(encoding="utf-8"), re.MULTILINE)
            for name in name if name}
    assert used - {"parametrize", "skip", "skipif", "usefixtures", "xfail"} == declared


@pytest.mark.processes
def test_mutants_are_made() -> None:
    """In functions that pytest has loaded; a change that is not made would never be noticed."""
    done = subprocess.run([sys.executable, "-m", "tests.mutate", "core/retry/policy.py",
                           "--most", "4", "--seed", "1"], cwd=ROOT, capture_output=True, text=True,
                          timeout=200)
    assert "4 mutants, " in done.stdout and "not made" not in done.stdout, done.stdout
