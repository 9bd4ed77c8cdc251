"""Generates two pages: the slash commands, and every file of the program with a sentence about it.
"""

from __future__ import annotations

import ast
from pathlib import Path

from core.commands import Command, all_commands

ROOT = Path(__file__).resolve().parent.parent
MADE = "Made from the code by `make docs`."


def commands_page() -> str:
    """The slash commands by group, as /help shows them."""
    lines = ["# Commands", "", f"{MADE} In a chat, `/help` lists them and `/help NAME` "
             "explains one.",
             "An unambiguous beginning is enough: `/hel`.", ""]
    groups: dict[str, list[Command]] = {}
    for entry in all_commands().values():
        groups.setdefault(entry.group, []).append(entry)
    for group, entries in groups.items():
        lines += [f"## {group}", "", "| command | also | what it does |", "|---|---|---|"]
        lines += [_command_row(entry) for entry in entries]
        lines.append("")
    return "\n".join(lines)


def _command_row(entry: Command) -> str:
    typed = _cell(f"`/{entry.name} {entry.usage}`" if entry.usage else f"`/{entry.name}`")
    also = ", ".join(f"`/{alias}`" for alias in entry.aliases)
    return f"| {typed} | {also} | {_cell(' '.join(entry.help.split()))} |".replace("|  |", "| |")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def tree_page() -> str:
    """A line for every module: its name and the first sentence of its docstring."""
    lines = ["# The files", "", f"{MADE} [architecture](architecture.md) says what each package "
             "may import.", ""]
    folders = sorted({path.parent for path in (ROOT / "core").rglob("*.py")})
    lines += _folder("The program", [ROOT / "stream_chat.py", ROOT / "db.py"])
    for folder in folders:
        lines += _folder(f"{folder.relative_to(ROOT)}/", sorted(folder.glob("*.py")))
    return "\n".join(lines)


def _folder(name: str, paths: list[Path]) -> list[str]:
    said = [(path.name, _sentence(path)) for path in paths]
    rows = [f"| `{file}` | {_cell(sentence)} |" for file, sentence in said if sentence]
    return [f"## {name}", "", "| file | what it is for |", "|---|---|", *rows, ""] if rows else []


def _sentence(path: Path) -> str:
    """The first paragraph of the module's docstring, on one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())
