"""Reads prompts from files beside the configuration: `prompts/NAME.md`, `skills/NAME/SKILL.md`."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from difflib import get_close_matches

from core.config.directories import config_directory
from core.dataclass import dataclass
from core.errors import UsageError
from core.regex import regex

REST = ("input", "arguments")  # variables for the text that no other variable takes
_NAME = regex(r"[A-Za-z][\w.-]*")
_VARIABLE = regex(r"\{\{\s*([A-Za-z_]\w*)\s*(?:=([^{}]*))?\}\}|\$ARGUMENTS\b")
_FRONT = regex(r"---[ \t]*\n(.*?)\n---[ \t]*(?:\n|$)", re.DOTALL)
MOST = 1 << 20                      # bytes of one file


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt with {{variables}}; `about` describes it in one line."""

    name: str
    about: str
    body: str
    path: str

    def variables(self) -> dict[str, str | None]:
        """The variables in order with their defaults; None for required ones."""
        found: dict[str, str | None] = {}
        for match in _VARIABLE.finditer(self.body):
            name = (match[1] or "arguments").lower()
            default = match[2].strip() if match[2] is not None else None
            found[name] = default if found.get(name) is None else found[name]
        return found

    def usage(self) -> str:
        """The arguments after its name, as in "language=... TEXT"."""
        wanted = self.variables()
        named = [f"{name}=..." if default is None else f"[{name}={default}]"
                 for name, default in wanted.items() if name not in REST]
        return " ".join([*named, "TEXT" if set(REST) & set(wanted) else "[TEXT]"])


def template_directory(environment: Mapping[str, str]) -> str:
    return os.path.join(config_directory(environment), "prompts")


def find_templates(environment: Mapping[str, str]) -> dict[str, Template]:
    """All readable prompts by lower-case name; a prompt hides a skill of the same name."""
    top = config_directory(environment)
    paths = [(name.removesuffix(".md"), os.path.join(top, "prompts", name))
             for name in _listed(os.path.join(top, "prompts")) if name.endswith(".md")]
    paths += [(name, os.path.join(top, "skills", name, "SKILL.md"))
              for name in _listed(os.path.join(top, "skills"))]
    found: dict[str, Template] = {}
    for name, path in paths:
        template = _read(name, path)
        if template is not None:
            found.setdefault(template.name.lower(), template)
    return found


def find_template(name: str, environment: Mapping[str, str]) -> Template:
    """The template of this name. Raises UsageError if there is none."""
    templates = find_templates(environment)
    found = templates.get(name.lower())
    if found is None:
        close = get_close_matches(name.lower(), templates, n=1)
        known = (f"Did you mean {close[0]}?" if close
                 else f"There are: {', '.join(templates)}." if templates else "")
        raise UsageError(f"There is no prompt {name}.",
                         known or f"Prompts are files in {template_directory(environment)}: --help "
                         "prompts.")
    return found


def filled(template: Template, argument: str) -> str:
    """The template's text with its variables replaced from `name=value` words and the remaining
    text of the argument.

    Text that no variable takes is appended. Raises UsageError for a variable without a value.
    """
    wanted = template.variables()
    values, rest = _assigned(argument, wanted)
    missing = [name for name, default in wanted.items() if default is None and name not in values]
    for name in [name for name in REST if name in missing] or missing[:1] * (len(missing) == 1):
        if rest.strip():
            values[name], rest = rest.strip(), ""
            missing.remove(name)
    if missing:
        raise UsageError(f"{template.name} needs {', '.join(missing)}.",
                         f"It takes: {template.usage()}")
    text = _VARIABLE.sub(lambda match: _value(match, values), template.body).strip()
    return f"{text}\n\n{rest.strip()}" if rest.strip() else text


def _value(match: re.Match[str], values: Mapping[str, str]) -> str:
    name = (match[1] or "arguments").lower()
    return values.get(name, (match[2] or "").strip())


def _assigned(argument: str, wanted: Mapping[str, str | None]) -> tuple[dict[str, str], str]:
    """The leading `name=value` words that name variables, and the text after them."""
    values: dict[str, str] = {}
    rest = argument
    while True:
        match = re.match(r"\s*([A-Za-z_]\w*)=(\"[^\"]*\"|'[^']*'|\S*)", rest)
        if match is None or match[1].lower() not in wanted:
            return values, rest
        try:
            values[match[1].lower()] = " ".join(shlex.split(match[2]))
        except ValueError:
            values[match[1].lower()] = match[2]
        rest = rest[match.end():]


def _listed(directory: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(directory) if not name.startswith("."))
    except OSError:
        return []


def _read(name: str, path: str) -> Template | None:
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            text = file.read(MOST)
    except OSError:
        return None
    front = _FRONT.match(text)
    facts = _facts(front[1]) if front else {}
    body = text[front.end():] if front else text
    called = str(facts.get("name") or name)
    if not _NAME.fullmatch(called):
        called = name
    if not _NAME.fullmatch(called) or not body.strip():
        return None
    about = str(facts.get("description") or "") or body.strip().split("\n", 1)[0].lstrip("# ")
    return Template(called, " ".join(about.split())[:200], body.strip(), path)


def _facts(front: str) -> dict[str, object]:
    """The front matter's mapping; empty if it is not a mapping."""
    import yaml
    try:
        loaded = yaml.safe_load(front)
    except yaml.YAMLError:
        return {}
    return {str(key): value for key, value in loaded.items()} if isinstance(loaded, dict) else {}
