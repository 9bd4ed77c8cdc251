"""No condition outside core/providers names a provider: differences are fields of its row or
methods of its class.
"""

from __future__ import annotations

import ast
from pathlib import Path

from core.config import BY_NAME
from core.engine.models import DEFAULT
from core.providers.hosts import DEFAULT_PROVIDER, DEMO, EMBEDDED, find_host, hosts

CORE = Path(__file__).resolve().parent.parent.parent / "core"
OWN = "stream-chat"      # a server of this program is a provider too
NAMES = {name for host in hosts() for name in (host.name, host.dialect, *host.aliases)} - {OWN}
KINDS = ("kind", "Kind")
# Words that are also a provider's name and mean something else: keys of the older configuration
# file, a pattern of model names, other programs whose exports --import reads, and what the engine's
# own test types on a command line.
ALLOWED = {"config/migration.py", "engine/self_test.py", "models/facts.py",
           "config/session_rows.py", "config/types.py",
           "sessions/foreign/databases.py", "sessions/foreign/kinds.py",
           "sessions/foreign/ollama.py", "sessions/importing.py"}


def named(path: Path) -> int:
    """How often a module names a provider as a whole string,
    except as one of the kinds of hosts.
    """
    found = 0
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {id(inner) for node in ast.walk(tree)
               if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute)
               and node.left.attr in KINDS for inner in ast.walk(node)}
    skipped |= {id(inner) for node in ast.walk(tree)
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
                and node.targets[0].id == "KINDS" for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in NAMES and id(node) not in skipped:
            found += 1
    return found


def test_no_provider_is_named_outside_its_package() -> None:
    counts = {str(path.relative_to(CORE)): named(path) for path in sorted(CORE.rglob("*.py"))
              if "providers" not in path.relative_to(CORE).parts[:1]}
    found = {module for module, count in counts.items() if count}
    more = sorted(found - ALLOWED)
    assert not more, (f"a provider is named in {more}: make it a field of its row (hosts.py) or a "
                      "power of its class")
    assert found == ALLOWED, f"no longer named in {sorted(ALLOWED - found)}: take it from the list"


def test_what_rows_name_exists() -> None:
    """Rows name models of the embedded engine and settings as words, since they import neither."""
    embedded = find_host(EMBEDDED)
    assert embedded is not None and embedded.first_model == DEFAULT.name
    for host in hosts():
        for setting in host.own_settings.values():
            assert setting in BY_NAME or setting == "environment", setting
    for name in (DEFAULT_PROVIDER, EMBEDDED, DEMO):
        assert find_host(name) is not None
