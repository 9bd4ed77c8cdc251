"""Describes tool calls: faults of their arguments, the text of a question, the scope of a grant."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from core.safe_text import safe_text
from core.tools import Tool, canonical, fingerprint, first_line


def what_is_wrong(text: str) -> str:
    """Why a text is not a JSON object, in a few words."""
    cut = re.search(r"\[cut here: the arguments have ([\d,]+) characters\]$", text[-100:])
    if cut:
        return f"they are too long, {cut[1]} characters"
    try:
        value = json.loads(text)
    except json.JSONDecodeError as problem:
        return f"{problem.msg} at character {problem.pos} of {len(text)}"
    except (ValueError, RecursionError) as problem:
        return first_line(problem)
    return ("duplicate keys in one object" if isinstance(value, dict)
            else f"it is {type(value).__name__}")


def call_text(name: str, arguments: Mapping[str, Any]) -> str:
    """A complete call, made safe, with one argument per line."""
    lines = [f"  {key} = {json.dumps(value, ensure_ascii=False, default=str)}"
             for key, value in arguments.items()]
    return safe_text("\n".join([name, *lines]))


def grant_key(made: Tool, arguments: Mapping[str, Any], host: str = "") -> str:
    """The key of a lasting permission: the tool's definition, the shape of the arguments and, for
    network tools, the host.

    For a tool that runs programs, the exact arguments are part of the key.
    """
    shape = arguments if made.kind == "run" else shape_of(arguments)
    return fingerprint([made.definition, shape, host])


def shape_of(value: Any) -> Any:
    """Keys and types without the values."""
    if isinstance(value, Mapping):
        return {str(key): shape_of(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted({canonical(shape_of(item)) for item in value})
    return type(value).__name__
