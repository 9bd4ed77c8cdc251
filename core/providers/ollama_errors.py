"""Translates Ollama's errors into ours."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from core.errors import (AuthFailed, BadRequest, ContextTooLong, ModelNotFound, Overloaded,
                         ProviderError, QuotaExhausted,
                         RateLimited, Unsupported)
from core.providers.error_body import Said, read_error, read_plain, spoken_delay
from core.providers.errors_http import named_parameter, overflows
from core.retry.headers import retry_after


def error_from(status: int, headers: Mapping[str, str], content: bytes, *,
               model: str = "") -> ProviderError:
    """Return the error in a response, or in a line of a 200 stream (`status` 200)."""
    text, facts = _error_text(content)
    known = _known_error(text, facts, status, model)
    if known is not None:
        return known
    said = (f"Ollama refused the request: {text}" if text
            else f"Ollama refused the request (status {status}).")
    wait = _delay(headers, text)
    match status:
        case 401:
            return AuthFailed(said, "Set OLLAMA_API_KEY, or use `ollama signin`.", status=status)
        case 403:
            return AuthFailed(said, "Ollama rejects unknown host names: use localhost or its IP "
                              "address.",
                              status=status)
        case 429:
            if wait is None and re.search(r"\b(weekly|upgrade|quota)\b", text):
                return QuotaExhausted(said, status=status)
            return RateLimited(said, retry_after=wait, status=status)
        # 502 and 504 come from a proxy in front of it
        case _ if status >= 500 or status in (200, 408, 409, 425):
            failed = f"Ollama failed: {text}" if text else f"Ollama failed (status {status})."
            return Overloaded(failed, "Its log (`ollama serve`) has the reason.", retry_after=wait,
                              status=status)
        case 404:
            return ProviderError(f"{said}", "Is it an Ollama server? Check OLLAMA_HOST or "
                                 "--base-url.", status=status)
    return BadRequest(said, status=status, feature=named_parameter(Said(text, words=text.lower())))


def _delay(headers: Mapping[str, str], text: str) -> float | None:
    """Return the seconds until the next attempt, from the headers or the text."""
    given = retry_after(headers)
    return spoken_delay(text) if given is None else given


def _error_text(content: bytes) -> tuple[str, Mapping[str, Any]]:
    """Return the text of an error and the innermost object with it: JSON inside a string inside
    JSON, as in {"error": "{\\"error\\": {...}}"}, occurs.
    """
    facts: Mapping[str, Any] = {}
    value: Any = content.decode("utf-8", "replace").strip()
    for _ in range(5):
        if isinstance(value, str) and value.startswith("{"):
            try:
                value = json.loads(value)
            except ValueError:
                break
        elif isinstance(value, dict):
            facts = value
            value = value.get("error", value.get("message", ""))
        else:
            break
    text = value if isinstance(value, str) else json.dumps(value)
    if " " not in text.strip() and facts:
        text = read_error(facts).message
    return (read_plain(text).message if text.startswith("<") else text)[:1000], facts


def _known_error(text: str, facts: Mapping[str, Any], status: int,
                 model: str) -> ProviderError | None:
    """Return an error that is recognized by its text, since the status is not specific; else None.
    """
    if "n_ctx" in facts or overflows(text.lower()):
        return ContextTooLong(f"The prompt is too long for {model or 'the model'}: {text}",
                              "/ctx 32k (or --num-ctx 32768) enlarges the window, /compact "
                              "summarises older turns.",
                              limit=facts.get("n_ctx"), needed=facts.get("n_prompt_tokens"),
                              status=status)
    if (status == 404 and "not found" in text and "page not found" not in text
        or "file does not exist" in text):
        return ModelNotFound(f"Ollama has no model '{model}'." if model else f"Ollama: {text}.",
                             f"Fetch it with `ollama pull {model}`, or see --list-models." if model
                             else "", status=status)
    feature = _unsupported(text)
    if feature:
        return Unsupported(f"{model or 'The model'} does not support {feature}.",
                           _WITHOUT.get(feature, ""), feature=feature,
                           status=status)
    if re.search(r"requires more system memory|out of memory", text):
        return ProviderError(f"Ollama cannot load {model or 'the model'}: {text}.",
                             "Use a smaller model or a smaller --num-ctx.", status=status)
    return None


_WITHOUT = {"tools": "Use a model that supports tools, or turn tools off.",
            "thinking": "Use a model that supports thinking, or --think off.",
            "vision": "Use a model that supports images."}


def _unsupported(text: str) -> str:
    found = re.search(r"does not support ([a-z]+)", text)
    word = found[1] if found else ""
    if (word.startswith("image") or word in ("vision", "multimodal")
        or "image input is not supported" in text):
        return "vision"
    if "think value" in text:
        return "thinking"
    return "" if word.startswith("parameter") else word
