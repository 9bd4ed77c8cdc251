"""Turns a provider's error answer, in any of the shapes that providers use, into one of our errors.

Pure. The status alone does not tell: a bad key is 400 at Gemini and xAI, an unknown model
400 at five others, and errors come inside streams of status 200. So the words of the body
decide first, then the status.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from core.dataclass import dataclass
from core.errors import (AuthFailed, BadRequest, BadResponse, ContextTooLong, ModelNotFound,
                         Overloaded, ProviderError,
                         QuotaExhausted, RateLimited, Unsupported)
from core.providers import Endpoint
from core.providers.decoder import plausible_count, readable
from core.providers.hosts import find_host
from core.providers.parameters import is_parameter, last_name
from core.regex import regex
from core.retry.headers import retry_after

LONG_WAIT = 60.0        # seconds; a provider that asks for more is quoted to the user
VERY_LONG = 30 * 86400.0
LONGEST_MESSAGE = 400   # characters of a provider's own words that are shown

_TOO_LONG = regex(
    r"context_length_exceeded|exceed_context_size|too_many_tokens|request_too_large|prompt (is "
    r")?too long"
    r"|too many tokens|maximum context length|max context length|exceeds? (the )?(available "
    r"|maximum )?context"
    r"|context (window|size|length) exceed"
    r"|exceeds the context|input token count.{0,40}exceeds|exceeds the maximum number of "
    r"tokens|string_above_max_length"
    r"|too large for model|request too large|reduce the length of (the|your) messages|prompt "
    r"contains \d+ tokens"
    r"|input is too long|larger than the context"
    r"|context (length|window|size)( of \S+)?( is|:)? (only|limited|just|at most)"
    r"|(longer|larger|more) than (the |this |its |your )?(model'?s? |maximum |max )*(context|model "
    r"length|input length|sequence)"
    r"|max(imum)? (prompt|input|sequence|model|context) (length|size|tokens)|range of input length"
    r"|(prompt|inputs?|conversation|messages?|sequence)[`'\"]?( \w+){0,3}? (is|are|was|were)? ?too "
    r"(long|large|big|many)"
    r"|(prompt|inputs?|conversation|messages|sequence|history)\b.{0,60}\b(do|does|will|can)( "
    r"?n[o']t|not) fit"
    r"|(exceed\w*|over|beyond|above|surpass\w*|more than)\b.{0,40}\b(context|token limit"
    r"|max(imum)?( \w+)? (length|tokens|sequence))"
    r"|(context|token limit|input tokens?|prompt tokens?)\b.{0,60}\b(exceed|overflow|surpass|too "
    r"(long|large|small|many))"
    r"|inputs?[`'\"]? tokens \+ [`'\"]?max_new_tokens|must have (less|fewer) than \d+ tokens")
# A limit of the answer or of a minute, said with some of the same words.
_OTHER_LIMIT = regex(r"tokens per (minute|day)|completion tokens|output tokens|^[`'\" "
                     r"]*max_(completion_|output_)?tokens")
_BAD_KEY = regex(
    r"api_key_invalid|invalid_api_key|no_db_connection|authentication_error"
    r"|unauthenticated|(incorrect|invalid|missing|no|expired) (x-)?api[ -]?key"
    r"|api[ _]key (is )?(not valid|invalid|expired|required|missing|not found)|authentication "
    r"fails|unauthorized"
    r"|invalid (api )?token(?! (in|at|near|id))|no auth credentials|didn't provide an api key|user "
    r"not found")
_BAD_MODEL = regex(
    r"model_not_found|model_not_supported|deploymentnotfound|\binvalid_model\b|unknown_model|invalid model|unknown model"
    r"|no such model|not a valid model|model not exist|not found for api version|no endpoints "
    r"found (for|matching)|^\s*model: \S+\s"
    r"|models?\b[^.]{0,150}?\b(not found|does not exist|doesn't exist|not exist|is not supported "
    r"by any|not supported by provider)"
    r"|deployment\b.{0,60}does not exist")
_MODEL_NOT_ALLOWED = regex(      # the key is good, and not for this model
    r"(access|permission|allow\w*|entitle\w*|authori[sz]ed|subscribe\w*|enabled|tier|plan|team|project)\b.{0,80}\bmodels?\b"
    r"|\bmodels?\b.{0,80}\b(access|permission|allow\w*|entitle\w*|authori[sz]ed|restricted|gated|enabled|not available)")
_NO_CREDIT = regex(
    r"insufficient_quota|insufficient[ _]balance|credit balance|insufficient[ "
    r"_](credits|funds)|billing_hard_limit|out of credits"
    r"|requires more credits|exceeded your (monthly|current) (included "
    r"credits|quota)|billing_not_active|perday|payment required")
_RATE = regex(r"rate[ _-]?limit|ratelimit|too many "
              r"requests|resource_exhausted|too_many_requests|throttl|capacity exceeded")
_BUSY = regex(r"overloaded|server (is )?busy|loading model|model is (currently "
              r")?loading|unavailable|over capacity"
              r"|try again later")
_FILTERED = regex(r"content_filter|content management "
                  r"policy|content_policy|responsibleaipolicyviolation"
                  r"|data_inspection_failed|safety (system|reasons)|requires moderation|flagged")
_WRONG_CALL = regex(r"tool_use_failed|invalid_tool_generation|failed to call a function")
_REFUSED_PARAMETER = regex(r"unsupported_(parameter|value)|unsupported (parameter|value)|not "
                           r"supported with this model"
                           r"|unrecognized request argument|unknown (parameter|name|field)|extra "
                           r"inputs are not permitted")
_FEATURES = (
    ("signature",
     regex(r"(invalid|missing|corrupt\w*|mismatch\w*|expired|unknown)\b[^.]{0,40}\bsignature"
           r"|signature\b[^.]{0,60}\b(invalid|not valid|does not match|mismatch|cannot be|could "
           r"not be|missing)"
           r"|thought_?signature|encrypted_content|encrypted content|required following item"
           r"|thinking\W{0,3} blocks?\b[^.]{0,90}\bcannot be modified")),
    ("tools",
     regex(r"(not|n't) support[a-z]* (tool|function)|tools? param requires|cannot use "
           r"tools|support tool use"
           r"|(tool|function)[ -]?(use|call\w*|choice)? (is|are) not (supported|enabled|available)"
           r"|enable-auto-tool-choice|tool calling is not")),
    ("vision",
     regex(r"image input is not supported|support image|(not|n't) support "
           r"(vision|images?|multimodal)|mmproj"
           r"|images? (are|is) not supported|not a multimodal model|image_url is not "
           r"supported|vision is not"
           r"|image input modality is not")),
    ("thinking",
     regex(r"(not|n't) support (thinking|reasoning)|thinking (is )?not supported|reasoning is not "
           r"supported"
           r"|thinking budget is not")),
)
_DELAY = regex(
    r"(?i)(?:try again|retry|retry after|wait)(?: in| after)?\s+(?=\d)"
    r"(?:(\d+(?:\.\d+)?)\s*h(?:ours?)?\s*)?(?:(\d+(?:\.\d+)?)\s*m(?!s)(?:in(?:ute)?s?)?\s*)?"
    r"(?:(\d+(?:\.\d+)?)\s*s(?:ec(?:ond)?s?)?\s*)?(?:(\d+(?:\.\d+)?)\s*(?:ms|milliseconds)\b)?")
_KEYLIKE = regex(
    r"\b(?:sk|gsk|hf|xai|key|AIza|pk|rk)[-_][A-Za-z0-9_\-]{16,}|\bAIza[A-Za-z0-9_\-]{20,}")
_STATUS_OF_TYPE = {
    "overloaded_error": 529, "rate_limit_error": 429, "api_error": 500, "server_error": 500,
    "authentication_error": 401,
    "permission_error": 403, "not_found_error": 404, "invalid_request_error": 400,
    "rate_limit_exceeded": 429,
}


@dataclass(frozen=True, slots=True)
class Said:
    """What an error answer says, whatever its shape.

    `words` is all of it in small letters, for searching.
    """

    message: str
    code: str = ""
    kind: str = ""
    param: str = ""
    delay: float | None = None
    status: int | None = None
    words: str = ""
    numbers: Mapping[str, Any] | None = None


def classify(endpoint: Endpoint, status: int, headers: Mapping[str, str],
             body: bytes) -> ProviderError:
    """The error that an answer with a status of 400 or more stands for."""
    text = body.decode("utf-8", "replace").removeprefix("\ufeff").strip()
    try:
        said = read_error(json.loads(text))
    except (ValueError, RecursionError):
        said = _read_plain(text)
    delay = _header_delay(headers) if status in (408, 409, 425, 429) or status >= 500 else None
    return _error(endpoint, status, said, delay)


def classify_payload(endpoint: Endpoint, payload: Any, status: int = 200) -> ProviderError:
    """The error that a JSON object inside a 200 stream (or a 200 answer) stands for."""
    said = read_error(payload)
    if status < 400:
        status = (said.status or _STATUS_OF_TYPE.get(said.kind) or _STATUS_OF_TYPE.get(said.code)
                  or 500)
    return _error(endpoint, status, said, None)


def _error(endpoint: Endpoint, status: int, said: Said,
           header_delay: float | None) -> ProviderError:
    error = _kind(endpoint, status, said, header_delay)
    if error.retry_after and error.retry_after >= LONG_WAIT and not error.hint:
        error.hint = (f"It asks to be left alone for {_duration(error.retry_after)}; another model "
                      "may answer meanwhile.")
    return error


def _duration(seconds: float) -> str:
    if seconds >= VERY_LONG:
        return "a very long time"
    minutes = -(-int(seconds) // 60)
    hours, rest = divmod(minutes, 60)
    return f"{minutes} min" if not hours else f"{hours} h" + (f" {rest} min" if rest else "")


def _kind(endpoint: Endpoint, status: int, said: Said, header_delay: float | None) -> ProviderError:
    who = endpoint.host or endpoint.base_url
    detail = _shown(said.message, endpoint)
    words = said.words
    feature = _unsupported_feature(status, said)
    if status != 429 and overflows(words) or status == 413 or "request too large" in words:
        return _too_long(who, detail, said, status)
    if status in (401, 403) and _MODEL_NOT_ALLOWED.search(words) and not _BAD_MODEL.search(words):
        return AuthFailed(f"{who} does not let this key use the model{detail}",
                          "--list-models shows the models it may use; /model or --model names "
                          "another.", status=status)
    if _BAD_KEY.search(words) and status != 429 or status == 401:
        return AuthFailed(f"{who} did not accept the key{detail}", _key_hint(endpoint),
                          status=status)
    if feature:
        return Unsupported(f"{who} does not support {feature} here{detail}", feature=feature,
                           status=status)
    if _NO_CREDIT.search(words) and not (status == 429 and said.delay is not None
                                         and "perday" not in words) or status == 402:
        return QuotaExhausted(f"{who} says that the quota or the credit is used up{detail}",
                              "Check the plan and the billing at the provider, or use another "
                              "model.", status=status)
    if status == 429 or _RATE.search(words) and status < 500:
        delay = said.delay if header_delay is None else header_delay
        return RateLimited(f"{who} limits how often it is asked{detail}", retry_after=delay,
                           status=status)
    return _other(endpoint, status, said, header_delay)


def _other(endpoint: Endpoint, status: int, said: Said,
           header_delay: float | None) -> ProviderError:
    who = endpoint.host or endpoint.base_url
    detail = _shown(said.message, endpoint)
    delay = said.delay if header_delay is None else header_delay
    if _FILTERED.search(said.words):
        return BadRequest(f"{who} refused the request by its content filter{detail}",
                          "Put it in other words.", status=status)
    if _WRONG_CALL.search(said.words):
        return BadResponse(f"{who} says that the model called a tool wrongly{detail}",
                           "Asking again often helps.", status=status)
    if _BAD_MODEL.search(said.words) and status < 500 or status == 404 and said.code + said.kind:
        return ModelNotFound(f"{who} has no such model{detail}",
                             "--list-models shows what there is.", status=status)
    if status in (503, 529) or _BUSY.search(said.words) and status >= 500:
        return Overloaded(f"{who} is overloaded or not ready{detail}", retry_after=delay,
                          status=status)
    if status in (404, 405):
        return BadRequest(f"{endpoint.base_url} answered {status}: it has no such address{detail}",
                          "Check --base-url and --provider.", status=status)
    if status == 403:
        return AuthFailed(f"{who} does not allow this{detail}", _key_hint(endpoint), status=status)
    if status >= 500 or status in (408, 409, 425):
        failed = ProviderError(f"{who} failed ({status}){detail}", retry_after=delay, status=status)
        failed.retryable = True
        return failed
    return BadRequest(f"{who} refused the request ({status}){detail}", status=status,
                      feature=named_parameter(said))


def overflows(words: str) -> bool:
    """Whether these words (in small letters) say that the conversation is too long for the model.
    """
    found = _TOO_LONG.search(words)
    return found is not None and not (_OTHER_LIMIT.search(words) and "context" not in words
                                      and "prompt" not in words)


def named_parameter(said: Said) -> str:
    """The parameter that an error names, in whatever words:
    leaving it out may be all that is needed. "" when none is.
    """
    if said.param:
        return said.param
    quoted = [name for name in re.findall(r"['\"`\[]([a-z][a-z0-9_.]*)['\"`\]]", said.words)
              if is_parameter(name)]
    if quoted:
        return str(quoted[0])
    if ("developer instruction" in said.words or "system instruction" in said.words
        or "system role" in said.words):
        return "system"
    words = map(last_name, re.findall(r"[a-z][a-z0-9_.]*[a-z0-9]", said.words))
    plain = [name for name in words if is_parameter(name) and name not in _COMMON]
    common = _AS_A_NAME.search(said.words)
    return str(plain[0]) if plain else str(next(filter(None, common.groups()))) if common else ""


# Words of every day are names only where they stand like one.
_COMMON = ("stop", "think", "format", "seed", "include", "store", "json", "stream", "thinking",
           "reasoning", "p", "tools")
_AS_A_NAME = regex(
    r"\b({0})\b (?:parameter|field|argument|option)|(?:parameter|field|argument|option):? ({0})\b"
    r"|^\W*({0})\b:? (?:must|is|should|may|can)".format("|".join(_COMMON)))


def _too_long(who: str, detail: str, said: Said, status: int) -> ContextTooLong:
    limit, needed = _token_counts(said)
    return ContextTooLong(f"The conversation is too long for the model{detail}" if detail else
                          f"The conversation is too long for the model, says {who}.",
                          "Start a new session, send less, or use a model with a larger context "
                          "window.",
                          limit=limit, needed=needed, status=status)


def _key_hint(endpoint: Endpoint) -> str:
    host = find_host(endpoint.host)
    names = " or ".join(host.key_variables) if host else ""
    return f"Set {names} to a valid key." if names else "Set a valid key for this provider."


def _unsupported_feature(status: int, said: Said) -> str:
    if status in (401, 403, 429):
        return ""
    for feature, pattern in _FEATURES:
        if pattern.search(said.words):
            return feature
    if status < 500 and _REFUSED_PARAMETER.search(said.words):
        return said.param or _quoted(said.message)
    return ""


def _quoted(message: str) -> str:
    found = (re.search(r"['\"`]([A-Za-z0-9_.\[\]]+)['\"`]", message)
             or re.search(r"argument supplied: (\w+)", message))
    return found.group(1) if found else ""


def _shown(message: str, endpoint: Endpoint) -> str:
    """A provider's words as the end of our sentence: one line, not long, without a key."""
    text = " ".join(message.split())
    if endpoint.key and len(endpoint.key) > 3:
        text = text.replace(endpoint.key, "***")
    text = _KEYLIKE.sub("***", text)
    if len(text) > LONGEST_MESSAGE:
        text = text[:LONGEST_MESSAGE - 1] + "…"
    return f": {text}" if text else "."


# ---- reading

def read_error(payload: Any) -> Said:
    """Find message, code, type and parameter in any of the known shapes."""
    payload = _unwrapped(payload)
    if isinstance(payload, list):
        payload = _unwrapped(next((entry for entry in payload if isinstance(entry, dict)), {}))
    if not isinstance(payload, dict):
        return _read_plain(str(payload) if payload else "")
    inner = _unwrapped(payload.get("error"))
    if isinstance(inner, dict) and isinstance(_unwrapped(inner.get("error")), dict):
        inner = _unwrapped(inner["error"])
    fields = {**payload, **inner} if isinstance(inner, dict) else payload
    message = _message(fields, inner)
    detail = " ".join(_strings(fields, 0))
    return Said(message, code=_text(fields.get("code")),
                kind=_text(fields.get("type") or fields.get("error_type")),
                param=_text(fields.get("param")) or _located(fields.get("detail")),
                delay=_body_delay(fields, f"{message} {detail}"), status=_body_status(fields),
                words=f"{message} {detail}".lower(), numbers=fields)


def _located(detail: Any) -> str:
    """The field that a validation error names, as in {"detail": [{"loc":
    ["body", "top_p"], ...}]} (vLLM, Mistral).
    """
    first = detail[0] if isinstance(detail, list) and detail else None
    places = first.get("loc") if isinstance(first, dict) else None
    return str(places[-1]) if isinstance(places, list) and places else ""


def _unwrapped(value: Any) -> Any:
    """A string that holds JSON (Ollama, LM Studio) becomes what it holds."""
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


def _with_upstream(message: str, metadata: Any) -> str:
    """OpenRouter: what the provider behind it said."""
    if not isinstance(metadata, dict):
        return message
    raw = _unwrapped(metadata.get("raw"))
    upstream = raw if isinstance(raw, str) else read_error(raw).message if raw else ""
    if not upstream:
        return message
    return f"{message}: {metadata.get('provider_name') or 'upstream'}: {upstream}"


def _read_plain(text: str) -> Said:
    """Plain text or a page of HTML: its title, or its first words."""
    if text.lstrip()[:1] == "<":
        from html import unescape
        text = unescape(readable(text))
    return Said(text, words=text.lower(), delay=spoken_delay(text))


def _strings(value: Any, depth: int) -> Iterator[str]:
    """Every string in a JSON value, for searching."""
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

def _header_delay(headers: Mapping[str, str]) -> float | None:
    """Azure was seen to send retry-after-ms: 0 beside retry-after: 1;
    then the longer one counts.
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
    """Seconds in "Please try again in 1m47.5s", "in 399ms", "Please retry in 48.9s"."""
    for found in _DELAY.finditer(text):
        hours, minutes, seconds, milliseconds = (float(part) if part else None
                                                 for part in found.groups())
        if (hours, minutes, seconds, milliseconds) != (None, None, None, None):
            return ((hours or 0) * 3600 + (minutes or 0) * 60 + (seconds or 0)
                    + (milliseconds or 0) / 1000)
    return None


_LIMITS = tuple(regex(each) for each in (
    r"(?P<needed>\d+) tokens > (?P<limit>\d+) maximum",
    r"maximum context length (?:is|of) (?P<limit>\d+) tokens.*?"
    r"(?:requested|resulted in|contains?|has)\D{0,40}?(?P<needed>\d+)",
    r"token count \(?(?P<needed>\d+)\)? exceeds.*?\(?(?P<limit>\d+)\)?",
    r"limit (?P<limit>\d+), requested (?P<needed>\d+)",
    r"prompt contains (?P<needed>\d+) tokens.*?(?P<limit>\d{3,})",
    r"request \((?P<needed>\d+) tokens\) exceeds .*?\((?P<limit>\d+) tokens\)",
    r"(?:maximum context length (?:is|of)|limit for this model is) (?P<limit>\d+)",
))


def _token_counts(said: Said) -> tuple[int | None, int | None]:
    """(limit, needed) in tokens, as fields (llama.cpp) or in words."""
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
