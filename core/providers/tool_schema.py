"""Converts JSON Schemas of tools and answers to forms that providers accept."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from core.providers import ToolSpec

LONGEST_NAME = 64   # characters of a tool's name
DEEPEST = 12        # levels of a schema: recursion ends here
JOINERS = ("anyOf", "oneOf", "allOf")
_HOLDERS = ("items", "additionalProperties", "not", "if", "then", "else", "contains",
            "propertyNames")
# Keywords rejected by servers that compile a schema into a grammar; we check the answer against the
# full schema.
_UNCHECKED = frozenset((
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
    "maxLength", "minProperties",
    "maxProperties", "maxItems", "uniqueItems", "patternProperties", "contains", "minContains",
    "maxContains", "not", "if", "then",
    "else", "dependentRequired", "dependentSchemas", "unevaluatedProperties", "unevaluatedItems",
    "propertyNames"))


def valid_name(name: str) -> str:
    """Return the name of a called tool in the form that all providers accept.

    A model may call a tool that does not exist. Its name is sent in every later request, and one
    that a provider refuses would end the conversation there.
    """
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:LONGEST_NAME] or "unnamed"


def function_tool(tool: ToolSpec) -> dict[str, Any]:
    """Describe a tool in the format of OpenAI's chat API and compatible ones."""
    return {"type": "function", "function": {"name": tool.name, "description": tool.description,
                                             "parameters": tool_parameters(tool.parameters)}}


def tool_parameters(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the schema of a tool's arguments to a form that all OpenAI-like APIs accept.

    The top is an object with properties and without alternatives; arrays have items; required names
    exist; enums are not empty; references point only to definitions.
    """
    fitted = _fitted(schema, schema, 0)
    for joiner in JOINERS:
        fitted = _without_joiner(fitted, joiner)
    fitted["type"] = "object"
    fitted.setdefault("properties", {})
    return _required_of(fitted)


def _without_joiner(schema: dict[str, Any], joiner: str) -> dict[str, Any]:
    """Merge top-level alternatives into one object with all their properties; a name is required if
    every alternative requires it.
    """
    parts = [part for part in _list(schema.pop(joiner, None)) if isinstance(part, dict)]
    if not parts:
        return schema
    properties: dict[str, Any] = {}
    for part in parts:
        properties |= _object(part.get("properties"))
    sets = [{name for name in _list(part.get("required")) if isinstance(name, str)}
            for part in parts]
    shared = set.union(*sets) if joiner == "allOf" else set.intersection(*sets)
    required = [name for name in _list(schema.get("required")) if isinstance(name, str)]
    schema["properties"] = properties | _object(schema.get("properties"))
    schema["required"] = [*required, *sorted(shared - set(required))]
    return schema


def _fitted(schema: Any, root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    if not isinstance(schema, Mapping) or depth > DEEPEST:
        return {}
    reference = schema.get("$ref")
    if isinstance(reference, str) and not _names_definition(reference, root):
        rest = {name: value for name, value in schema.items() if name != "$ref"}
        schema = {**resolved(reference, root), **rest}
        return _fitted(schema, root, depth + 1)
    made = {name: _fitted_member(name, value, root, depth) for name, value in schema.items()}
    kind = made.get("type")
    if kind == "array" or isinstance(kind, list) and "array" in kind:
        made.setdefault("items", {})
    if "enum" in made:
        made |= _choices(made.pop("enum"))
    return _required_of(made) if "properties" in made or "required" in made else made


def _fitted_member(name: str, value: Any, root: Mapping[str, Any], depth: int) -> Any:
    if name in ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas"):
        return {str(key): _fitted(inner, root, depth + 1) for key, inner in _object(value).items()}
    if name in JOINERS or name == "prefixItems":
        return [_fitted(inner, root, depth + 1) for inner in _list(value)]
    if name in _HOLDERS and not isinstance(value, bool):
        return _fitted(value, root, depth + 1)
    return value


def _choices(choices: Any) -> dict[str, Any]:
    kept = [choice for choice in _list(choices) if choice != ""]
    return {"enum": kept} if kept else {}


def _required_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Remove required names without a property."""
    properties = _object(schema.get("properties"))
    required = [name for name in _list(schema.pop("required", None))
                if isinstance(name, str) and name in properties]
    return schema | ({"required": list(dict.fromkeys(required))} if required else {})


def _names_definition(reference: str, root: Mapping[str, Any]) -> bool:
    """Return whether a reference points to an existing definition, which APIs resolve themselves.
    """
    start, _, name = reference.rpartition("/")
    return start in ("#/$defs", "#/definitions") and name in _object(root.get(start[2:]))


def resolved(reference: str, root: Mapping[str, Any]) -> dict[str, Any]:
    """Resolve a reference inside the schema (JSON Pointer); {} if it is invalid or external."""
    if not reference.startswith("#"):
        return {}
    found: Any = root
    for step in filter(None, reference[1:].split("/")):
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and step.isdigit() and int(step) < len(found):
            found = found[int(step)]
        elif isinstance(found, Mapping) and step in found:
            found = found[step]
        else:
            return {}
    return dict(found) if isinstance(found, Mapping) and found is not root else {}


# ---- schemas of answers

def is_closed(schema: Any) -> bool:
    """Return whether every object requires all its properties and allows no others, as "strict"
    needs.
    """
    return all(part.get("additionalProperties") is False
               and set(_object(part.get("properties")))
               <= set(map(str, _list(part.get("required"))))
               for part in _objects(schema, 0))


def strict_form(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the schema closed for "strict"; None if that would change what it allows."""
    closed = closed_form(schema, keep_limits=True)
    return closed if is_closed(closed) and not _open_on_purpose(schema) else None


def _open_on_purpose(schema: Any) -> bool:
    return any(part.get("additionalProperties") not in (None, False) or "patternProperties" in part
               for part in _objects(schema, 0))


def closed_form(schema: Any, *, keep_limits: bool = False) -> dict[str, Any]:
    """Return the schema with every object closed, and without limits that grammars do not support.
    """
    made = _closed(schema, 0, keep_limits)
    return made if isinstance(made, dict) else {}


def _closed(value: Any, depth: int, keep_limits: bool) -> Any:
    if isinstance(value, list):
        return [_closed(inner, depth + 1, keep_limits) for inner in value]
    if not isinstance(value, Mapping) or depth > DEEPEST * 2:
        return value
    made = {str(name): _closed_member(str(name), inner, depth, keep_limits)
            for name, inner in value.items()
            if keep_limits or name not in _UNCHECKED}
    if not keep_limits and type(made.get("minItems")) is int:
        made["minItems"] = min(made["minItems"], 1)
    if _is_object(made):
        made["additionalProperties"] = False
    return made


def _closed_member(name: str, value: Any, depth: int, keep_limits: bool) -> Any:
    if name in ("properties", "$defs", "definitions") and isinstance(value, Mapping):
        return {str(key): _closed(inner, depth + 1, keep_limits) for key, inner in value.items()}
    if name in ("enum", "const", "default", "examples"):
        return value
    return _closed(value, depth + 1, keep_limits)


def _objects(value: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    """Yield every object schema in a value."""
    if isinstance(value, list):
        for inner in value:
            yield from _objects(inner, depth + 1)
    elif isinstance(value, Mapping) and depth <= DEEPEST * 2:
        if _is_object(value):
            yield value
        for name, inner in value.items():
            if name in ("properties", "$defs", "definitions") and isinstance(inner, Mapping):
                for each in inner.values():
                    yield from _objects(each, depth + 1)
            elif name not in ("enum", "const", "default", "examples"):
                yield from _objects(inner, depth + 1)


def _is_object(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    return kind == "object" or isinstance(kind, list) and "object" in kind or "properties" in schema


def _object(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
