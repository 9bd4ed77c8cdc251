"""The modules, classes and functions in docs/architecture.md exist and are used."""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOREIGN = {"task.cancel"}       # of the standard library, by the name of a variable


@dataclass
class Program:
    """What the program defines, as `name` and `Class.method`, and every name that it uses."""

    modules: set[str] = field(default_factory=set)
    defined: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)


@cache
def program() -> Program:
    found = Program()
    for path in (ROOT / "core").rglob("*.py"):
        found.modules.add(path.parent.name if path.stem == "__init__" else path.stem)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                found.defined.add(node.name)
            if isinstance(node, ast.ClassDef):
                methods = [inner for inner in node.body
                           if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef))]
                found.defined |= {f"{node.name}.{method.name}" for method in methods}
            if isinstance(node, ast.Name):
                (found.used if isinstance(node.ctx, ast.Load) else found.defined).add(node.id)
            if isinstance(node, ast.Attribute):
                found.used.add(node.attr)
    return found


def steps() -> list[str]:
    """Return the names between backticks in the steps, without their arguments."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    part = page.split("\n## How a message travels\n")[1].split("\n## ")[0]
    return sorted({name.partition("(")[0] for name in re.findall(r"`([^`]+)`", part)})


@pytest.mark.parametrize("name", steps())
def test_a_step_names_what_exists_and_is_used(name: str) -> None:
    known = program()
    first, _, rest = name.partition(".")
    if name in FOREIGN or first in sys.stdlib_module_names:
        return
    if name.endswith(".py"):
        assert list(ROOT.glob(name) if "/" in name
                    else (ROOT / "core").rglob(name)), f"there is no {name}"
    elif name not in known.modules:
        inside = rest if first in known.modules else name
        assert inside in known.defined, f"{name} is not defined in core/"
        assert inside.rpartition(".")[2] in known.used, f"nothing uses {name}"


def fault_paths() -> list[str]:
    """Return the files and folders in the table of faults, as paths or parts of paths."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    part = page.split("\n## Where a fault belongs\n")[1].split("\n## ")[0]
    names = re.findall(r"`([^`]+)`", part)
    return sorted({name for name in names if re.search(r"/|\.py$|\.js$", name) and "<" not in name})


@pytest.mark.parametrize("name", fault_paths())
def test_the_table_of_faults_names_files_that_exist(name: str) -> None:
    places = (ROOT, ROOT / "core", ROOT / "tests")
    assert any(any(place.rglob(name.rstrip("/"))) for place in places), f"{name} does not exist"


def test_the_steps_are_read() -> None:
    """The test above finds the steps on the page."""
    assert {"stream_chat_with_retry", "next_step", "Session.record", "Chat.turn"} <= set(steps())
