"""The names in a folder are examined together, with the result that each has alone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from core.context_loader import load_context_files
from core.errors import ContextError

PARTS = (".env", "env", "key", "id_rsa", "secrets", "Tokens", "ｐａｓｓｗｏｒｄ", "a", "file", "x y", "é",
         "K", "~", "#", "(1)", "\n", ".json", ".py", ".PNG", ".jpg", ".pdf", ".Zip", ".lock",
         ".map",
         ".min.js", "_pb2.py", ".pb.go", ".log", ".pem", ".bak", ".pub", "go.sum", "rc", "..",
         "package-lock.json", "config", "credentials", ".7z", ".example")
RULES = ("*.py", "!file*", "a", "x y", "[aé]*.json", "/key.log", "*", "!*.pdf", "K/", "id_*",
         "\\#a")


def listed(root: Path, folder: str) -> set[tuple[str, str]]:
    try:
        items = load_context_files([folder], root=str(root)).items
    except ContextError:
        return set()
    return {(item.name.rsplit("/", 1)[-1], item.kind) for item in items}


@pytest.mark.parametrize("seed", range(4))
def test_a_name_is_judged_in_company_as_it_is_alone(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    names = {"".join(dice.choices(PARTS, k=dice.randint(1, 3))) for _ in range(150)} - {".."}
    rules = "\n".join(dice.sample(RULES, 3))
    if seed % 2:
        names = {name for name in names if "\n" not in name}
    alone: set[tuple[str, str]] = set()
    for number, name in enumerate(sorted(names)):
        for folder in ("all", f"alone{number}"):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / name).write_text("text")
            (tmp_path / folder / ".gitignore").write_text(rules)
        alone |= listed(tmp_path, f"alone{number}")
    assert listed(tmp_path, "all") == alone, (seed, rules)
