"""No provider's name stands in a condition outside core/providers: what differs is a field of its row or a power of its class."""

from __future__ import annotations

import ast
from pathlib import Path

from core.providers.hosts import hosts

CORE = Path(__file__).resolve().parent.parent.parent / "core"
NAMES = {name for host in hosts() for name in (host.name, host.dialect, *host.aliases)}
KINDS = ("kind", "Kind")
# What may name one: files of the older format, the embedded engine's own test, the choice at the first start, patterns of
# model names, one of which is also a provider's, and the exports of other programs that --import --from names.
ALLOWED = {"config/migration.py", "engine/self_test.py", "setup/model.py", "terminal/first_run.py", "web/first_run.py",
           "web/questions.py",
           "models/facts.py", "config/__init__.py", "config/types.py", "sessions/foreign_kinds.py", "sessions/importing.py"}
# Still to be moved into rows: their number may only fall.
LEFT = {"model_manager.py": 5, "models/health.py": 3, "models/fallback.py": 1, "terminal/status_line.py": 2}


def named(path: Path) -> int:
    """How often a module names a provider as a whole string, except as one of the kinds of hosts."""
    found = 0
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute)
               and node.left.attr in KINDS for inner in ast.walk(node)}
    skipped |= {id(inner) for node in ast.walk(tree) if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
                and node.targets[0].id == "KINDS" for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in NAMES and id(node) not in skipped:
            found += 1
    return found


def test_no_provider_is_named_outside_its_package() -> None:
    counts = {str(path.relative_to(CORE)): named(path) for path in sorted(CORE.rglob("*.py"))
              if "providers" not in path.relative_to(CORE).parts[:1]}
    found = {module: count for module, count in counts.items() if count and module not in ALLOWED}
    more = {module: count for module, count in found.items() if count > LEFT.get(module, 0)}
    assert not more, f"a provider is named in {more}: make it a field of its row (hosts.py) or a power of its class"
