"""Parses a Modelfile into the fields of Ollama's create call and the files it needs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.config.values import read_own_text
from core.dataclass import dataclass, field
from core.errors import UsageError

_LISTS = ("stop",)     # parameters that may be repeated
_TEXTS = {"SYSTEM": "system", "TEMPLATE": "template", "LICENSE": "license"}
_ROLES = ("system", "user", "assistant")


@dataclass(slots=True)
class Modelfile:
    """A parsed Modelfile. `base` is a model's name, or empty when the weights come from `files`;
    `create` has the other fields of the call.
    """

    base: str = ""
    files: list[str] = field(default_factory=list)
    adapters: list[str] = field(default_factory=list)
    create: dict[str, Any] = field(default_factory=dict)


def read_modelfile(path: str) -> Modelfile:
    """Read a Modelfile. Raises UsageError with the line of the mistake."""
    try:
        text = read_own_text(path)
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(f"The Modelfile {path} cannot be read: {reason}.") from problem
    made = Modelfile()
    for number, word, value in _instructions(text, path):
        _apply(made, word, value, f"{path} line {number}", os.path.dirname(os.path.abspath(path)))
    if not made.base and not made.files:
        raise UsageError(f"The Modelfile {path} does not name a base model with FROM.")
    return made


def model_name(path: str) -> str:
    """Return the new model's name: the file's name, or its directory's if the file is called
    Modelfile.
    """
    stem = Path(path).name.removesuffix(".modelfile").removesuffix(".Modelfile")
    if stem.lower() == "modelfile":
        stem = Path(os.path.abspath(path)).parent.name
    return re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._") or "custom"


def _instructions(text: str, path: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, INSTRUCTION, value). A value in triple quotes may span several lines."""
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        line, start = lines[number].strip(), number + 1
        number += 1
        if not line or line.startswith("#"):
            continue
        word, _, value = line.partition(" ")
        value = value.strip()
        opening = re.match(r'((?:\S+\s+)?)"""', value)
        if opening:
            before, value = opening.group(1), value[opening.end():]
            while '"""' not in value:
                if number == len(lines):
                    raise UsageError(f'{path} line {start}: the text that begins with """ is '
                                     'not closed.')
                value += "\n" + lines[number]
                number += 1
            value = before + value.partition('"""')[0].removeprefix("\n")
        elif len(value) > 1 and value[0] == value[-1] == '"' and word.upper() in _TEXTS:
            value = value[1:-1]
        yield start, word.upper(), value


def _apply(made: Modelfile, word: str, value: str, place: str, directory: str) -> None:
    if not value:
        raise UsageError(f"{place}: {word} needs a value.")
    match word:
        case "FROM":
            _set_base(made, value, place, directory)
        case "ADAPTER":
            made.adapters.append(_file(value, place, directory))
        case "PARAMETER":
            _set_parameter(made.create.setdefault("parameters", {}), value, place)
        case "MESSAGE":
            role, _, content = value.partition(" ")
            if role not in _ROLES:
                raise UsageError(f"{place}: the role {role!r} is not one of {', '.join(_ROLES)}.")
            made.create.setdefault("messages",
                                   []).append({"role": role, "content": content.strip()})
        case "SYSTEM" | "TEMPLATE":
            made.create[_TEXTS[word]] = value
        case "LICENSE":
            made.create.setdefault("license", []).append(value)
        case _:
            raise UsageError(f"{place}: there is no instruction {word}.",
                             "Valid: FROM, PARAMETER, TEMPLATE, SYSTEM, ADAPTER, LICENSE, MESSAGE.")


def _set_base(made: Modelfile, value: str, place: str, directory: str) -> None:
    """Set the base. A value that looks like a path or exists is a file; anything else is a model's
    name.
    """
    path = os.path.join(directory, os.path.expanduser(value))
    if value.startswith((".", "/", "~")) or value.endswith(".gguf") or os.path.isfile(path):
        made.files.append(_file(value, place, directory))
    else:
        made.base = value


def _file(value: str, place: str, directory: str) -> str:
    path = os.path.join(directory, os.path.expanduser(value))
    if not os.path.isfile(path):
        raise UsageError(f"{place}: {path} does not exist.")
    return path


def _set_parameter(parameters: dict[str, Any], value: str, place: str) -> None:
    name, _, text = value.partition(" ")
    text = text.strip()
    if not text:
        raise UsageError(f"{place}: the parameter {name} needs a value.")
    if name in _LISTS:
        parameters.setdefault(name, []).append(text.strip('"'))
    else:
        parameters[name] = _scalar(text)


def _scalar(text: str) -> Any:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text, text.strip('"'))
