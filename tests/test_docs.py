"""Documentation is correct: generated pages are up to date, links work, named commands exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from core.config import SETTINGS
from tests.make_docs import DOCS, MODULES, PAGES
from tests.test_layers import LAYERS

ROOT = DOCS.parent
PAGES_FOR_PEOPLE = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.glob("*.md")])


@pytest.mark.parametrize("name", sorted(PAGES))
def test_made_pages_are_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run `make docs`"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_made_modules_are_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == MODULES[name](), "run `make docs`"


@pytest.mark.parametrize("page", PAGES_FOR_PEOPLE, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES_FOR_PEOPLE, ids=lambda page: page.name)
def test_options_that_are_named_exist(page: Path) -> None:
    known = {flag for row in SETTINGS
             for flag in row.flags} | {f"--no-{flag[2:]}" for row in SETTINGS for flag in row.flags}
    for command in re.findall(r"(?:stream_chat\.py|stream-chat) [^\n`]*",
                              page.read_text(encoding="utf-8")):
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]+", command):
            assert option in known, f"{page.name} names {option}"


@pytest.mark.parametrize("page", PAGES_FOR_PEOPLE, ids=lambda page: page.name)
def test_a_line_of_a_block_is_one_command(page: Path) -> None:
    """A block that was wrapped like prose cannot be copied into a shell."""
    for block in re.findall(r"^```(?:sh|console)?\n(.*?)^```", page.read_text(encoding="utf-8"),
                            re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            shell = line.partition(" #")[0]
            for command in re.split(r"[|;]|&&|\$\(", shell):
                assert command.count("stream_chat.py ") <= 1, f"{page.name}: {line}"
            assert not shell.endswith((" make", "/python")), f"{page.name}: {line}"


@pytest.mark.processes
def test_nothing_speaks_of_a_machine() -> None:
    """No path of the machine on which the program was written."""
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if names.returncode:
        pytest.skip("not a git checkout")
    for name in names.stdout.split():
        path = ROOT / name
        if (path.suffix in (".py", ".md", ".toml", ".txt", "") and path.name != "test_docs.py"
            and path.is_file()):
            text = path.read_text(encoding="utf-8", errors="replace")
            assert not re.search(r"/(?:work/(?:main|shared)|root/\.pyenv)", text), name


def test_the_drawn_layers_are_the_enforced_ones() -> None:
    """Every module of LAYERS is in the drawing."""
    drawing = (DOCS / "architecture.md").read_text(encoding="utf-8").split("```")[1]
    names = {word.strip("/").removeprefix("core/").removesuffix(".py") for word in drawing.split()}
    for row in LAYERS:
        for module in row:
            assert (module.removeprefix("core.")
                    in names), f"{module} is not drawn in docs/architecture.md"
