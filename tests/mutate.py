"""`make mutants`: changes one thing in a module at a time and runs its mirrored tests, which should notice.

A test that passes whatever the code does proves nothing. Each mutant is run in a child process that imports the
changed module in place of the real one; no file is written. Tests that start processes are left out: they would see the
real one. Random choices print their seed.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import io
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

ROOT = Path(__file__).resolve().parent.parent
LEAST_SECONDS = 20.0     # that the tests of a mutant may take; more where they take long without one
# What is decided or guarded here is what a fault would cost most.
MODULES = (
    "core/retry/policy.py", "core/providers/finish.py", "core/chat/joining.py", "core/chat/repetition.py",
    "core/window/budget.py", "core/store/identity.py", "core/tools/guards_net.py", "core/tools/secret_files.py",
    "core/providers/loads.py", "core/models/pool.py", "core/config/yaml_words.py", "core/stats/counting.py")
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Continue: ast.Break, ast.Break: ast.Continue}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of a module: the line, and what it is in words."""

    line: int
    what: str
    tree: ast.Module


def mutants_of(source: str) -> Iterator[Mutant]:
    """Every mutant of a module."""
    tree = ast.parse(source)
    spared = {id(node) for node in _not_code(tree)}
    for number, node in enumerate(ast.walk(tree)):
        if id(node) in spared:
            continue
        for what, change in _changes(node):
            mutated = copy.deepcopy(tree)
            change(next(each for place, each in enumerate(ast.walk(mutated)) if place == number))
            yield Mutant(getattr(node, "lineno", 0), what, ast.fix_missing_locations(mutated))


def _not_code(tree: ast.Module) -> Iterator[ast.AST]:
    """Docstrings, annotations, options of dataclasses, and what only the type check reads."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            yield from ast.walk(body[0])
        for name in ("annotation", "returns"):
            if getattr(node, name, None) is not None:
                yield from ast.walk(getattr(node, name))
        for decorator in getattr(node, "decorator_list", ()):      # frozen=True, slots=True
            yield from ast.walk(decorator)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from ast.walk(node)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("TYPE_CHECKING", "__all__"):
            yield from ast.walk(node)


def _changes(node: ast.AST) -> Iterator[tuple[str, Callable[[ast.AST], None]]]:
    match node:
        case ast.Compare(ops=[operator, *_]) if type(operator) in SWAPS:
            yield _named(operator), lambda found: _set_operator(found, SWAPS[type(operator)]())
        case ast.BoolOp(op=operator) | ast.BinOp(op=operator) if type(operator) in SWAPS:
            yield _named(operator), lambda found: setattr(found, "op", SWAPS[type(operator)]())
        case ast.UnaryOp(op=ast.Not()):
            yield "not dropped", _drop_not
        case ast.Constant(value=bool() as value):
            yield f"{value} turned", lambda found: setattr(found, "value", not value)
        case ast.Constant(value=int() | float() as number):
            other = number + 1 if abs(number) < 100 else number * 2      # a limit of 3,001 is one of 3,000
            yield f"{number} -> {other}", lambda found: setattr(found, "value", other)
        case ast.Return(value=value) if value is not None and not isinstance(value, ast.Constant):
            yield "returns None", lambda found: setattr(found, "value", ast.Constant(None))
        case ast.Expr(value=ast.Call()):
            yield "call dropped", lambda found: setattr(found, "value", ast.Constant(None))
        case ast.IfExp():
            yield "other branch", _turn_around


def _turn_around(node: ast.AST) -> None:
    assert isinstance(node, ast.IfExp)
    node.test = ast.UnaryOp(ast.Not(), node.test)


def _drop_not(node: ast.AST) -> None:
    """As bool(x): +x would fail on most values, which any test notices."""
    assert isinstance(node, ast.UnaryOp)
    truth = ast.Call(ast.Name("bool", ast.Load()), [node.operand], [])
    node.op, node.operand = ast.UAdd(), truth


def _set_operator(node: ast.AST, operator: ast.AST) -> None:
    assert isinstance(node, ast.Compare) and isinstance(operator, ast.cmpop)
    node.ops[0] = operator


def _named(operator: ast.AST) -> str:
    return f"{type(operator).__name__} -> {SWAPS[type(operator)].__name__}"


# ---- running

class _InPlace(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives this code for this module, and nothing for others."""

    def __init__(self, name: str, code: CodeType, path: Path) -> None:
        self.name, self.code, self.path = name, code, path

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(name, self, origin=str(self.path)) if name == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(self.path)
        exec(self.code, module.__dict__)


def mirrored_tests(module: str) -> list[str]:
    """The tests that import the module: those in the folder that mirrors its own, else any."""
    name, folder = _name_of(module), Path(module).parent.name
    beside = [*(ROOT / "tests").glob("test_*.py"), *(ROOT / "tests" / folder).glob("test_*.py")]
    found = [str(path) for path in beside if name in path.read_text(encoding="utf-8")]
    every = (ROOT / "tests").rglob("test_*.py")
    return found or [str(path) for path in every if name in path.read_text(encoding="utf-8")]


def _name_of(module: str) -> str:
    return module.removesuffix(".py").replace("/", ".")


def passes(module: str, tree: ast.Module | None, tests: Sequence[str], seconds: float) -> bool:
    """Whether the tests pass with this in the module's place, within this time."""
    child = os.fork()
    if child == 0:
        _be_tested(module, tree, tests)
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _be_tested(module: str, tree: ast.Module | None, tests: Sequence[str]) -> None:
    """In the child process: never returns."""
    code = 1
    try:
        os.setpgid(0, 0)
        import pytest
        if tree is not None:
            compiled = compile(tree, str(ROOT / module), "exec")
            sys.meta_path.insert(0, _InPlace(_name_of(module), compiled, ROOT / module))
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            code = int(pytest.main(["-q", "-x", "-p", "no:xdist", "-p", "no:cacheprovider", "--no-header",
                                    "-m", "not processes", *tests]))
    finally:
        os._exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 1 when more than 5 % of the mutants survived."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("modules", nargs="*", default=list(MODULES), metavar="core/FOLDER/FILE.py")
    parser.add_argument("--most", type=int, default=30, help="mutants of one module (30)")
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args(argv)
    seed = random.randrange(1 << 32) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    tried = lived = 0
    for module in given.modules:
        more, survivors = run_module(module, given.most, random.Random(f"{seed}/{module}"))
        tried, lived = tried + more, lived + len(survivors)
        print(f"{module}: {more} mutants, {len(survivors)} survived", flush=True)
        for mutant in survivors:
            print(f"  {module}:{mutant.line}: {mutant.what}", flush=True)
    print(f"{tried} mutants, {lived} survived ({lived / max(tried, 1):.1%})")
    return int(lived > 0.05 * tried)


def run_module(module: str, most: int, chance: random.Random) -> tuple[int, list[Mutant]]:
    """How many were tried, and those that no test noticed."""
    tests = mirrored_tests(module)
    started = time.monotonic()
    if not tests or not passes(module, None, tests, 600.0):
        print(f"{module}: its tests do not pass as it is: {', '.join(tests) or 'there are none'}")
        return 0, []
    seconds = max(LEAST_SECONDS, 5 * (time.monotonic() - started))
    every = list(mutants_of((ROOT / module).read_text(encoding="utf-8")))
    chosen = sorted(chance.sample(every, min(most, len(every))), key=lambda mutant: mutant.line)
    return len(chosen), [mutant for mutant in chosen if passes(module, mutant.tree, tests, seconds)]


if __name__ == "__main__":
    sys.exit(main())
