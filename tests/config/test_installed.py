"""The command that adds a missing package, for each way of installing the program."""

from __future__ import annotations

import ast
import shlex
import sys
from pathlib import Path

import pytest

from core.config import Settings
from core.config.installed import install_command
from core.errors import ConnectFailed
from core.model_manager import Providers
from core.setup.model import no_model
from tests.test_layers import ROOT

FIRST = {
    "pipx_metadata.json": ["pipx", "inject", "stream-chat"],
    "uv-receipt.toml": ["uv", "pip", "install", "--python", "/a b/python"],
    "": ["/a b/python", "-m", "pip", "install"]}


@pytest.mark.parametrize("mark", FIRST)
def test_each_way_of_installing(mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if mark:
        (tmp_path / mark).touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/a b/python")
    packages = ["psycopg[binary]", "mcp>=2.3,<3", "pillow"]
    assert shlex.split(install_command(*packages)) == [*FIRST[mark], *packages]


def test_no_message_has_a_command_of_its_own() -> None:
    """A plain `pip` belongs to whatever environment is active, not to this program."""
    told = {path.relative_to(ROOT).as_posix() for path in (ROOT / "core").rglob("*.py")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and "pip install" in str(node.value)}
    assert told == {"core/config/installed.py", "core/tools/reference.py"}   # a page of the docs


def test_no_model_is_offered_that_could_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    providers = Providers(Settings({"save": False}, environment={}))
    said = no_model(ConnectFailed("No connection."), providers).hint
    assert "-m pip install xllamacpp==" in said and "--pull" not in said
    assert len(said.splitlines()) == 2
