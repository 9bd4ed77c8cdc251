"""Derives a JSON Schema from a function's signature, and checks a call's arguments against one."""

from __future__ import annotations

import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from core.errors import ToolError

Schema = Mapping[str, Any]
PLAIN: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean",
                         type(None): "null",
                         list: "array", tuple: "array", dict: "object"}
DEEPEST = 40   # levels of nesting in arguments; deeper ones are refused


# ---- signature -> schema

def describe_function(function: Callable[..., Any],
                      hidden: type) -> tuple[str, dict[str, Any], str]:
    """(description, JSON Schema of the parameters, name of the parameter annotated `hidden` or "").

    Raises TypeError for a type without a schema.
    """
    text, notes = split_docstring(inspect.getdoc(function) or "")
    hints = typing.get_type_hints(function, include_extras=True)
    properties: dict[str, Any] = {}
    required, given = [], ""
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD,
                              parameter.POSITIONAL_ONLY):
            raise TypeError(f"{function.__name__}: a tool takes named parameters only, not "
                            f"{parameter}")
        if hints.get(name) is hidden:
            given = name
            continue
        properties[name] = _property(hints.get(name, Any), parameter, notes.get(name, ""))
        if parameter.default is parameter.empty:
            required.append(name)
    return text, {"type": "object", "properties": properties, "required": required,
                  "additionalProperties": False}, given


def _property(hint: Any, parameter: inspect.Parameter, note: str) -> dict[str, Any]:
    schema = schema_of_type(hint)
    if note:
        schema.setdefault("description", note)
    if parameter.default is not parameter.empty and parameter.default is not None:
        schema["default"] = (list(parameter.default) if isinstance(parameter.default, tuple)
                             else parameter.default)
    return schema


def schema_of_type(hint: Any) -> dict[str, Any]:
    """The schema of str, int, float, bool, list[T], dict[str, T], Literal, T | None, TypedDict or
    Any; Annotated adds a description or schema keywords.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return {}
    if origin is Annotated:
        return _annotated(arguments[0], arguments[1:])
    if hint in PLAIN:
        return {"type": PLAIN[hint]}
    if origin is Literal:
        return _literal(arguments)
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if typing.is_typeddict(hint):
        return _typed_dict(hint)
    if origin in (list, tuple, set, frozenset) or isinstance(origin, type) and issubclass(origin,
                                                                                          Sequence):
        return {"type": "array", "items": schema_of_type(arguments[0])}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": schema_of_type(arguments[1])}
    raise TypeError(f"a tool cannot take {hint!r}: there is no JSON for it")


def _annotated(hint: Any, notes: Sequence[Any]) -> dict[str, Any]:
    schema = schema_of_type(hint)
    for note in notes:
        if isinstance(note, Mapping):
            schema |= note
        elif isinstance(note, str) and note:
            schema["description"] = note
    return schema


def _literal(values: Sequence[Any]) -> dict[str, Any]:
    kinds = {PLAIN[type(value)] for value in values}
    return {"enum": list(values)} | ({"type": kinds.pop()} if len(kinds) == 1 else {})


def _union(members: Sequence[Any]) -> dict[str, Any]:
    """The schema of a union; `T | None` is given to the model as T, since it can omit the value."""
    schemas = [schema_of_type(member) for member in members if member is not type(None)]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _typed_dict(hint: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(hint, include_extras=True)
    return {"type": "object",
            "properties": {name: schema_of_type(member) for name, member in hints.items()},
            "required": sorted(hint.__required_keys__), "additionalProperties": False}


def split_docstring(text: str) -> tuple[str, dict[str, str]]:
    """(description, {parameter: description}) of a docstring with an `Args:` section (Google) or
    `:param name:` lines (Sphinx).
    """
    notes = {name: " ".join(note.split())
             for name, note in re.findall(r"^\s*:param\s+(?:\S+\s+)?(\w+):\s*(.+)$", text, re.M)}
    body = re.sub(r"^\s*:(param|returns?|raises|type|rtype)\b.*$", "", text, flags=re.M)
    section = re.search(r"^(?:Args|Arguments|Parameters):\n((?:[ \t]+.*\n?|\n)+)", body, re.M)
    if section:
        for name, note in re.findall(r"^[ \t]+(\w+)(?:\s*\([^)]*\))?:\s*(.+(?:\n[ \t]{5,}.+)*)",
                                     section[1], re.M):
            notes.setdefault(name, " ".join(note.split()))
        body = body[:section.start()] + body[section.end():]
    body = re.split(r"^(?:Returns|Raises|Yields|Examples?):\s*$", body, maxsplit=1, flags=re.M)[0]
    return re.sub(r"[ \t]*\n(?!\n)(?<!\n\n)", " ", body.strip()).strip(), notes


# ---- arguments -> checked arguments

def check_arguments(schema: Schema, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments checked against the schema, with unambiguous mistakes repaired.

    Raises ToolError, which names the mistake.
    """
    checked = check_value(schema, dict(arguments), "", 0)
    if not isinstance(checked, dict):
        raise ToolError("The arguments are not a JSON object.")
    return checked


def check_value(schema: Schema, value: Any, where: str, depth: int) -> Any:
    """The value checked against a schema, repaired if necessary. Raises ToolError."""
    if depth > DEEPEST:
        raise ToolError(f"{_named(where)} is nested more than {DEEPEST} levels deep.")
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise ToolError(f"{_named(where)} must be a finite number.")
    # `true`, or an invalid schema from a server: the value cannot be checked
    if not isinstance(schema, Mapping):
        return value
    choices = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(choices, Sequence) and choices:
        return _first_fitting(choices, value, where, depth)
    kind = schema.get("type")
    if isinstance(kind, list):
        return _first_fitting([{**schema, "type": one} for one in kind], value, where, depth)
    if isinstance(kind, str):
        value = _as_kind(kind, value, schema, where)
    if isinstance(value, dict):
        value = _check_object(schema, value, where, depth)
    elif isinstance(value, list):
        value = [check_value(schema.get("items") or {}, item, f"{where}[{number}]", depth + 1)
                 for number, item in enumerate(value)]
    return _check_limits(schema, value, where)


def _first_fitting(choices: Sequence[Schema], value: Any, where: str, depth: int) -> Any:
    """The value by the first schema that accepts it unchanged, otherwise repaired by one of them.

    Raises ToolError if no schema fits, or if two give different repairs.
    """
    fits, problem = [], ToolError(f"{_named(where)} fits none of what it may be.")
    for choice in choices:
        try:
            fitted = check_value(choice, value, where, depth + 1)
        except ToolError as error:
            problem = error
            continue
        if type(fitted) is type(value) and fitted == value:
            return fitted
        fits.append(fitted)
    if len(fits) == 1:
        return fits[0]
    raise problem if not fits else ToolError(f"{_named(where)} is ambiguous: {_shown(value)}.")


def _as_kind(kind: str, value: Any, schema: Schema, where: str) -> Any:
    if _is_kind(kind, value):
        return value
    repaired = _repair(kind, value, schema)
    if repaired is _NO or not _is_kind(kind, repaired):
        raise ToolError(f"{_named(where)} must be {_article(kind)}, not {_shown(value)}.")
    return repaired


def _is_kind(kind: str, value: Any) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
        case "null":
            return value is None
    return True


_NO = object()


def _repair(kind: str, value: Any, schema: Schema) -> Any:
    """The value with a common, unambiguous mistake of models repaired; _NO if there is none."""
    match kind, value:
        case "integer", float() if value.is_integer() and abs(value) < 2 ** 53:
            return int(value)
        case ("integer" | "number"), str() if re.fullmatch(r"\s*[+-]?\d{1,18}\s*", value):
            return int(value)
        case ("integer" | "number"), str() if re.fullmatch(r"\s*[+-]?\d{1,15}\.\d{1,15}\s*", value):
            number = float(value)
            return int(number) if kind == "integer" and number.is_integer() else number
        case "boolean", str() if value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        case "string", int() | float() if not isinstance(value, bool):
            return json.dumps(value)
        case "object", str():
            return _from_json(value, dict)
        case "array", str() if value.lstrip().startswith("["):
            return _from_json(value, list)
        case "array", str() | int() | float() | dict():
            return [value]
    return _NO


def _from_json(text: str, kind: type) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _NO
    return value if isinstance(value, kind) else _NO


def properties_of(schema: Schema) -> Mapping[str, Schema]:
    """The properties of an object's schema; none if a server's schema has another form."""
    properties = schema.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _check_object(schema: Schema, value: dict[str, Any], where: str, depth: int) -> dict[str, Any]:
    known = properties_of(schema)
    names = schema.get("required")
    required = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    result: dict[str, Any] = {}
    for key, item in value.items():
        name = _known_name(key, known, value)
        path = f"{where}.{name}" if where else name
        if name not in known and _forbids_others(schema):
            raise ToolError(f"There is no argument {_shown(path)}.",
                            f"It takes: {', '.join(known) or 'nothing'}.")
        if item is None and name in known and name not in required and not _takes_null(known[name]):
            continue   # null for an optional argument counts as omitted
        others = schema.get("additionalProperties")
        result[name] = check_value(known.get(name)
                                   or (others if isinstance(others, Mapping) else {}), item, path,
                                   depth + 1)
    missing = [name for name in required if name not in result]
    if missing:
        raise ToolError(
            f"Missing: {', '.join(f'{where}.{name}' if where else name for name in missing)}.")
    return result


def _forbids_others(schema: Schema) -> bool:
    return schema.get("additionalProperties") is False


def _takes_null(schema: Schema) -> bool:
    if not isinstance(schema, Mapping):
        return True
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    return ("null" in kinds or not schema
            or any(_takes_null(choice) for choice in schema.get("anyOf") or ()))


def _known_name(key: str, known: Mapping[str, Schema], value: Mapping[str, Any]) -> str:
    """The known key for one in another case or with dashes, if it is unique and not given as well;
    otherwise the key itself.
    """
    if key in known:
        return key
    plain = _plain_name(key)
    alike = [name for name in known if _plain_name(name) == plain]
    rivals = [other for other in value if _plain_name(other) == plain]
    return alike[0] if len(alike) == 1 and len(rivals) == 1 else key


def _plain_name(name: str) -> str:
    return name.replace("-", "").replace("_", "").strip().lower()


def _check_limits(schema: Schema, value: Any, where: str) -> Any:
    allowed = schema.get("enum")
    if isinstance(allowed, Sequence) and value not in allowed:
        alike = [one for one in allowed if isinstance(one, str) and isinstance(value, str)
                 and one.lower() == value.strip().lower()]
        if len(alike) != 1:
            raise ToolError(f"{_named(where)} cannot be {_shown(value)}.",
                            f"It is one of: {', '.join(map(str, allowed))}.")
        value = alike[0]
    if _is_kind("number", value):
        _check_bounds(schema, value, "minimum", "maximum", _named(where))
    elif isinstance(value, str):
        _check_bounds(schema, len(value), "minLength", "maxLength",
                      f"The length of {_named(where)}")
    elif isinstance(value, list):
        _check_bounds(schema, len(value), "minItems", "maxItems", f"The length of {_named(where)}")
    return value


def _check_bounds(schema: Schema, size: float, low: str, high: str, name: str) -> None:
    least, most = schema.get(low), schema.get(high)
    if isinstance(least, (int, float)) and size < least:
        raise ToolError(f"{name} must be at least {least}.")
    if isinstance(most, (int, float)) and size > most:
        raise ToolError(f"{name} must be at most {most}.")


def _named(where: str) -> str:
    return _shown(where) if where else "The argument object"


def _article(kind: str) -> str:
    return {"integer": "a whole number", "array": "a list", "object": "an object", "null": "null",
            "boolean": "true or false"}.get(kind, f"a {kind}")


def _shown(value: Any) -> str:
    """A value for an error message, shortened: the model knows what it sent."""
    text = (value if isinstance(value, str)
            else type(value).__name__ if isinstance(value, (dict, list)) else repr(value)[:80])
    return (repr(text[:60] + "\u2026") if len(text) > 60 else repr(text) if isinstance(value, str)
            else text)
