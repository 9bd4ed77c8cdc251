"""`make mutants`: changes one thing in a module at a time and runs its mirrored
tests, which should notice.

A test that passes whatever the code does proves nothing. Each mutant is run in a fork of a
process that has collected the tests: the functions of the real module get the changed code there;
no file is written. Tests that start processes are left out: they would see the real one. Random
choices print their seed.
"""

from __future__ import annotations

import argparse
import ast
import copy
import gc
import importlib
import io
import os
import random
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import _pytest.main as loop
import pytest

ROOT = Path(__file__).resolve().parent.parent
PASSED, FAILED, UNCHANGED = 0, 1, 2     # how a trial ends
CONSTANTS = (int, float, str, tuple, frozenset, dict, list, re.Pattern)
LEAST_SECONDS = 20.0  # that the tests of a mutant may take; more where they take long without one
# What is decided or guarded here is what a fault would cost most.
# Behind each, the tests that look at it where that is not said by their imports.
MODULES: dict[str, tuple[str, ...]] = {
    "core/retry/policy.py": ("retry/test_policy.py",),
    "core/providers/finish.py": ("providers/test_openai.py", "providers/test_anthropic.py"),
    "core/chat/joining.py": (), "core/chat/repetition.py": (),
    "core/window/budget.py": ("window/test_context_budget.py",),
    "core/store/identity.py": ("store/test_identity.py", "store/test_db_contract.py"),
    "core/tools/guards_net.py": (), "core/tools/secret_files.py": (),
    "core/tools/guards_files.py": (
        "tools/test_guard_files.py", "tools/test_secret_files.py", "tools/test_tool_executor.py"),
    "core/providers/loads.py": (), "core/models/pool.py": (), "core/config/yaml_words.py": (),
    "core/stats/counting.py": (), "core/safe_text.py": ("test_safe_text.py",),
    "core/store/text.py": ("store/test_text.py", "store/test_db_contract.py"),
    "core/store/matching.py": ("store/test_db_contract.py", "sessions/test_search.py"),
    "core/store/words.py": ("store/test_db_contract.py", "sessions/test_search.py"),
    "core/store/sql_messages.py": ("store/test_db_contract.py", "store/test_db_sqlite.py"),
    "core/store/sql_sessions.py": ("store/test_db_contract.py", "store/test_db_sqlite.py"),
    "core/store/sql_store.py": ("store/test_db_contract.py", "store/test_db_sqlite.py"),
    "core/store/sqlite.py": ("store/test_db_sqlite.py", "store/test_care.py"),
    "core/store/locks.py": (), "core/store/message_json.py": (),
    "core/providers/foreign.py": (), "core/providers/http_parser.py": (),
    "core/providers/decoder.py": (),
    "core/providers/errors_http.py": ("providers/test_provider_errors.py",),
    "core/providers/parameters.py":
    ("providers/test_provider_errors.py", "providers/test_sealed.py"),
    "core/providers/sealed.py": ("providers/test_sealed.py", "providers/test_conversations.py"),
    "core/providers/tool_schema.py": ("providers/test_foreign_shapes.py",),
    "core/providers/thinking.py": (), "core/providers/ollama_reply.py": (),
    "core/tools/calculate.py": (),
    "core/sessions/spool.py": ("sessions/test_waiting_writes.py", "sessions/test_session.py"),
    "core/sessions/reply.py": ("chat/test_turn.py",),
    "core/sessions/tree.py": ("sessions/test_history.py", "sessions/test_together.py"),
    "core/session_manager.py": ("sessions/test_history.py", "sessions/test_session.py"),
    "core/sessions/journal.py": ("sessions/test_history.py", "sessions/test_session.py")}
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Continue: ast.Break,
    ast.Break: ast.Continue}


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
        if (isinstance(body, list) and body and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)):
            yield from ast.walk(body[0])
        for name in ("annotation", "returns"):
            if getattr(node, name, None) is not None:
                yield from ast.walk(getattr(node, name))
        for decorator in getattr(node, "decorator_list", ()):      # frozen=True, slots=True
            yield from ast.walk(decorator)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from ast.walk(node)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("TYPE_CHECKING",
                                                                             "__all__"):
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
            # a limit of 3,001 is one of 3,000
            other = number + 1 if abs(number) < 100 else number * 2
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

def mirrored_tests(module: str) -> list[str]:
    """The tests named for it, else those that import it in the folder that
    mirrors its own, else any.
    """
    if MODULES.get(module):
        return [str(ROOT / "tests" / path) for path in MODULES[module]]
    name, folder = _name_of(module), Path(module).parent.name
    beside = [*(ROOT / "tests").glob("test_*.py"), *(ROOT / "tests" / folder).glob("test_*.py")]
    found = [str(path) for path in beside if name in path.read_text(encoding="utf-8")]
    every = (ROOT / "tests").rglob("test_*.py")
    return found or [str(path) for path in every if name in path.read_text(encoding="utf-8")]


def _name_of(module: str) -> str:
    return module.removesuffix(".py").replace("/", ".")


def put_in_place(module: ModuleType, tree: ast.Module) -> bool:
    """Give the module's functions the code of this tree, and its constants their values,
    wherever they are in use.

    False when that changes nothing: default values and the bodies of classes were read when
    the module was imported.
    """
    compiled = compile(tree, str(module.__file__), "exec")
    codes = {(code.co_qualname, code.co_firstlineno): code for code in _codes(compiled)}
    changed = False
    for function in [each for each in gc.get_objects() if isinstance(each, FunctionType)]:
        old = function.__code__
        new = (codes.get((old.co_qualname, old.co_firstlineno))
               if old.co_filename == module.__file__ else None)
        if new is not None and new != old:
            function.__code__, changed = new, True
    return _set_constants(module, compiled) or changed


def _codes(code: CodeType) -> Iterator[CodeType]:
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield inner
            yield from _codes(inner)


def _set_constants(module: ModuleType, compiled: CodeType) -> bool:
    fresh: dict[str, object] = {"__name__": module.__name__, "__file__": module.__file__,
                                "__package__": module.__package__}
    with suppress(Exception):
        exec(compiled, fresh)
    changed = False
    for name, value in fresh.items():
        old = vars(module).get(name)
        if (isinstance(value, CONSTANTS) and type(old) is type(value) and value != old
            and " at 0x" not in repr(value)):
            for user in list(sys.modules.values()):
                if vars(user).get(name) is old:
                    setattr(user, name, value)
                    changed = True
    return changed


class Trials:
    """Runs the collected tests once as they are, then once for each mutant,
    each time in a fork of this process.
    """

    def __init__(self, module: str, mutants: Sequence[Mutant]) -> None:
        self.module, self.mutants = module, mutants
        self.tried: list[Mutant] = []
        self.survivors: list[Mutant] = []
        self.sound = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        started = time.monotonic()
        self.sound = self._outcome(session, None, 600.0) == PASSED
        seconds = max(LEAST_SECONDS, 5 * (time.monotonic() - started))
        for mutant in self.mutants if self.sound else ():
            outcome = self._outcome(session, mutant, seconds)
            if outcome != UNCHANGED:
                self.tried.append(mutant)
            if outcome == PASSED:
                self.survivors.append(mutant)
                print(f"  {self.module}:{mutant.line}: {mutant.what}", file=sys.__stderr__,
                      flush=True)
        return True

    def _outcome(self, session: pytest.Session, mutant: Mutant | None, seconds: float) -> int:
        child = os.fork()
        if child == 0:
            self._be_tested(session, mutant)
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return FAILED

    def _be_tested(self, session: pytest.Session, mutant: Mutant | None) -> None:
        """In the child process: never returns."""
        outcome = FAILED
        try:
            os.setpgid(0, 0)
            if mutant is not None and not put_in_place(
                    importlib.import_module(_name_of(self.module)), mutant.tree):
                outcome = UNCHANGED
            else:
                loop.pytest_runtestloop(session)
                outcome = PASSED if not session.testsfailed else FAILED
        finally:
            os._exit(outcome)


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
    every = list(mutants_of((ROOT / module).read_text(encoding="utf-8")))
    chosen = sorted(chance.sample(every, min(most, len(every))), key=lambda mutant: mutant.line)
    trials = Trials(module, chosen)
    with redirect_stdout(io.StringIO()) as said:
        pytest.main(["-q", "-x", "-p", "no:xdist", "-p", "no:cacheprovider", "--no-header", "-m",
                     "not processes",
                     *tests], plugins=[trials])
    if not trials.sound:
        print(f"{module}: its tests do not pass as it is: {', '.join(tests) or 'there are none'}\n"
              f"{said.getvalue()}")
    return len(trials.tried), trials.survivors


if __name__ == "__main__":
    sys.exit(main())
