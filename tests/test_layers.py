"""Imports only point down and are at the top of modules: enforces the rules of
docs/architecture.md.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from core import chat_engine
from core.config import BY_NAME
from tests.starts import modules_of_starts
from tests.surroundings import uncounted

ROOT = Path(__file__).resolve().parent.parent

DOORS = ("core.terminal", "core.web", "core.command_line")

# From top to bottom. A module may import from the rows below its own, and from its own row.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("stream_chat",),
    ("core.chat_engine",),
    ("core.terminal", "core.web", "core.command_line"),
    ("core.console",),
    ("core.commands", "core.argument_parser"),
    ("core.ask",),
    ("core.setup",),
    ("core.chat",),
    ("core.session_manager", "core.sessions", "core.context_loader", "core.context"),
    ("core.model_manager", "core.models", "core.stats", "core.window"),
    ("core.providers", "core.tools", "core.tool_executor", "core.retry_handler", "core.pictures"),
    ("core.engine", "core.retry", "db", "core.store"),
    ("core.events", "core.rendering"),
    ("core.dataclass", "core.late_modules", "core.regex", "core.running_total", "core.messages",
     "core.errors", "core.config", "core.safe_text", "core.text_encoding"),
)


@cache
def modules() -> dict[str, Path]:
    paths = [ROOT / "stream_chat.py", ROOT / "db.py", *sorted((ROOT / "core").rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
            for path in paths}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree_of(path)))


@pytest.fixture(scope="module", autouse=True)
def forgotten_trees() -> Iterator[None]:
    """The trees of all modules take much memory, which later tests need not carry along."""
    yield
    tree_of.cache_clear()
    nodes_of.cache_clear()


def layer_of(module: str) -> int | None:
    """The row of the longest matching name; None for the package `core` itself,
    which holds only the version.
    """
    for number, names in enumerate(LAYERS):
        if any(module == name or module.startswith(name + ".") for name in names):
            return number
    return None


@cache
def imports_of(path: Path) -> frozenset[str]:
    """The modules of ours that a module imports anywhere."""
    return frozenset(name for node in nodes_of(path)
                     if isinstance(node, (ast.Import, ast.ImportFrom)) for name in imported(node))


def imported(node: ast.Import | ast.ImportFrom) -> set[str]:
    """The modules of ours that an import names."""
    return {name for name in all_imported(node) if name in modules() and name != "core"}


def all_imported(node: ast.Import | ast.ImportFrom) -> set[str]:
    """What an import may load: the modules that it names, and what it takes from them,
    which may be modules too.
    """
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    return {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_point_down(module: str) -> None:
    if module == "core":
        return
    row = layer_of(module)
    assert row is not None, (f"{module} stands in no layer: add it to LAYERS and to "
                             "docs/architecture.md")
    for name in imports_of(modules()[module]):
        other = layer_of(name)
        assert other is not None, f"{module} imports {name}, which stands in no layer"
        assert other >= row, f"{module} imports {name}, which is above it"


def test_doors_do_not_import_one_another() -> None:
    """Code shared by two front ends is below both."""
    known = modules()
    for door in DOORS:
        for module in (name for name in known if name.startswith(f"{door}.")):
            for other in imports_of(known[module]):
                assert not other.startswith(tuple(set(DOORS) - {door})), f"{module} imports {other}"


def test_imports_inside_the_store_point_down() -> None:
    """From the databases to the queries to the plain values; only db.py chooses a database."""
    rooms = ("core.store.postgres", "core.store.sqlite", "core.store.sql", "core.store")
    known = modules()

    def height(module: str) -> int | None:
        return next((number for number, room in enumerate(rooms)
                     if module == room or module.startswith(room + ".")), None)

    for module in known:
        row = height(module)
        if row is None:
            continue
        for other in imports_of(known[module]):
            below = height(other)
            assert below is None or below >= row, f"{module} imports {other}"


def test_every_action_has_a_door() -> None:
    """The table names modules that exist and settings that exist; each door has a `run`."""
    for action, module in chat_engine.DOORS.items():
        assert action in BY_NAME, action
        assert module in modules(), module
    for module in {*chat_engine.DOORS.values(), chat_engine.ONE_ANSWER, chat_engine.TERMINAL}:
        assert callable(import_module(module).run), module


def test_no_modules_import_one_another() -> None:
    """Not even for a type, nor through other modules."""
    known = modules()
    below = {module: imports_of(path) - {module}
             for module, path in known.items()}
    while loose := {module for module, names in below.items() if not names & set(below)}:
        below = {module: names for module, names in below.items() if module not in loose}
    assert not below, f"these import one another: {sorted(below)}"


@pytest.mark.processes
def test_an_import_in_a_function_spares_a_start(tmp_path: Path) -> None:
    """It saves a module at some starts, or needs a package that may be missing."""
    starts, known = modules_of_starts(tmp_path), modules()
    needless = []
    for module, line, names in late_imports(known):
        spares = any(module in present and not names <= present for present in starts.values())
        if not spares and not any(packages_of(name) - packages_of(module) for name in names):
            needless.append(f"{module} line {line}: {' and '.join(sorted(names))}")
    assert not needless, ("each start that loads these loads what they import; import it at the "
                          "top:\n" + "\n".join(needless))


def late_imports(known: dict[str, Path]) -> Iterator[tuple[str, int, set[str]]]:
    """(importing module, line, imported modules) for each import of ours inside a function, but for
    those of a module's __getattr__ and of stream_chat.py, which has to find the program first.
    """
    for module, path in known.items():
        for function in nodes_of(path):
            named = (isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
                     and function.name != "__getattr__")
            for node in ast.walk(function) if named and module != "stream_chat" else ():
                if (isinstance(node, (ast.Import, ast.ImportFrom))
                    and (names := imported(node))):
                    yield module, node.lineno, names


@cache
def packages_of(module: str) -> frozenset[str]:
    """The packages of others that come with a module,
    by the imports at the top of all that it loads.
    """
    known, seen, waiting = modules(), set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in seen and name in known:
            top = tree_of(known[name]).body
            waiting += [other for node in top if isinstance(node, (ast.Import, ast.ImportFrom))
                        for other in all_imported(node)]
        seen.add(name)
    return frozenset({name.split(".")[0] for name in seen}
                     - {"core", "db", *sys.stdlib_module_names})


def test_every_layer_has_its_modules() -> None:
    present = set(modules())
    for name in (name for row in LAYERS for name in row):
        assert name in present, f"LAYERS names {name}, which does not exist"


def test_no_vague_module_names() -> None:
    for module in modules():
        assert module.rsplit(".", 1)[-1] not in ("utils", "helpers", "common", "misc")


def test_only_config_reads_the_environment() -> None:
    for module, path in modules().items():
        if module in ("core.config", "core.config.network", "core.config.terminal",
                      "core.chat_engine", "core.ask"):
            continue
        for node in nodes_of(path):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
                raise AssertionError(f"{module} line {node.lineno} reads the environment; ask "
                                     "Settings instead")


def test_functions_are_short() -> None:
    """Median under 10 lines, nine in ten under 30, none over 60."""
    lengths: list[tuple[int, str]] = []
    for module, path in modules().items():
        for node in nodes_of(path):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lengths.append(((node.end_lineno or node.lineno) - node.lineno + 1,
                                f"{module}.{node.name}"))
    lengths.sort()
    assert lengths[len(lengths) // 2][0] < 10
    assert lengths[len(lengths) * 9 // 10][0] < 30
    assert lengths[-1][0] <= 60, lengths[-5:]


@pytest.mark.processes
def test_importing_does_nothing(tmp_path: Path) -> None:
    """Every module can be imported in an empty home without touching file or network."""
    names = [name for name in modules() if name != "core.tools.mcp.connection"]
    code = ("import sys, importlib\n"
            "def audit(event, args):\n"
            "    if event in ('socket.connect', 'os.mkdir', 'os.remove', 'sqlite3.connect', "
            "'subprocess.Popen') or (\n            event == 'open' and isinstance(args[1], str) "
            "and set(args[1]) & set('wax+')):\n        if not str(args[0]).endswith('.pyc') and "
            "'__pycache__' not in str(args[0]):\n            print(name, event, args)\n"
            f"for name in {names!r}: importlib.import_module(name)\n"
            "for module in [m for m in sys.modules if m.split('.')[0] in ('core', 'db', "
            "'stream_chat')]: del sys.modules[module]\nsys.addaudithook(audit)\n"
            f"for name in {names!r}: importlib.import_module(name)\n")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT,
                          env={"HOME": str(tmp_path), **uncounted()},
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_dataclasses_are_made_by_our_own_decorator() -> None:
    """The standard library's takes 0.4 ms a class, and a start makes about 70."""
    wrong = [f"{module}:{node.lineno}"
             for module, path in modules().items() if module != "core.dataclass"
             for node in nodes_of(path)
             if isinstance(node, ast.ImportFrom) and node.module == "dataclasses"
             and {alias.name for alias in node.names} & {"dataclass", "field", "replace"}]
    assert not wrong, f"write `from core.dataclass import ...`: {wrong}"


def test_patterns_of_modules_are_compiled_when_used() -> None:
    wrong = [f"{module}:{node.lineno}"
             for module, path in modules().items() if module != "core.regex"
             if module != "core.tools.mcp.keeper"      # a separate program that does not use ours
             for node in outside_functions(tree_of(path))
             if isinstance(node, ast.Attribute) and node.attr == "compile"
             and ast.unparse(node.value) == "re"]
    assert not wrong, f"write `from core.regex import regex`: {wrong}"


def outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from outside_functions(node)
