"""Adapts a request to a model: applies provider settings, drops unsupported ones and reports them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from core.config import Settings
from core.config.values import read_own_json, read_own_text
from core.dataclass import replace
from core.errors import UsageError
from core.messages import Image, Message, Text
from core.providers import Options, Request, load_dialect
from core.providers.sealed import without_sealed

FIELDS = ("temperature", "top_p", "seed", "max_tokens", "stop", "think", "num_ctx", "keep_alive",
          "response_format")

# Capabilities that `models` in a provider's entry can deny a model.
DENIABLE = ("tools", "vision", "thinking", "system", "temperature")

# providers' names of parameters -> ours
THEIR_NAMES: Mapping[str, str] = {
    "p": "top_p", "topp": "top_p", "random_seed": "seed", "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "maxoutputtokens": "max_tokens", "num_predict": "max_tokens", "stop_sequences": "stop",
    "stopsequences": "stop",
    "reasoning_effort": "think", "reasoning": "think", "reasoning.effort": "think",
    "reasoning.summary": "think",
    "thinking": "think", "thinkingconfig": "think",
    "chat_template_kwargs": "think", "format": "response_format",
    "output_config": "response_format",
    "text.format": "response_format", "json": "response_format",
    "responseschema": "response_format",
}
# Fields added by the adapters that a server may refuse.
ADDED = frozenset({"stream", "stream_options", "include", "chat_template_kwargs", "store",
                   "parallel_tool_calls", "cache_control", "return_progress"})


def last_name(name: str) -> str:
    """Return the last name in a path such as messages.2.content.0.cache_control."""
    tail = name.rpartition(".")[2]
    return tail if name.lower() not in THEIR_NAMES and (tail in ADDED or tail in FIELDS) else name


def is_parameter(name: str) -> bool:
    """Return whether a name in an error is a parameter that a request can omit."""
    return name in THEIR_NAMES or name in FIELDS or name in ADDED or name in ("tools",
                                                                              "tool_choice")


def lacks_of(dialect: str) -> frozenset[str]:
    """Return the options that a dialect lacks, as declared by its class.

    The adapters leave them out; this module reports them.
    """
    found: frozenset[str] = getattr(load_dialect(dialect), "lacks", frozenset())
    return found


def read_schema(path: str) -> dict[str, Any]:
    """Read the JSON Schema in a file, for --response-format."""
    try:
        loaded = read_own_json(read_own_text(path), f"--response-format: {path}")
    except OSError as problem:
        raise UsageError(f"--response-format: {path} cannot be read: {problem.strerror}.",
                         "Use text, json, or a file with a JSON schema.") from problem
    except (ValueError, RecursionError) as problem:
        raise UsageError(f"--response-format: {path} is not JSON: {problem}.") from problem
    if not isinstance(loaded, dict):
        raise UsageError(f"--response-format: {path} is not a JSON schema: a schema is an object.")
    _check_schema(loaded, path)
    return loaded


def _check_schema(schema: dict[str, Any], path: str) -> None:
    # the package has no types
    from jsonschema.exceptions import SchemaError  # type: ignore[import-untyped]
    # the package has no types
    from jsonschema.validators import validator_for  # type: ignore[import-untyped]
    inner = schema.get("json_schema") if schema.get("type") == "json_schema" else None
    checked = inner.get("schema") if isinstance(inner, dict) else schema
    try:
        validator_for(checked).check_schema(checked)
    except SchemaError as problem:
        raise UsageError(f"--response-format: {path} is not a JSON schema: "
                         f"{problem.message}.") from problem


def set_fields(options: Options) -> list[str]:
    return [name for name in FIELDS if getattr(options, name) not in (None, ())]


def check_flags(settings: Settings, provider: str, dialect: str) -> None:
    """Raise UsageError for options on the command line that the chosen provider does not support.
    """
    wanted = [name for name in FIELDS if name in settings.flags and name in lacks_of(dialect)]
    if wanted:
        raise UsageError(f"{provider} does not support the parameter {', '.join(wanted)}.",
                         f"Leave out --{wanted[0].replace('_', '-')}, or use a provider that "
                         "supports it (--help providers).")
    if "api_version" in settings.flags and dialect not in ("openai", "openai-responses"):
        raise UsageError(f"{provider} does not support --api-version.",
                         "Azure and hosts of the OpenAI dialect do.")


def left_out(options: Options, dialect: str) -> list[str]:
    """Return the options that are set but that this dialect lacks."""
    return [name for name in set_fields(options) if name in lacks_of(dialect)]


def adapt_request(request: Request, entry: Mapping[str, Any], settings: Settings, dialect: str,
                  lacks: Collection[str]) -> Request:
    """Return the request with the provider's settings, overridden by the command line, and without
    what the model lacks.
    """
    changes = {name: _entry_value(name, entry[name])
               for name in FIELDS if name in entry and _may_replace(name, request, settings)}
    raw = {**entry.get("option", {}), **request.options.raw}
    if changes or raw != request.options.raw:
        request = replace(request, options=replace(request.options, **changes, raw=raw))
    for feature in lacks:
        request = without(request, feature)
    return request


def denied(entry: Mapping[str, Any], model: str) -> list[str]:
    """Return the capabilities that the configuration denies a model, under `models` in a provider's
    entry.
    """
    own = entry.get("models", {}).get(model, {})
    return [name for name in DENIABLE if own.get(name) is False]


def _may_replace(name: str, request: Request, settings: Settings) -> bool:
    """Return whether the configuration may set an option: not if it was set on the command line or
    in the chat.
    """
    value = getattr(request.options, name)
    return name not in settings.flags and (value in (None, ()) or value == getattr(settings, name))


def _entry_value(name: str, value: Any) -> Any:
    if name == "think":
        return {"on": True, "off": False}.get(value, value) if isinstance(value, str) else value
    if name == "response_format":
        if value in ("json", "json_object"):
            return {"type": "json_object"}
        return None if value in ("text", None) else read_schema(str(value))
    return tuple(value) if name == "stop" else value


# ---- leaving out

def without(request: Request, feature: str) -> Request:
    """Return the request without tools, images, thinking or a parameter; the same object if there
    is nothing to leave out.
    """
    match feature:
        case "tools" | "tool_choice":
            return replace(request, tools=()) if request.tools else request
        case "vision":
            return without_images(request)
        case "signature":
            return without_sealed(request)
        case "system":
            return _system_as_words(request)
        case "thinking" | "thinkinglevel" | "thinking_level":
            return (request if request.options.think is None
                    else replace(request, options=replace(request.options, think=None)))
    name = THEIR_NAMES.get(feature.lower(), last_name(feature))
    if name in ADDED and name not in request.options.raw:
        return (request if name in request.without
                else replace(request, without=request.without | {name}))
    if name in request.options.raw:
        raw = {key: value for key, value in request.options.raw.items() if key != name}
        return replace(request, options=replace(request.options, raw=raw))
    if name not in FIELDS or name not in set_fields(request.options):
        return request
    changes: dict[str, Any] = {name: () if name == "stop" else None}
    return replace(request, options=replace(request.options, **changes))


def _system_as_words(request: Request) -> Request:
    """Move the system prompt to the beginning of the first message, for models without system
    prompts.
    """
    if not request.system or not request.messages or request.messages[0].role != "user":
        return request
    first, *rest = request.messages
    words = Text(f"{request.system}\n\n")
    return replace(request, system=None,
                   messages=(replace(first, parts=(words, *first.parts)), *rest))


def without_images(request: Request) -> Request:
    """Replace each image with text, so that the model knows that there was one.

    The stored message keeps the image.
    """
    if not count_images(request.messages):
        return request
    return replace(request, messages=tuple(_in_words(message) for message in request.messages))


def _in_words(message: Message) -> Message:
    if not any(isinstance(part, Image) for part in message.parts):
        return message
    parts = tuple(Text(f"\n[image{f' {part.name}' if part.name else ''}: left out, this model does "
                       "not see images]\n")
                  if isinstance(part, Image) else part for part in message.parts)
    return replace(message, parts=parts)


def count_images(messages: Collection[Message]) -> int:
    return sum(isinstance(part, Image) for message in messages for part in message.parts)


def left_out_notice(request: Request, feature: str) -> str:
    """Return the notice about what was left out of this request."""
    match feature:
        case "tools" | "tool_choice":
            return f"{request.model} cannot call tools, so none are offered to it."
        case "system":
            return (f"{request.model} does not support system prompts, so it was sent with the "
                    "first message.")
        case "stream":
            return (f"{request.model} does not support streaming here, so its answer arrives "
                    "all at once.")
        case "vision":
            number = count_images(request.messages)
            return (f"{request.model} does not see images, so {number} "
                    f"{'image was' if number == 1 else 'images were'} left out.")
        case "thinking":
            return f"{request.model} does not support thinking, so it was turned off."
        case "signature":
            return (f"{request.model} refused signed reasoning of earlier answers, so it was "
                    "left out.")
    return f"{request.model} does not support {feature}, so it was left out."


def schema_of(wanted: Any) -> Mapping[str, Any] | None:
    """Return the JSON Schema in a response format; None if any JSON is accepted."""
    match wanted:
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return dict(schema)
        case {"type": "json_object" | "text"}:
            return None
        case dict():
            return dict(wanted)
    return None
