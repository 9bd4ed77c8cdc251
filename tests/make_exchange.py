"""Generates docs/exchange.md from the adapters: which field means what in each dialect, and what is
lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

from core.errors import ProviderError
from core.messages import Image, Message, Text, Thinking, ToolCall, ToolResult, tool_message
from core.messages import user_message
from core.providers import Endpoint, Options, Request, ToolSpec
from core.providers.anthropic_request import request_body as anthropic_body
from core.providers.cohere import request_body as cohere_body
from core.providers.errors_http import classify
from core.providers.finish import finish_of
from core.providers.gemini_request import request_body as gemini_body
from core.providers.hosts import find_host
from core.providers.mistral import Mistral
from core.providers.ollama_request import chat_body
from core.providers.openai_request import request_body as openai_body
from core.providers.openai_responses_request import request_body as responses_body
from core.providers.written import Beginnings

DIALECTS = ("openai", "openai-responses", "anthropic", "gemini", "mistral", "cohere", "ollama")
MODELS = {"gemini": "gemini-2.5-flash", "anthropic": "claude-haiku-4-5"}
ADDRESS = "https://127.0.0.1/v1"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CALL = ToolCall("call_1", "weather", {"city": "Oslo"})
PICTURE = Image("image/png", "bWFya2VkLWltYWdl", "a.png")


def body_of(dialect: str, request: Request,
            beginnings: Beginnings | None = None) -> dict[str, Any]:
    """What the adapter of this dialect would send."""
    request = replace(request, model=MODELS.get(dialect, "m"))
    host = find_host(dialect)
    endpoint = Endpoint(ADDRESS, "k", dialect, quirks=host.quirks if host else {})
    match dialect:
        case "ollama":
            return chat_body(request, beginnings)
        case "anthropic":
            return anthropic_body(request, endpoint.quirks, beginnings)
        case "cohere":
            return cohere_body(request, beginnings)
        case "gemini":
            return gemini_body(request, beginnings)
        case "mistral":
            mistral = Mistral(endpoint)
            mistral.beginnings = beginnings or mistral.beginnings
            return mistral.body(request)
        case "openai-responses":
            return responses_body(request, endpoint, beginnings)
    return openai_body(request, endpoint, beginnings)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its path, such as messages[].content."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from leaves(inner, f"{path}[]")
    else:
        yield path, value


# ---- messages: words that can be found again

SAID: dict[str, Callable[[str], Request]] = {
    "system prompt": lambda mark: Request("m", (user_message("q"),), mark),
    "a user's words": lambda mark: Request("m", (user_message(mark),)),
    "an image": lambda mark: Request("m", (user_message("q", (replace(PICTURE, data=mark),)),)),
    "a reply's words": lambda mark: _with_reply(Text(mark)),
    "its thinking": lambda mark: _with_reply(Thinking(mark), Text("a")),
    "a tool that is offered": lambda mark: Request(
        "m", (user_message("q"),), None, (ToolSpec("weather", mark, SCHEMA),)),
    "a call's arguments": lambda mark: _with_call(mark, "result"),
    "a tool's result": lambda mark: _with_call("x", mark),
}


def _with_reply(*parts: Text | Thinking) -> Request:
    reply = Message("assistant", parts, "other/m", None, "stop")
    return Request("m", (user_message("q"), reply, user_message("and?")))


def _with_call(argument: str, result: str) -> Request:
    call = replace(CALL, arguments={"city": argument})
    reply = Message("assistant", (call,), "other/m", None, "tool_calls")
    answered = tool_message((ToolResult("call_1", "weather", result),))
    return Request("m", (user_message("q"), reply, answered), None,
                   (ToolSpec("weather", "w", SCHEMA),))


def place_of(dialect: str, make: Callable[[str], Request]) -> str:
    """Where this dialect puts the text; "" if it leaves it out."""
    mark = "bWFya2Vk"     # base64 too, as images are
    found = [path for path, value in leaves(body_of(dialect, make(mark)))
             if isinstance(value, str) and mark in value]
    return found[0] if found else ""


# ---- options: what changes when one is set

VALUES: dict[str, Any] = {
    "temperature": 0.25, "top_p": 0.75, "seed": 4711, "max_tokens": 4321, "stop": ("marked",),
    "think": "low",
    "num_ctx": 8765, "keep_alive": "77m",
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}}


def places_of(dialect: str, name: str) -> str:
    """The fields that this option adds; "" if the dialect has none."""
    asked = Request("m", (user_message("q"),))
    before = dict(leaves(body_of(dialect, asked)))
    options = replace(Options(), **{name: VALUES[name]})
    after = dict(leaves(body_of(dialect, replace(asked, options=options))))
    new = [path for path, value in after.items() if before.get(path, _ABSENT) != value]
    return _shared(new)


_ABSENT = object()


def _shared(paths: list[str]) -> str:
    """A path, or the common beginning of several."""
    if len(paths) < 2:
        return paths[0] if paths else ""
    parts = [path.split(".") for path in paths]
    kept = [names[0] for names in zip(*parts) if len(set(names)) == 1]
    return ".".join(kept) or ", ".join(sorted({path.split(".")[0] for path in paths}))


# ---- the page

ENDS = ("stop", "end_turn", "STOP", "COMPLETE", "length", "max_tokens", "MAX_TOKENS", "tool_calls",
        "tool_use",
        "content_filter", "SAFETY", "refusal", "model_context_window_exceeded", "network_error")
FAILURES: tuple[tuple[int, str], ...] = (
    (401, "invalid api key"), (403, "you have no access to model m"), (404, "model m not found"),
    (400, "maximum context length is 8192 tokens"), (413, "request too large"),
    (400, "unsupported parameter: 'seed'"), (402, "payment required"), (429, "rate limit reached"),
    (429, "insufficient_quota"), (503, "overloaded"), (500, "internal error"),
    (418, "words that nobody knows"))
USAGE = (
    ("openai", "usage.prompt_tokens", "usage.completion_tokens",
     "usage.prompt_tokens_details.cached_tokens"),
    ("openai-responses", "usage.input_tokens", "usage.output_tokens",
     "usage.input_tokens_details.cached_tokens"),
    ("anthropic", "the sum of usage.input_tokens, cache_creation_input_tokens and "
     "cache_read_input_tokens",
     "usage.output_tokens", "usage.cache_read_input_tokens"),
    ("gemini", "usageMetadata.promptTokenCount", "usageMetadata.candidatesTokenCount",
     "usageMetadata.cachedContentTokenCount"),
    ("mistral", "usage.prompt_tokens", "usage.completion_tokens",
     "usage.prompt_tokens_details.cached_tokens"),
    ("cohere", "usage.tokens.input_tokens", "usage.tokens.output_tokens", ""),
    ("ollama", "prompt_eval_count", "eval_count", ""))


def exchange_page() -> str:
    """The whole page."""
    return "\n".join([*_beginning(), *_messages(), *_options(), *_example(), *_replies(), ""])


def _beginning() -> list[str]:
    return [
        "# How a conversation maps to each dialect", "",
        "This page shows what the adapters in `core/providers/` send; `make docs` makes it with "
        "them. A conversation is stored",
        "in one form (`core/messages.py`) and translated for each provider, so any model can "
        "continue a conversation that",
        "another one began. `[]` stands for an entry of a list, `-` for what is left out.", ""]


def _table(head: str, rows: list[tuple[str, list[str]]]) -> list[str]:
    lines = [f"| {head} | {' | '.join(DIALECTS)} |", f"|---{'|---' * len(DIALECTS)}|"]
    return [*lines, *(f"| {name} | {' | '.join(f'`{cell}`' if cell else '-' for cell in cells)} |"
                      for name, cells in rows), ""]


def _messages() -> list[str]:
    rows = [(name, [place_of(each, make) for each in DIALECTS]) for name, make in SAID.items()]
    return ["## Messages", "", *_table("part", rows),
            "Thinking from another origin is plain text, and is sent only if the dialect accepts "
            "it. Signed and encrypted reasoning",
            "is sent back unchanged, and only to the origin that made it. A call ID that a dialect "
            "does not accept is replaced by",
            "one derived from it, the same in call and result. A call without a result gets one "
            "that says so. Gemini and Cohere do",
            "not accept `$ref` in the schema of a tool, so references are replaced by their "
            "targets.", ""]


def _options() -> list[str]:
    names = [field.name for field in fields(Options) if field.name in VALUES]
    rows = [(f"`{name}`", [places_of(each, name) for each in DIALECTS]) for name in names]
    return ["## Options", "", *_table("option", rows),
            "An option that a dialect lacks is rejected on the command line, and reported if it "
            "comes from the configuration or",
            "concerns a fallback. `--option NAME=VALUE` passes any other field on unchanged.",
            ""]


def _example() -> list[str]:
    asked = Request("m", (user_message("What is the weather?"),
                          Message("assistant", (CALL,), "other/m", None, "tool_calls"),
                          tool_message((ToolResult("call_1", "weather", "12 degrees"),))),
                    "Be brief.", (ToolSpec("weather", "The weather in a city", SCHEMA),))
    lines = ["## The same question in two dialects", ""]
    for dialect in ("openai", "anthropic"):
        text = json.dumps(body_of(dialect, asked), indent=1, ensure_ascii=False)
        lines += [f"{dialect}:", "", "```json", text, "```", ""]
    return lines


def _replies() -> list[str]:
    lines = ["## How a reply ended", "", "| the provider's word | recorded as |", "|---|---|"]
    lines += [f"| `{word}` | `{finish_of(word).reason}` |" for word in ENDS]
    lines += ["", "An unknown word is recorded as `incomplete`, never as `stop`: the exit code is "
              "3, and the word is shown. Calls in an",
              "incomplete reply are not run.", "", "## Tokens", "",
              "| dialect | read | written | from a cache |", "|---|---|---|---|"]
    lines += [
        f"| {' | '.join([row[0], *(cell if ' ' in cell else f'`{cell}`' if cell else '-' for cell in row[1:])])} |"
        for row in USAGE]
    lines += ["", "## Errors", "", "One function classifies the errors of all dialects by status, "
              "code, type and words",
              "(`core/providers/errors_http.py`).", "",
              "| status | words, for example | kind | what is tried next |", "|---|---|---|---|"]
    for status, words in FAILURES:
        error = classify(Endpoint(ADDRESS, host="m"), status, {},
                         json.dumps({"error": {"message": words}}).encode())
        lines.append(f"| {status} | {words} | `{error.kind}` | {_asked_again(error)} |")
    return lines


def _asked_again(error: ProviderError) -> str:
    if error.kind == "context_too_long":
        return "with less of the conversation"
    if getattr(error, "feature", ""):
        return "without it"
    return "the same model, then the next" if error.retryable else "the next model, if one is named"
