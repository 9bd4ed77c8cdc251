"""Turns a provider's error response, in any shape, into one of our errors. Without I/O.

The status alone is not enough: an invalid key is 400 at Gemini and xAI, an unknown model 400 at
five others, and errors arrive inside streams of status 200. So the text of the body is checked
first, then the status.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from core.config.keys import without_credentials
from core.errors import (AuthFailed, BadRequest, BadResponse, ContextTooLong, ModelNotFound,
                         Overloaded, ProviderError,
                         QuotaExhausted, RateLimited, Unsupported)
from core.providers import Endpoint
from core.providers.error_body import Said, header_delay, read_error, read_plain, token_counts
from core.providers.hosts import find_host
from core.providers.parameters import is_parameter, last_name
from core.regex import regex

LONG_WAIT = 60.0        # seconds; a longer delay is reported to the user
VERY_LONG = 30 * 86400.0
LONGEST_MESSAGE = 400   # characters of a provider's own message that are shown

_TOO_LONG = regex(
    r"context_length_exceeded|exceed_context_size|too_many_tokens|request_too_large"
    r"|prompt (is )?too long|too many tokens|maximum context length|max context length"
    r"|exceeds? (the )?(available |maximum )?context|context (window|size|length) exceed"
    r"|exceeds the context|input token count.{0,40}exceeds|exceeds the maximum number of tokens"
    r"|string_above_max_length|too large for model|request too large|reduce the length of (the"
    r"|your) messages|prompt contains \d+ tokens|input is too long|larger than the context"
    r"|context (length|window|size)( of \S+)?( is|:)? (only|limited|just|at most)"
    r"|(longer|larger|more) than (the |this |its |your )?(model'?s? |maximum |max )*(context"
    r"|model length|input length|sequence)|max(imum)? (prompt|input|sequence|model|context) (length"
    r"|size|tokens)|range of input length|(prompt|inputs?|conversation|messages?"
    r"|sequence)[`'\"]?( \w+){0,3}? (is|are|was|were)? ?too (long|large|big|many)"
    r"|(prompt|inputs?|conversation|messages|sequence|history)\b.{0,60}\b(do|does|will"
    r"|can)( ?n[o']t|not) fit|(exceed\w*|over|beyond|above|surpass\w*|more than)\b.{0,40}\b(context"
    r"|token limit|max(imum)?( \w+)? (length|tokens|sequence))|(context|token limit|input tokens?"
    r"|prompt tokens?)\b.{0,60}\b(exceed|overflow|surpass|too (long|large|small|many))"
    r"|inputs?[`'\"]? tokens \+ [`'\"]?max_new_tokens|must have (less|fewer) than \d+ tokens")
# Limits on the answer or per minute, which use some of the same words.
_OTHER_LIMIT = regex(r"tokens per (minute|day)|completion tokens|output tokens"
                     r"|^[`'\" ]*max_(completion_|output_)?tokens")
_BAD_KEY = regex(
    r"api_key_invalid|invalid_api_key|no_db_connection|authentication_error|unauthenticated"
    r"|(incorrect|invalid|missing|no|expired) (x-)?api[ -]?key|api[ _]key (is )?(not valid|invalid"
    r"|expired|required|missing|not found)|authentication fails|unauthorized"
    r"|invalid (api )?token(?! (in|at|near|id))|no auth credentials|didn't provide an api key"
    r"|user not found")
_BAD_MODEL = regex(
    r"model_not_found|model_not_supported|deploymentnotfound|\binvalid_model\b|unknown_model"
    r"|invalid model|unknown model|no such model|not a valid model|model not exist"
    r"|not found for api version|no endpoints found (for|matching)|^\s*model: \S+\s"
    r"|models?\b[^.]{0,150}?\b(not found|does not exist|doesn't exist|not exist"
    r"|is not supported by any|not supported by provider)|deployment\b.{0,60}does not exist")
_MODEL_NOT_ALLOWED = regex(      # the key is valid, but not for this model
    r"(access|permission|allow\w*|entitle\w*|authori[sz]ed|subscribe\w*|enabled|tier|plan|team"
    r"|project)\b.{0,80}\bmodels?\b|\bmodels?\b.{0,80}\b(access|permission|allow\w*|entitle\w*"
    r"|authori[sz]ed|restricted|gated|enabled|not available)")
_NO_CREDIT = regex(
    r"insufficient_quota|insufficient[ _]balance|credit balance|insufficient[ _](credits|funds)"
    r"|billing_hard_limit|out of credits|requires more credits|exceeded your (monthly"
    r"|current) (included credits|quota)|billing_not_active|perday|payment required")
_RATE = regex(r"rate[ _-]?limit|ratelimit|too many requests|resource_exhausted|too_many_requests"
              r"|throttl|capacity exceeded")
_BUSY = regex(r"overloaded|server (is )?busy|loading model|model is (currently )?loading"
              r"|unavailable|over capacity|try again later")
_FILTERED = regex(r"content_filter|content management policy|content_policy"
                  r"|responsibleaipolicyviolation|data_inspection_failed|safety (system|reasons)"
                  r"|requires moderation|flagged")
_WRONG_CALL = regex(r"tool_use_failed|invalid_tool_generation|failed to call a function")
_REFUSED_PARAMETER = regex(r"unsupported_(parameter|value)|unsupported (parameter|value)"
                           r"|not supported with this model|unrecognized request argument"
                           r"|unknown (parameter|name|field)|extra inputs are not permitted")
_FEATURES = (
    ("signature",
     regex(r"(invalid|missing|corrupt\w*|mismatch\w*|expired|unknown)\b[^.]{0,40}\bsignature"
           r"|signature\b[^.]{0,60}\b(invalid|not valid|does not match|mismatch|cannot be"
           r"|could not be|missing)|thought_?signature|encrypted_content|encrypted content"
           r"|required following item|thinking\W{0,3} blocks?\b[^.]{0,90}\bcannot be modified")),
    ("tools",
     regex(r"(not|n't) support[a-z]* (tool|function)|tools? param requires|cannot use tools"
           r"|support tool use|(tool|function)[ -]?(use|call\w*|choice)? (is|are) not (supported"
           r"|enabled|available)|enable-auto-tool-choice|tool calling is not")),
    ("vision",
     regex(r"image input is not supported|support image|(not|n't) support (vision|images?"
           r"|multimodal)|mmproj|images? (are|is) not supported|not a multimodal model"
           r"|image_url is not supported|vision is not|image input modality is not")),
    ("thinking",
     regex(r"(not|n't) support (thinking|reasoning)|thinking (is )?not supported"
           r"|reasoning is not supported|thinking budget is not")),
)
_STATUS_OF_TYPE = {
    "overloaded_error": 529, "rate_limit_error": 429, "api_error": 500, "server_error": 500,
    "authentication_error": 401,
    "permission_error": 403, "not_found_error": 404, "invalid_request_error": 400,
    "rate_limit_exceeded": 429,
}


def classify(endpoint: Endpoint, status: int, headers: Mapping[str, str],
             body: bytes) -> ProviderError:
    """Return the error for a response with a status of 400 or more."""
    text = body.decode("utf-8", "replace").removeprefix("\ufeff").strip()
    try:
        said = read_error(json.loads(text))
    except (ValueError, RecursionError):
        said = read_plain(text)
    delay = header_delay(headers) if status in (408, 409, 425, 429) or status >= 500 else None
    return _error(endpoint, status, said, delay)


def classify_payload(endpoint: Endpoint, payload: Any, status: int = 200) -> ProviderError:
    """Return the error for a JSON object inside a 200 stream or response."""
    said = read_error(payload)
    if status < 400:
        status = (said.status or _STATUS_OF_TYPE.get(said.kind) or _STATUS_OF_TYPE.get(said.code)
                  or 500)
    return _error(endpoint, status, said, None)


def _error(endpoint: Endpoint, status: int, said: Said,
           header_delay: float | None) -> ProviderError:
    error = _kind(endpoint, status, said, header_delay)
    if error.retry_after and error.retry_after >= LONG_WAIT and not error.hint:
        error.hint = (f"It allows no requests for {_duration(error.retry_after)}; another model "
                      "may respond meanwhile.")
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
                          "--list-models shows the models it may use; choose one with /model or "
                          "--model.", status=status)
    if _BAD_KEY.search(words) and status != 429 or status == 401:
        did = "did not accept the key" if endpoint.key else "asks for a key"
        return AuthFailed(f"{who} {did}{detail}", _key_hint(endpoint), status=status)
    if feature:
        return Unsupported(f"{who} does not support {feature} here{detail}", feature=feature,
                           status=status)
    if _NO_CREDIT.search(words) and not (status == 429 and said.delay is not None
                                         and "perday" not in words) or status == 402:
        return QuotaExhausted(f"{who} reports that the quota or credit is used up{detail}",
                              "Check the plan and the billing at the provider, or use another "
                              "model.", status=status)
    if status == 429 or _RATE.search(words) and status < 500:
        delay = said.delay if header_delay is None else header_delay
        return RateLimited(f"{who} limits the rate of requests{detail}", retry_after=delay,
                           status=status)
    return _other(endpoint, status, said, header_delay)


def _other(endpoint: Endpoint, status: int, said: Said,
           header_delay: float | None) -> ProviderError:
    who = endpoint.host or endpoint.base_url
    detail = _shown(said.message, endpoint)
    delay = said.delay if header_delay is None else header_delay
    if _FILTERED.search(said.words):
        return BadRequest(f"{who} refused the request by its content filter{detail}",
                          "Rephrase it, or use another model.", status=status)
    if _WRONG_CALL.search(said.words):
        return BadResponse(f"{who} reports that the model called a tool incorrectly{detail}",
                           "Retrying often helps.", status=status)
    if _BAD_MODEL.search(said.words) and status < 500 or status == 404 and said.code + said.kind:
        return ModelNotFound(f"{who} does not have this model{detail}",
                             "--list-models shows the available models.", status=status)
    if status in (503, 529) or _BUSY.search(said.words) and status >= 500:
        return Overloaded(f"{who} is overloaded or not ready{detail}", retry_after=delay,
                          status=status)
    if status in (404, 405):
        return BadRequest(f"{endpoint.base_url} responded with {status}: no such address{detail}",
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
    """Return whether this text (in lower case) says that the conversation is too long for the
    model.
    """
    found = _TOO_LONG.search(words)
    return found is not None and not (_OTHER_LIMIT.search(words) and "context" not in words
                                      and "prompt" not in words)


def named_parameter(said: Said) -> str:
    """Return the parameter that an error names in any wording, or "". Leaving it out may be enough.
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
    if _NO_STREAMING.search(said.words):
        return "stream"
    words = map(last_name, re.findall(r"[a-z][a-z0-9_.]*[a-z0-9]", said.words))
    named = [name for name in words if is_parameter(name)]
    plain = [name for name in named if name not in _COMMON]
    common = _AS_A_NAME.search(said.words)
    return (str(plain[0]) if plain else str(next(filter(None, common.groups()))) if common
            else next((name for name in named if name in _RARE), ""))


_NO_STREAMING = regex(
    r"verified to stream|\bstream(?:ing|ed)?\b (?:mode |responses? )?(?:is |are )?"
    r"(?:not (?:supported|available|allowed|enabled)|unsupported|disabled)"
    r"|\b(?:not support|cannot|can't) (?:be )?stream|without streaming"
    r"|non-streaming requests? only")

# Everyday words are parameter names only in such positions.
_COMMON = ("stop", "think", "format", "seed", "include", "store", "json", "stream", "thinking",
           "reasoning", "p", "tools")
# Less common ones are also tried without, if the request has them.
_RARE = ("stop", "think", "seed", "thinking", "reasoning")
_AS_A_NAME = regex(
    r"\b({0})\b (?:parameter|field|argument|option)|(?:parameter|field|argument|option):? ({0})\b"
    r"|^\W*({0})\b(?:: |:? (?:must|is|should|may|can))".format("|".join(_COMMON)))


def _too_long(who: str, detail: str, said: Said, status: int) -> ContextTooLong:
    limit, needed = token_counts(said)
    return ContextTooLong(f"The conversation is too long for the model{detail}" if detail else
                          f"{who} reports that the conversation is too long for the model.",
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
    """Return a provider's message for the end of our sentence: on one line, shortened, without
    keys.
    """
    text = without_credentials(" ".join(message.split()), endpoint.key)
    if len(text) > LONGEST_MESSAGE:
        text = text[:LONGEST_MESSAGE - 1] + "…"
    return f": {text}" if text else "."
