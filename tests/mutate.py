"""`make mutants`: changes one thing in a module at a time and runs its mirrored tests, which should
fail.

A test that passes whatever the code does proves nothing. Each mutant is run in a fork of a
process that has collected the tests: the functions of the real module get the changed code there;
no file is written. Tests that start processes are left out: they would see the real one. Random
choices print their seed.
"""

from __future__ import annotations

import argparse
import ast
import gc
import importlib
import io
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import _pytest.main as loop
import coverage
import pytest

from tests.mutations import Mutant, mutants_of

PAGE = "docs/reliability.md"
ROOT = Path(__file__).resolve().parent.parent
PASSED, FAILED, UNCHANGED = 0, 1, 2     # how a trial ends
CONSTANTS = (int, float, str, tuple, frozenset, dict, list, re.Pattern)
LEAST_SECONDS = 20.0  # that the tests of a mutant may take; more where they take long without one
# What is decided or guarded here is what a fault would cost most.
# After each, the tests that check it, if their imports do not show that.
MODULES: dict[str, tuple[str, ...]] = {
    "core/retry/policy.py": ("retry/test_policy.py",),
    "core/providers/finish.py": ("providers/test_openai.py", "providers/test_anthropic.py"),
    "core/chat/joining.py": (), "core/chat/repetition.py": (),
    "core/window/budget.py": ("window/test_context_budget.py",),
    "core/store/identity.py": (
        "store/test_identity.py", "store/test_db_contract.py", "sessions/test_short_names.py"),
    "core/tools/guards/net.py": (), "core/tools/guards/secret_files.py": (),
    "core/tools/guards/files.py": (
        "tools/test_guard_files.py", "tools/test_secret_files.py", "tools/test_tool_executor.py"),
    "core/tool_executor.py": (
        "tools/test_tool_executor.py", "terminal/test_approval.py", "tools/test_secret_files.py",
        "chat/test_asking.py"),
    "core/web/guard.py": ("web/test_guard.py",),
    "core/providers/loads.py": (), "core/models/pool.py": ("models/test_pool.py",),
    "core/config/yaml_words.py": ("config/test_config_file.py",),
    "core/stats/counting.py": (), "core/safe_text.py": ("test_safe_text.py",),
    "core/store/text.py": ("store/test_text.py", "store/test_db_contract.py"),
    "core/store/matching.py": ("store/test_db_lists.py", "sessions/test_search.py",
                               "store/test_query.py"),
    "core/store/words.py": (
        "store/test_db_contract.py", "store/test_query.py", "sessions/test_search.py"),
    "core/store/sql/messages.py": (
        "store/test_db_lists.py", "store/test_db_parts.py", "store/test_db_contract.py",
        "store/test_db_sqlite.py"),
    "core/store/sql/sessions.py": (
        "store/test_db_lists.py", "store/test_db_parts.py", "store/test_db_contract.py",
        "store/test_db_sqlite.py"),
    "core/store/sql/store.py": (
        "store/test_db_sqlite.py", "store/test_db_lists.py", "store/test_db_contract.py",
        "store/test_overlapping.py", "sessions/test_history.py", "sessions/test_together.py"),
    "core/store/sqlite/store.py": (
        "store/test_db_sqlite.py", "store/test_care.py", "store/test_db_contract.py",
        "store/test_db_lists.py", "sessions/test_search.py", "sessions/test_waiting_writes.py"),
    "core/store/locks.py": ("store/test_locks.py",),
    "core/store/message_json.py": (
        "sessions/test_session.py", "sessions/test_export.py", "store/test_db_contract.py",
        "sessions/test_importing_shapes.py"),
    "core/providers/foreign.py": (), "core/providers/http/parser.py": (),
    "core/providers/http/decoder.py": ("providers/test_decoder.py",),
    "core/providers/errors_http.py": ("providers/test_provider_errors.py",),
    "core/providers/parameters.py":
    ("providers/test_provider_errors.py", "providers/test_sealed.py"),
    "core/providers/sealed.py": ("providers/test_sealed.py", "providers/test_conversations.py"),
    "core/providers/tool_schema.py": ("providers/test_foreign_shapes.py",),
    "core/providers/thinking.py": ("providers/test_hosts.py",),
    "core/providers/ollama_reply.py": ("providers/test_ollama_reply.py",),
    "core/tools/calculate.py": (),
    "core/sessions/spool.py": ("sessions/test_waiting_writes.py", "sessions/test_session.py"),
    "core/sessions/reply.py": ("sessions/test_reply.py",),
    "core/sessions/tree.py": ("sessions/test_tree.py",),
    "core/session_manager.py": ("sessions/test_history.py", "sessions/test_session.py"),
    "core/sessions/journal.py": ("sessions/test_journal.py",)}


# ---- running

def mirrored_tests(module: str) -> list[str]:
    """The tests named after it, else those in the mirroring folder that import it, else any that
    do.
    """
    if MODULES.get(module):
        return [str(ROOT / "tests" / path) for path in MODULES[module]]
    name, folder = _name_of(module), Path(module).parts[1]
    beside = [*(ROOT / "tests").glob("test_*.py"), *(ROOT / "tests" / folder).glob("test_*.py")]
    found = [str(path) for path in beside if name in path.read_text(encoding="utf-8")]
    every = (ROOT / "tests").rglob("test_*.py")
    return found or [str(path) for path in every if name in path.read_text(encoding="utf-8")]


def _name_of(module: str) -> str:
    return module.removesuffix(".py").replace("/", ".")


def put_in_place(module: ModuleType, tree: ast.Module) -> bool:
    """Give the module's functions the code of this tree, and its constants their values, wherever
    they are used.

    Return False if that changes nothing: default values and class bodies were evaluated at import.
    """
    compiled = compile(tree, str(module.__file__), "exec")
    codes = {(code.co_qualname, code.co_firstlineno): code for code in _codes(compiled)}
    changed = False
    gc.unfreeze()    # pytest freezes what it has collected, and that is not listed
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
    exec(compiled, fresh)       # what fails here fails in every test, when it is imported
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
    """Runs the collected tests once as they are, then for each mutant those that reach its
    lines, the quickest first, each time in a fork of this process.

    What these do not notice is tried with all of them: a fixture or a cache may have kept for
    a later test what an earlier one made the module do.
    """

    def __init__(self, module: str, mutants: Sequence[Mutant], jobs: int) -> None:
        self.module, self.mutants, self.jobs = module, mutants, jobs
        self.tried: list[Mutant] = []
        self.survivors: list[Mutant] = []
        self.not_made: list[Mutant] = []
        self.sound = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        reached = self._as_it_is(session)
        self.sound = reached is not None
        running: dict[int, Trial] = {}
        for mutant in self.mutants if reached is not None else ():
            while len(running) >= self.jobs:
                self._end_of_one(running)
            trial = Trial(mutant, reached.seconds)
            child = os.fork()
            if child == 0:
                self._be_tested(session, mutant, reached)
            running[child] = trial
        while running:
            self._end_of_one(running)
        self.survivors.sort(key=lambda mutant: mutant.line)
        return True

    def _as_it_is(self, session: pytest.Session) -> Reached | None:
        """Which tests reach which lines; None if they do not pass."""
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "reached.json"
            child = os.fork()
            if child == 0:
                outcome = FAILED
                try:
                    os.setpgid(0, 0)
                    watch = Watch(str(ROOT / self.module))
                    session.config.pluginmanager.register(watch)
                    lines = watch.seen(lambda: loop.pytest_runtestloop(session))
                    place.write_text(json.dumps([lines, watch.seconds]), encoding="utf-8")
                    outcome = FAILED if session.testsfailed else PASSED
                finally:
                    os._exit(outcome)
            _, status = os.waitpid(child, 0)
            if os.waitstatus_to_exitcode(status) != PASSED:
                return None
            return Reached(*json.loads(place.read_text(encoding="utf-8")))

    def _end_of_one(self, running: dict[int, Trial]) -> None:
        """Wait until a trial has ended or has taken too long."""
        while True:
            for child, trial in list(running.items()):
                found, status = os.waitpid(child, os.WNOHANG)
                if not found and time.monotonic() > trial.limit:
                    os.killpg(child, signal.SIGKILL)
                    _, status = os.waitpid(child, 0)
                elif not found:
                    continue
                del running[child]
                return self._note(trial.mutant, os.waitstatus_to_exitcode(status))
            time.sleep(0.02)

    def _note(self, mutant: Mutant, outcome: int) -> None:
        (self.not_made if outcome == UNCHANGED else self.tried).append(mutant)
        if outcome == PASSED:
            self.survivors.append(mutant)
            print(f"  {self.module}:{mutant.line}: {mutant.what}", file=sys.__stderr__, flush=True)

    def _be_tested(self, session: pytest.Session, mutant: Mutant, reached: Reached) -> None:
        """Run in the child process; never returns."""
        outcome, every = FAILED, list(session.items)
        try:
            os.setpgid(0, 0)
            os.environ["CI"] = "true"     # a module that a change looks for in vain fails the test
            if not put_in_place(importlib.import_module(_name_of(self.module)), mutant.tree()):
                outcome = UNCHANGED
            else:
                likely = reached.by(mutant, every)
                others = [item for item in every if item not in likely]
                for session.items in (likely, others if likely else []):
                    loop.pytest_runtestloop(session)
                outcome = PASSED if not session.testsfailed else FAILED
        finally:
            os._exit(outcome)


@dataclass(frozen=True, slots=True)
class Trial:
    """A mutant that is being tested, and when that has taken too long."""

    mutant: Mutant
    seconds: float
    limit: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "limit",
                           time.monotonic() + max(LEAST_SECONDS, 10 * self.seconds))


class Watch:
    """Notes which tests reach which lines of a file, and how long they take."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.seconds: dict[str, float] = {}
        self.coverage = coverage.Coverage(data_file=None, config_file=False, include=[path])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        started = time.monotonic()
        self.coverage.switch_context(item.nodeid)
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.monotonic() - started

    def seen(self, run: Callable[[], object]) -> dict[int, list[str]]:
        """The tests that reach each line while this block runs."""
        self.coverage.start()
        run()
        self.coverage.stop()
        return self.coverage.get_data().contexts_by_lineno(self.path)


@dataclass(frozen=True, slots=True)
class Reached:
    """Which tests reach each line, and the seconds of each test."""

    lines: dict[str, list[str]]     # as JSON has it: the numbers are text
    times: dict[str, float]

    @property
    def seconds(self) -> float:
        return sum(self.times.values())

    def by(self, mutant: Mutant, tests: Sequence[pytest.Item]) -> list[pytest.Item]:
        """The tests that reach a mutant, the quickest first; all if its line is evaluated at
        import.
        """
        names = {name for line in range(mutant.line, mutant.last_line + 1)
                 for name in self.lines.get(str(line), ())}
        return sorted((test for test in tests if not mutant.in_function or test.nodeid in names),
                      key=lambda test: self.times.get(test.nodeid, 0.0))


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 1 when more than 5 % of the mutants survived without an explanation, or could not be
    made in a function.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("modules", nargs="*", default=list(MODULES), metavar="core/FOLDER/FILE.py")
    parser.add_argument("--most", type=int, default=30, help="mutants of one module (30)")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--jobs", type=int, default=2, help="mutants at the same time (2)")
    given = parser.parse_args(argv)
    seed = random.randrange(1 << 32) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    tried = lived = unexplained = not_made = 0
    reasons = explained((ROOT / PAGE).read_text(encoding="utf-8"))
    for module in given.modules:
        trials = run_module(module, given.most, random.Random(f"{seed}/{module}"), given.jobs)
        survivors, outside = trials.survivors, sum(not each.in_function for each in trials.not_made)
        tried, lived = tried + len(trials.tried), lived + len(survivors)
        not_made += len(trials.not_made) - outside + (not trials.sound)
        print(f"{module}: {len(trials.tried)} mutants, {len(survivors)} survived", flush=True)
        for mutant in trials.not_made:
            print(f"  {module}:{mutant.line}: {mutant.what}: not made", flush=True)
        for mutant in survivors:
            reason = reasons.get(key_of(mutant))
            unexplained += reason is None
            print(f"  {module}:{mutant.line}: {mutant.what}: {reason or 'not explained'}",
                  flush=True)
    print(f"{tried} mutants, {lived} survived ({lived / max(tried, 1):.1%}), "
          f"{unexplained} of them not explained in {PAGE}")
    return int(unexplained + not_made > 0.05 * tried)


def explained(page: str) -> dict[tuple[str, str, str], str]:
    """The reasons in the page's table of changes that no test can notice, by module, line of code
    and change.
    """
    rows = ([cell.strip().strip("`").replace(r"\|", "|") for cell in
             re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in page.splitlines() if line.startswith("| `core/"))
    return {(row[0], row[1], row[2]): row[3] for row in rows if len(row) == 4}


def key_of(mutant: Mutant) -> tuple[str, str, str]:
    """The key of a mutant in the table: its module, the line of code, the change."""
    return mutant.module, mutant.code, mutant.what


def run_module(module: str, most: int, chance: random.Random, jobs: int) -> Trials:
    """Try so many mutants of a module, chosen at random."""
    tests = mirrored_tests(module)
    assert tests, f"no test names {module}: add its tests to MODULES"
    every = list(mutants_of(module, (ROOT / module).read_text(encoding="utf-8")))
    chosen = sorted(chance.sample(every, min(most, len(every))), key=lambda mutant: mutant.line)
    trials = Trials(module, chosen, jobs)
    with redirect_stdout(io.StringIO()) as said:
        pytest.main(["-q", "-x", "-p", "no:xdist", "-p", "no:cacheprovider", "--no-header", "-m",
                     "not processes",
                     *tests], plugins=[trials])
    if not trials.sound:
        print(f"{module}: its tests do not pass as it is: {', '.join(tests)}\n{said.getvalue()}")
    return trials


if __name__ == "__main__":
    sys.exit(main())
