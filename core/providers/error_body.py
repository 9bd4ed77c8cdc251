"""Reads a provider's error response in any known shape: its text, delay and token counts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from core.dataclass import dataclass
from core.providers.http.decoder import plausible_count, readable
from core.regex import regex
from core.retry.headers import retry_after

LONGEST_FIELDS = 200    # characters of a body without any words that are shown
_DELAY = regex(
    r"(?i)(?:try again|retry|retry after|wait)(?: in| after)?\s+(?=\d)"
    r"(?:(\d+(?:\.\d+)?)\s*h(?:ours?)?\s*)?(?:(\d+(?:\.\d+)?)\s*m(?!s)(?:in(?:ute)?s?)?\s*)?"
    r"(?:(\d+(?:\.\d+)?)\s*s(?:ec(?:ond)?s?)?\s*)?(?:(\d+(?:\.\d+)?)\s*(?:ms|milliseconds)\b)?")


@dataclass(frozen=True, slots=True)
class Said:
    """The content of an error response, whatever its shape.

    `words` is all of its text in lower case, for searching.
    """

    message: str
    code: str = ""
    kind: str = ""
    param: str = ""
    delay: float | None = None
    status: int | None = None
    words: str = ""
    numbers: Mapping[str, Any] | None = None


def read_error(payload: Any) -> Said:
    """Extract message, code, type and parameter from any known shape."""
    payload = _unwrapped(payload)
    if isinstance(payload, list):
        payload = _unwrapped(next((entry for entry in payload if isinstance(entry, dict)), {}))
    if not isinstance(payload, dict):
        return read_plain(str(payload) if payload else "")
    inner = _unwrapped(payload.get("error"))
    if isinstance(inner, dict) and isinstance(_unwrapped(inner.get("error")), dict):
        inner = _unwrapped(inner["error"])
    fields = {**payload, **inner} if isinstance(inner, dict) else payload
    message = _in_full(_message(fields, inner), fields)
    detail = " ".join(_strings(fields, 0))
    return Said(message, code=_text(fields.get("code")),
                kind=_text(fields.get("type") or fields.get("error_type")),
                param=_text(fields.get("param")) or _located(fields.get("detail")),
                delay=_body_delay(fields, f"{message} {detail}"), status=_body_status(fields),
                words=f"{message} {detail}".lower(), numbers=fields)


def _located(detail: Any) -> str:
    """Return the field that a validation error names, as in {"detail": [{"loc": ["body", "top_p"],
    ...}]} (vLLM, Mistral).
    """
    first = detail[0] if isinstance(detail, list) and detail else None
    places = first.get("loc") if isinstance(first, dict) else None
    return str(places[-1]) if isinstance(places, list) and places else ""


def _unwrapped(value: Any) -> Any:
    """Parse a string that contains JSON (Ollama, LM Studio)."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _message(fields: Mapping[str, Any], inner: Any) -> str:
    for value in (inner if isinstance(inner, str) else None, fields.get("message"),
                  fields.get("detail"), fields.get("msg")):
        value = _unwrapped(value)
        if isinstance(value, (dict, list)):
            value = read_error(value).message if value else ""
        if value:
            return _with_upstream(str(value), fields.get("metadata"))
    return ""


def _in_full(message: str, fields: Mapping[str, Any]) -> str:
    """Return the message, or all that the body says if the usual fields have at most a code."""
    if " " in message.strip() or not fields:
        return message
    said = sentences(fields) or ([] if message else list(_strings(fields, 0)))
    if not message and not any(said):
        return json.dumps(fields, ensure_ascii=False)[:LONGEST_FIELDS]
    return ": ".join(dict.fromkeys(text for text in (message, *said) if text))


def sentences(value: Any) -> list[str]:
    """Return the strings of several words in a JSON value: what an unknown shape says to people."""
    return [text for text in _strings(value, 0) if " " in text.strip()]


def _with_upstream(message: str, metadata: Any) -> str:
    """Add the message of the provider behind OpenRouter."""
    if not isinstance(metadata, dict):
        return message
    raw = _unwrapped(metadata.get("raw"))
    upstream = raw if isinstance(raw, str) else read_error(raw).message if raw else ""
    if not upstream:
        return message
    return f"{message}: {metadata.get('provider_name') or 'upstream'}: {upstream}"


def read_plain(text: str) -> Said:
    """Read plain text, or the title or first words of an HTML page."""
    if text.lstrip()[:1] == "<":
        from html import unescape
        text = unescape(readable(text))
    return Said(text, words=text.lower(), delay=spoken_delay(text))


def _strings(value: Any, depth: int) -> Iterator[str]:
    """Yield every string in a JSON value, for searching."""
    if isinstance(value, str):
        yield value
    elif depth < 6 and isinstance(value, dict):
        for entry in value.values():
            yield from _strings(entry, depth + 1)
    elif depth < 6 and isinstance(value, list):
        for entry in value:
            yield from _strings(entry, depth + 1)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _body_status(fields: Mapping[str, Any]) -> int | None:
    for name in ("status_code", "raw_status_code", "code", "status", "statusCode"):
        value = fields.get(name)
        value = (int(value) if isinstance(value, str) and re.fullmatch("[45][0-9]{2}", value)
                 else value)
        if isinstance(value, int) and 400 <= value <= 599:
            return value
    return None


# ---- delays and sizes

def header_delay(headers: Mapping[str, str]) -> float | None:
    """Return the delay in seconds from the headers. Azure has sent retry-after-ms: 0 with
    retry-after: 1, so the longer one wins.
    """
    delay = retry_after(headers)
    if delay == 0 and headers.get("retry-after"):
        return retry_after({"retry-after": headers["retry-after"]})
    return delay


def _body_delay(fields: Mapping[str, Any], text: str) -> float | None:
    details = fields.get("details")
    for entry in details if isinstance(details, list) else ():
        delay = entry.get("retryDelay") if isinstance(entry, dict) else None
        if isinstance(delay, str) and re.fullmatch(r"\d+(\.\d+)?s", delay):
            return float(delay[:-1])
    return spoken_delay(text)


def spoken_delay(text: str) -> float | None:
    """Return the seconds in "Please try again in 1m47.5s", "in 399ms" or "Please retry in 48.9s".
    """
    for found in _DELAY.finditer(text):
        hours, minutes, seconds, milliseconds = (float(part) if part else None
                                                 for part in found.groups())
        if (hours, minutes, seconds, milliseconds) != (None, None, None, None):
            return ((hours or 0) * 3600 + (minutes or 0) * 60 + (seconds or 0)
                    + (milliseconds or 0) / 1000)
    return None


_LIMITS = tuple(regex(each) for each in (
    r"(?P<needed>\d+) tokens > (?P<limit>\d+) maximum",
    r"maximum context length (?:is|of) (?P<limit>\d+) tokens.*?(?:requested|resulted in|contains?"
    r"|has)\D{0,40}?(?P<needed>\d+)",
    r"token count \(?(?P<needed>\d+)\)? exceeds.*?\(?(?P<limit>\d+)\)?",
    r"limit (?P<limit>\d+), requested (?P<needed>\d+)",
    r"prompt contains (?P<needed>\d+) tokens.*?(?P<limit>\d{3,})",
    r"request \((?P<needed>\d+) tokens\) exceeds .*?\((?P<limit>\d+) tokens\)",
    r"(?:maximum context length (?:is|of)|limit for this model is) (?P<limit>\d+)",
))


def token_counts(said: Said) -> tuple[int | None, int | None]:
    """Return (limit, needed) in tokens, from fields (llama.cpp) or from the text."""
    fields = said.numbers or {}
    limit, needed = fields.get("n_ctx"), fields.get("n_prompt_tokens")
    if plausible_count(limit) is not None and plausible_count(needed) is not None:
        return limit, needed
    # int() refuses thousands of digits
    words = re.sub(r"\d{13,}", "", re.sub(r"(?<=\d),(?=\d)", "", said.words))
    for pattern in _LIMITS:
        if found := pattern.search(words):
            groups = found.groupdict()
            return int(groups["limit"]), int(groups["needed"]) if groups.get("needed") else None
    return None, None
