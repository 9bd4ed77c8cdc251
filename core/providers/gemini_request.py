"""Builds requests for the Gemini API, without I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.messages import Attached, Image, Message, Part, Text, Thinking, ToolCall, ToolResult
from core.regex import regex
from core.providers import Options, Request, ToolSpec
from core.providers.foreign import list_of, object_of, objects_of, words_of
from core.providers.tool_schema import DEEPEST, resolved, tool_parameters, valid_name
from core.providers.written import Beginnings

NAME = "gemini"
# For calls that another model made: Gemini 3 rejects a tool turn without a signature
# (https://ai.google.dev/gemini-api/docs/thought-signatures).
FOREIGN_SIGNATURE = "skip_thought_signature_validator"
# tokens of thinking, for models up to 2.5
BUDGETS: Mapping[str, int] = {"low": 1024, "medium": 8192, "high": 16384, "max": 24576}
# for models from 3 on
LEVELS: Mapping[str, str] = {"low": "low", "medium": "medium", "high": "high", "max": "high"}
AUTOMATIC = -1
# all other options go into generationConfig
TOP_LEVEL = frozenset(("safetySettings", "toolConfig", "cachedContent", "tools", "labels"))
# the type of a value of any type, since each value needs one
ANYTHING: Mapping[str, Any] = {"type": "string"}
_BEFORE_3 = regex(r"(models/)?(gemini-[12]([.-]|$)|gemini-pro(-vision)?$|gemma|learnlm)")
_WITHOUT_THINKING = regex(r"(models/)?(gemini-1|gemini-2\.0|gemma)")
_KNOWN = frozenset((
    "title", "description", "maxItems", "minItems", "required", "minProperties", "maxProperties",
    "minLength",
    "maxLength", "pattern", "propertyOrdering", "minimum", "maximum"))
_FORMATS = frozenset(("enum", "date-time", "float", "double", "int32", "int64"))


def request_body(request: Request, beginnings: Beginnings | None = None) -> dict[str, Any]:
    signed = not _BEFORE_3.match(request.model)
    entries = (beginnings or Beginnings()).entries(
        request.messages, lambda messages, before, last: contents(messages, signed=signed), signed)
    body: dict[str, Any] = {"contents": entries}
    system = [request.system or "",
              *(message.text for message in request.messages if message.role == "system")]
    if any(system):
        body["systemInstruction"] = {"parts": [{"text": text} for text in system if text]}
    if request.tools:
        body["tools"] = [{"functionDeclarations": [_declaration(tool) for tool in request.tools]}]
    config = generation_config(request.model, request.options)
    raw = dict(request.options.raw)
    own = {name: raw.pop(name) for name in list(raw) if name in TOP_LEVEL}
    config |= dict(raw.pop("generationConfig", {})) | raw
    return body | ({"generationConfig": config} if config else {}) | own


def generation_config(model: str, options: Options) -> dict[str, Any]:
    fields = {"temperature": options.temperature, "topP": options.top_p, "seed": options.seed,
              "maxOutputTokens": options.max_tokens, "stopSequences": list(options.stop) or None,
              "thinkingConfig": thinking_config(model, options.think)}
    return ({name: value for name, value in fields.items() if value is not None}
            | _answer_format(options.response_format))


def thinking_config(model: str, think: bool | str | None) -> dict[str, Any] | None:
    """Return the thinking settings: a token budget up to Gemini 2.5, a level from 3 on.

    Pro models always think; the minimum is requested for them.
    """
    if think is None or _WITHOUT_THINKING.match(model):
        return None
    pro = "pro" in model
    if think is False or think == "off":
        if _BEFORE_3.match(model):
            return {"thinkingBudget": 128 if pro else 0}
        return {"thinkingLevel": "low" if pro else "minimal"}
    effort = think if isinstance(think, str) and think in BUDGETS else None
    if _BEFORE_3.match(model):
        return {"includeThoughts": True, "thinkingBudget": BUDGETS[effort] if effort else AUTOMATIC}
    return {"includeThoughts": True, **({"thinkingLevel": LEVELS[effort]} if effort else {})}


def adapted(request: Request) -> list[str]:
    """Describe thinking and format settings that are changed for this model."""
    model, think = request.model, request.options.think
    off = think is False or think == "off"
    said = []
    if think is not None and not off and _WITHOUT_THINKING.match(model):
        said.append("it does not think")
    elif (off and not _WITHOUT_THINKING.match(model)
          and ("pro" in model or not _BEFORE_3.match(model))):
        said.append("its thinking cannot be turned off, so the minimum is requested")
    elif think == "max" and not _BEFORE_3.match(model):
        said.append("the highest effort here is high")
    return said


def _answer_format(wanted: Any) -> dict[str, Any]:
    """Convert "json", a JSON Schema or OpenAI's wrapper of one."""
    match wanted:
        case None | "" | "text" | {"type": "text"}:
            return {}
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return {"responseMimeType": "application/json", "responseSchema": schema_subset(schema)}
        case dict() if wanted.get("type") != "json_object":
            return {"responseMimeType": "application/json", "responseSchema": schema_subset(wanted)}
    return {"responseMimeType": "application/json"}


# ---- tools

def _declaration(tool: ToolSpec) -> dict[str, Any]:
    """Declare a tool. The API rejects parameters without properties, so these are left out."""
    said = {"name": tool.name, "description": tool.description}
    parameters = tool_parameters(tool.parameters)
    return {**said, "parameters": schema_subset(parameters)} if parameters["properties"] else said


def schema_subset(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce a JSON Schema to what the API supports, since it rejects other keys.

    References are replaced by their targets.
    """
    return _subset(schema, schema, 0)


def _subset(schema: Any, root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """Reduce a schema. `root` is the complete schema, for references."""
    if not isinstance(schema, Mapping) or depth > DEEPEST:
        return dict(ANYTHING)
    if isinstance(schema.get("$ref"), str):
        rest = {name: value for name, value in schema.items() if name != "$ref"}
        return _subset({**resolved(schema["$ref"], root), **rest}, root, depth + 1)
    for part in objects_of(schema.get("allOf")):
        schema = {**_subset(part, root, depth + 1), **schema}
    kept = {name: value for name, value in schema.items()
            if name in _KNOWN and not isinstance(value, bool)}
    kept |= _type(schema)
    if isinstance(schema.get("nullable"), bool):
        kept["nullable"] = schema["nullable"]
    if schema.get("format") in _FORMATS:
        kept["format"] = schema["format"]
    choices = [schema["const"]] if "const" in schema else list_of(schema.get("enum"))
    if choices and all(isinstance(choice, str) for choice in choices):
        choices = [choice for choice in choices if choice]     # an empty enum is rejected
        kept |= {"type": "string", **({"enum": choices} if choices else {})}
    kept |= _members(schema, kept, root, depth) | _alternatives(schema, root, depth)
    return kept if "type" in kept or "anyOf" in kept else kept | dict(ANYTHING)


def _members(schema: Mapping[str, Any], kept: dict[str, Any], root: Mapping[str, Any],
             depth: int) -> dict[str, Any]:
    """Reduce properties and items. Required names must be properties, and arrays must have an item
    type.
    """
    properties = {str(name): _subset(value, root, depth + 1)
                  for name, value in object_of(schema.get("properties")).items()}
    required = [name for name in words_of(kept.pop("required", None)) if name in properties]
    found: dict[str, Any] = {"properties": properties} if properties else {}
    if required:
        found["required"] = required
    if properties and "type" not in kept:
        found["type"] = "object"
    if "items" in schema or kept.get("type") == "array":
        found["items"] = _subset(schema.get("items"), root, depth + 1)
    return found


def _type(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Replace a list of types with its first, nullable if null is in the list."""
    kind = schema.get("type")
    if not isinstance(kind, list):
        return {"type": kind} if isinstance(kind, str) and kind else {}
    real = [name for name in kind if name != "null"]
    return {"type": real[0] if real else "string", **({"nullable": True} if "null" in kind else {})}


def _alternatives(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    options = objects_of(schema.get("anyOf")) or objects_of(schema.get("oneOf"))
    real = [_subset(option, root, depth + 1) for option in options if option != {"type": "null"}]
    nullable = {"nullable": True} if len(real) < len(options) else {}
    if len(real) == 1:
        return real[0] | nullable
    return {"anyOf": real, **nullable} if real else {}


# ---- messages

def contents(messages: Sequence[Message], *, signed: bool) -> Iterator[dict[str, Any]]:
    """Yield the entries of messages. `signed`: the model requires a signature on the first call of
    each reply.
    """
    ids: dict[str, list[str | None]] = {}
    for message in messages:
        if message.role == "system":
            continue
        if message.role == "assistant":
            ids = {}
            for call in message.tool_calls:
                ids.setdefault(call.id, []).append(_own(call).get("id"))
        parts = [wire for part in message.parts if (wire := _part(part, ids)) is not None]
        if message.role == "assistant" and signed:
            _sign(parts)
        if parts:
            yield {"role": "model" if message.role == "assistant" else "user", "parts": parts}


def _sign(parts: list[dict[str, Any]]) -> None:
    calls = [part for part in parts if "functionCall" in part]
    if calls and not any("thoughtSignature" in part for part in parts):
        calls[0]["thoughtSignature"] = FOREIGN_SIGNATURE


def _own(part: Text | Thinking | ToolCall) -> Mapping[str, Any]:
    return (part.extra or {}).get(NAME) or {}


def _part(part: Part, ids: Mapping[str, list[str | None]]) -> dict[str, Any] | None:
    match part:
        case Text() | Thinking():
            return _words(part)
        case ToolCall(name=name):
            arguments = dict(part.arguments) if part.invalid is None else {"invalid": part.invalid}
            own = _own(part)
            call = {**({"id": own["id"]} if own.get("id") else {}), "name": valid_name(name),
                    "args": arguments}
            return {"functionCall": call, **_signature(own)}
        case ToolResult(id=id, name=name, content=content, is_error=is_error):
            theirs = ids[id].pop(0) if ids.get(id) else None
            return {"functionResponse": {**({"id": theirs} if theirs else {}),
                                         "name": valid_name(name),
                                         "response": {"error" if is_error else "result": content}}}
        case Attached(text):
            return {"text": text}
        case Image(media_type=media_type, data=data):
            return {"inlineData": {"mimeType": media_type, "data": data}}


def _signature(own: Mapping[str, Any]) -> dict[str, Any]:
    return {"thoughtSignature": own["thoughtSignature"]} if "thoughtSignature" in own else {}


def _words(part: Text | Thinking) -> dict[str, Any] | None:
    """Return a text or thinking part. Unsigned thinking and blank text are not sent back."""
    own = _own(part)
    if "part" in own:
        return dict(own["part"])
    signature = _signature(own)
    if isinstance(part, Thinking):
        return {"text": part.text, "thought": True, **signature} if signature else None
    return {"text": part.text, **signature} if part.text or signature else None
