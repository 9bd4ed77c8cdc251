"""The pages of docs/ that are made from the code: `make docs` writes them, tests/test_docs.py compares them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.config import Setting, rows_by_group

DOCS = Path(__file__).resolve().parent.parent / "docs"


def settings_page() -> str:
    lines = ["# Settings", "", "Made from `core/config.py` by `make docs`. Command line > environment > configuration file > default.",
             "",
             "The configuration file is `config.yaml` in `~/.config/stream-chat` (macOS: `~/Library/Application Support/stream-chat`),",
             "or what `--config` names. Its keys are the names in the last column; `${NAME}` and `${NAME:-default}` in a value are",
             "taken from the environment.", ""]
    for group, rows in rows_by_group():
        lines += [f"## {group}", "", "| option | variable | default | what it does | key in the file |", "|---|---|---|---|---|"]
        lines += [_settings_row(row) for row in rows]
        lines.append("")
    return "\n".join(lines)


def _settings_row(row: Setting) -> str:
    value = "" if row.kind is bool else f" {row.metavar}"
    flags = ", ".join(f"`{flag}{value}`" for flag in row.flags)
    if row.kind is bool and row.in_file:
        flags += f", `--no-{row.flags[-1].removeprefix('--')}`"
    default = {True: "yes", False: "no", None: "", (): ""}.get(row.default, row.default) if row.kind is not dict else ""
    choices = f" ({', '.join(row.choices)})" if row.choices else ""
    variables = ", ".join(f"`{name}`" for name in row.env)
    key = f"`{row.name}`" if row.in_file else ""
    return f"| {flags} | {variables} | {default} | {row.help}{choices} | {key} |".replace("|  |", "| |").replace("|  |", "| |")


PAGES: dict[str, Callable[[], str]] = {"settings.md": settings_page}


def main() -> None:
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
