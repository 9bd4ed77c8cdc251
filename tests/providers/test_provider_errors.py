"""Error responses of every form that providers use: which error they become, and what is shown."""

from __future__ import annotations

import json
import os
import random
import string
from typing import Any

import pytest

from core.errors import (AuthFailed, BadRequest, BadResponse, ContextTooLong, ModelNotFound,
                         Overloaded, ProviderError,
                         QuotaExhausted, RateLimited, Unsupported)
from core.providers import Endpoint
from core.providers.errors_http import classify, classify_payload
from core.providers.ollama_errors import error_from
from core.retry.policy import Candidate, Failure, Next, State, moved, next_step

ENDPOINT = Endpoint("https://api.example.org/v1", "secret-key-123", "openai")


def classified(status: int, body: Any, **headers: str) -> ProviderError:
    text = body if isinstance(body, str) else json.dumps(body, indent=2)
    return classify(ENDPOINT, status,
                    {name.replace("_", "-"): value for name, value in headers.items()},
                    text.encode())


def told(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


GEMINI_KEY = {"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT",
                        "details":
                        [{"@type": "type.googleapis.com/google.rpc.ErrorInfo",
                          "reason": "API_KEY_INVALID"}]}}
NESTED = {"error":
          json.dumps(
              {"error": {"code": 400, "message": "too big", "type": "exceed_context_size_error",
                         "n_prompt_tokens": 9000, "n_ctx": 4096}})}

KINDS: list[tuple[int, Any, type[ProviderError]]] = [
    # a key
    (401, told("Incorrect API key provided", type="invalid_request_error", code="invalid_api_key"),
     AuthFailed),
    (401, {"detail": "Invalid API Key"}, AuthFailed),
    (401, {"id": "1", "message": "invalid api token"}, AuthFailed),
    (401, "", AuthFailed),
    (400, GEMINI_KEY, AuthFailed),
    # LiteLLM 1.106 without a database
    (400, told("No connected db.", type="no_db_connection", code="400"), AuthFailed),
    (400, {"code": "invalid-argument", "error": "Incorrect API key provided."}, AuthFailed),
    (403, told("Your region is not allowed"), AuthFailed),
    # a model
    (404, told("The model `x` does not exist or you do not have access to it.",
               code="model_not_found"), ModelNotFound),
    (404, {"type": "error", "error": {"type": "not_found_error", "message": "model: x"}},
     ModelNotFound),
    (404, {"error": "model 'x' not found"}, ModelNotFound),
    (404, told("The API deployment for this resource does not exist.", code="DeploymentNotFound"),
     ModelNotFound),
    (404, told("No endpoints found for some/model.", code=404), ModelNotFound),
    (400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model",
           "code": "1500"}, ModelNotFound),
    (400, told("Model Not Exist"), ModelNotFound),
    (400, told("x/y is not a valid model ID", code=400), ModelNotFound),
    (404, "404 page not found", BadRequest),
    # the prompt
    (400, told("…", code="context_length_exceeded"), ContextTooLong),
    (400, told("prompt is too long: 210000 tokens > 200000 maximum", type="invalid_request_error"),
     ContextTooLong),
    (400, {"message": "too many tokens: size limit exceeded by 5 tokens.",
           "error_type": "TOO_MANY_TOKENS"}, ContextTooLong),
    (400, told("prompt too long; exceeded max context length by 12 tokens"), ContextTooLong),
    (400, NESTED, ContextTooLong),
    (413,
     told("Request too large for model x on tokens per minute (TPM): Limit 6000, Requested 9000"),
     ContextTooLong),
    # limits
    (429, told("Rate limit reached", code="rate_limit_exceeded"), RateLimited),
    (429,
     {"error": {"code": "RateLimitReached", "message": "Your requests have exceeded rate limit."}},
     RateLimited),
    (429, told("You exceeded your current quota", code="insufficient_quota"), QuotaExhausted),
    (402, told("Insufficient Balance"), QuotaExhausted),
    (400, told("Your credit balance is too low to access the API."), QuotaExhausted),
    # not now
    (503, told("The server is overloaded"), Overloaded),
    (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
     Overloaded),
    (503, told("Loading model", code=503, type="unavailable_error"), Overloaded),
    (503, {"error": "server busy, please try again.  maximum pending requests exceeded"},
     Overloaded),
    (502, "<html><head><title>502 Bad Gateway</title></head></html>", ProviderError),
    (500, "", ProviderError),
    # the request
    (400, told("temperature: range: 0..1"), BadRequest),
    (400, told("It was filtered", code="content_filter",
               innererror={"code": "ResponsibleAIPolicyViolation"}), BadRequest),
    (400, told("Failed to call a function.", code="tool_use_failed", failed_generation="<fn>"),
     BadResponse),
]


@pytest.mark.parametrize(("status", "body", "kind"), KINDS, ids=range(len(KINDS)))
def test_kinds(status: int, body: Any, kind: type[ProviderError]) -> None:
    error = classified(status, body)
    assert type(error) is kind and error.status == status
    assert len(error.message.splitlines()) == 1 and len(error.hint.splitlines()) <= 1


@pytest.mark.parametrize(("status", "body", "feature"), [
    (400, told("Unsupported parameter: 'stop' is not supported with this model.", param="stop",
               code="unsupported_parameter"), "stop"),
    (400, told("Unsupported parameter: 'max_tokens' is not supported with this model.",
               param="max_tokens",
               code="unsupported_parameter"), "max_tokens"),
    (400, told("Unsupported value: 'temperature' does not support 0.2 with this model.",
               code="unsupported_value"), "temperature"),
    (422,
     {"detail":
      [{"type": "extra_forbidden", "loc": ["body", "seed"],
        "msg": "Extra inputs are not permitted"}]}, "seed"),
    (400, {"error": "registry.example/library/x does not support tools"}, "tools"),
    (500, told("tools param requires --jinja flag", code=500), "tools"),
    (500, told("Cannot use tools with stream", code=500), "tools"),
    (404, told("No endpoints found that support tool use.", code=404), "tools"),
    (404, told("No endpoints found that support image input", code=404), "vision"),
    (500, told("image input is not supported - hint: you may need to provide the mmproj", code=500),
     "vision"),
    (400, {"error": '"x" does not support thinking'}, "thinking"),
])
def test_what_is_not_supported(status: int, body: Any, feature: str) -> None:
    error = classified(status, body)
    assert isinstance(error, Unsupported) and error.feature == feature


@pytest.mark.parametrize(("body", "limit", "needed"), [
    (NESTED, 4096, 9000),
    (told("prompt is too long: 210000 tokens > 200000 maximum"), 200000, 210000),
    (told("This model's maximum context length is 1,048,565 tokens. However, you requested 1250025 "
          "tokens (1250025 in the messages, 0 in the completion)."), 1048565, 1250025),
    (told("maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens."),
     8192, 9001),
    (told("The input token count (1200000) exceeds the maximum number of tokens allowed "
          "(1048576)."), 1048576, 1200000),
    ({"message": "too many tokens: size limit exceeded by 5 tokens. The limit for this model is "
      "288000 tokens."}, 288000, None),
    (told("context_length_exceeded"), None, None),
])
def test_sizes_of_a_prompt_that_is_too_long(body: Any, limit: int | None,
                                            needed: int | None) -> None:
    error = classified(400, body)
    assert isinstance(error, ContextTooLong) and (error.limit, error.needed) == (limit, needed)


@pytest.mark.parametrize(("status", "body", "headers", "delay"), [
    (429, told("slow down"), {}, None),
    (429, told("slow down"), {"retry_after": "12"}, 12.0),
    (429, told("slow down"), {"retry_after_ms": "250", "retry_after": "1"}, 0.25),
    (429, told("slow down"), {"retry_after_ms": "0", "retry_after": "1"}, 1.0),
    (429, told("Rate limit reached. Please try again in 1m47.5s."), {}, 107.5),
    (429, told("Rate limit reached. Please try again in 399ms."), {}, 0.399),
    (429, told("Rate limit reached. Please try again in 2h3m4s"), {}, 7384.0),
    (429, told("Please retry in 48.9s."), {}, 48.9),
    (429, told("Please retry after 15 seconds."), {}, 15.0),
    (429, told("Please try again in 9s."), {"retry_after": "3"}, 3.0),
    (429,
     {"error": {"code": 429, "message": "You exceeded your current quota.",
                "status": "RESOURCE_EXHAUSTED", "details": [
                    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "48.5s"}]}}, {}, 48.5),
    (503, told("overloaded"), {"retry_after": "2"}, 2.0),
    (500, told("oops"), {"retry_after": "2"}, 2.0),
])
def test_delays(status: int, body: Any, headers: dict[str, str], delay: float | None) -> None:
    error = classified(status, body, **headers)
    assert error.retryable and error.retry_after == pytest.approx(delay)


def test_a_quota_of_the_day_is_not_waited_for() -> None:
    quota = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}
    error = classified(429, {"error": {"code": 429, "message": "You exceeded your current quota.",
                                       "details": [quota, {"retryDelay": "9s"}]}})
    assert isinstance(error, QuotaExhausted) and not error.retryable


@pytest.mark.parametrize(("payload", "kind", "status"), [
    ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, Overloaded,
     529),
    ({"error": {"code": 429, "message": "Rate limit exceeded"}}, RateLimited, 429),
    ({"error": {"message": "it broke", "type": "server_error"}}, ProviderError, 500),
    ({"error": "an error was encountered while running the model"}, ProviderError, 500),
    ({"error": {"message": "wrong", "code": "tool_use_failed", "status_code": 400}}, BadResponse,
     400),
    ({"error": {"message": "filtered", "code": "content_filter"}, "status": 400}, BadRequest, 400),
    ({"code": "server_error", "message": "it broke"}, ProviderError, 500),
    ([{"error": {"code": 503, "message": "down", "status": "UNAVAILABLE"}}], Overloaded, 503),
    (None, ProviderError, 500),
])
def test_errors_inside_a_stream(payload: Any, kind: type[ProviderError], status: int) -> None:
    error = classify_payload(ENDPOINT, payload)
    assert (type(error), error.status) == (kind, status)


def test_what_the_provider_behind_it_said_is_shown() -> None:
    raw = {"provider_name": "Elsewhere", "raw": "x is temporarily rate-limited upstream"}
    error = classified(429, {"error": {"code": 429, "message": "Provider returned error",
                                       "metadata": raw}})
    assert ("Provider returned error: Elsewhere: x is temporarily rate-limited "
            "upstream" in error.message)


def test_a_page_is_told_by_its_title() -> None:
    page = "<!DOCTYPE html>\n<html><title>502 Bad\nGateway</title><body>x</body>"
    assert classified(502, page).message.endswith("502 Bad Gateway")


@pytest.mark.parametrize("quoted",
                         ["secret-key-123", "sk-" + "a1" * 20, "AIza" + "b" * 30,
                          "gsk_" + "c3" * 12])
def test_keys_are_not_shown(quoted: str) -> None:
    error = classified(401, told(f"Incorrect API key provided: {quoted}. Look at your account."))
    assert quoted not in error.message + error.hint and "***" in error.message
    assert "OPENAI_API_KEY" in error.hint


def test_long_words_are_cut_and_lines_joined() -> None:
    message = classified(400, told("a\nb\t" + "x" * 10_000)).message
    assert len(message) < 500 and message.endswith("…") and ": a b x" in message


@pytest.mark.parametrize("body", [
    "[]", "[[]]", "{}", "null", "1", '"x"', '{"error": null}', '{"error": [1]}', "{" * 100_000,
    "[" * 100_000,
    '{"error": {"message": {"a": 1}}}', '{"detail": [{"loc": 1}]}', "\ufffd\x00", '{"code": true}'])
def test_odd_bodies_are_errors_too(body: str) -> None:
    for status in (400, 404, 429, 500):
        assert isinstance(classified(status, body), ProviderError)


@pytest.mark.parametrize("digits", [13, 5000])
@pytest.mark.parametrize("words",
                         ["{} tokens > {} maximum", "maximum context length is {} tokens, you "
                          "requested {}",
                          "token count {} exceeds {}", "limit {}, requested {}",
                          "prompt contains {} tokens of {}",
                          "request ({} tokens) exceeds the context ({} tokens)",
                          "please try again in {}m{}s"])
def test_numbers_of_many_digits_in_an_error(words: str, digits: int) -> None:
    number = "9" * digits
    for status in (400, 413, 429):
        error = classified(status, told(words.replace("{}", number), code=number))
        assert getattr(error, "limit", None) is getattr(error, "needed", None) is None


PARAMETERS = ("temperature", "top_p", "seed", "stop", "max_tokens", "reasoning_effort",
              "response_format",
              "stream_options",
              "chat_template_kwargs", "tool_choice")
PHRASES = (
    "`{}` is deprecated for this model",
    "`{}` and `messages` cannot both be specified for this model.",
    "{} must be one of low, high", "x does not support parameters: ['{}'], for model=m",
    "\"{}\" is no longer accepted here",
    "Nobody may send '{}' to this one", "the parameter {} is not enabled for your organization",
    "Extra field `{}`: refused",
    "[{}] ist nicht erlaubt", "Setting the {} parameter has no place here.",
    "argument {}: expected something else", "feature {} disabled", "参数 {} 不支持",
    "параметр {}: отказ", "you may not send {} to this deployment",
    "sampling option <{}> was switched off by your administrator", "qzx {} wvk")


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("phrase", PHRASES)
@pytest.mark.parametrize("status", [400, 422])
def test_a_refused_parameter_is_found_in_any_words(name: str, phrase: str, status: int) -> None:
    error = classified(status, told(phrase.format(name)))
    assert isinstance(error, BadRequest) and error.feature == name
    error = error_from(status, {}, json.dumps({"error": phrase.format(name)}).encode(), model="m")
    assert isinstance(error, BadRequest) and error.feature == name


def test_where_a_validation_error_points_to() -> None:
    located = {"detail":
               [{"type": "any", "loc": ["body", "reasoning_effort"],
                 "msg": "Input should be 'low'"}]}
    error = classified(422, located)
    assert isinstance(error, BadRequest) and error.feature == "reasoning_effort"
    error = classified(400, told("Developer instruction is not enabled for models/gemma-3"))
    assert isinstance(error, BadRequest) and error.feature == "system"
    error = classified(400, told("Your organization must be verified to stream this model.",
                                 param="stream",
                                 code="unsupported_value"))
    assert isinstance(error, BadRequest) and error.feature == "stream"


@pytest.mark.parametrize("phrase", [
    "Your organization must be verified to stream this model", "Streaming is not supported",
    "{} does not support streaming", "streaming responses are disabled for {}",
    "This deployment cannot stream", "stream mode is unsupported by {}",
    "Responses of {} cannot be streamed", "Use {} without streaming"])
def test_a_model_that_cannot_stream(phrase: str) -> None:
    """Gateways pass on the words without the parameter's name."""
    for words in (phrase.format("model-7"), f"litellm.BadRequestError: {phrase.format('o9')}."):
        error = classified(400, told(words))
        assert getattr(error, "feature", "") == "stream", words
    for words in ("the stream of tokens is too long", "not supported: temperature"):
        assert getattr(classified(400, told(words)), "feature", "") != "stream"


@pytest.mark.parametrize("words", [
    "This model's maximum context length is only 8192 tokens", "context length is only 8192",
    "The decoder prompt (length 9000) is longer than the maximum model length of 8192.",
    "This model's maximum prompt length is 8192 but the request contains 9001 tokens.",
    "`inputs` tokens + `max_new_tokens` must be <= 8192. Given: 9000 `inputs` tokens and 100 "
    "`max_new_tokens`",
    "`inputs` must have less than 4096 tokens. Given: 5000",
    "Range of input length should be [1, 8192]",
    "the input length exceeds the context length",
    "Your input exceeds the context window of this model",
    "Input is too large for this model", "The messages are too long",
    "The conversation does not fit into 8192 tokens",
    "tokens in your prompt surpass the maximum sequence length",
    "Prompt tokens exceed what is allowed: 9000"])
def test_overflow_in_any_words(words: str) -> None:
    assert isinstance(classified(400, told(words)), ContextTooLong)
    assert isinstance(error_from(400, {}, json.dumps({"error": words}).encode(), model="m"),
                      ContextTooLong)


@pytest.mark.parametrize("words", [
    "max_tokens is too large: 100000. This model supports at most 16384 completion tokens",
    "temperature must be at most 2",
    "messages must not be empty", "The image is too large", "invalid prompt id"])
def test_what_only_sounds_like_overflow(words: str) -> None:
    assert not isinstance(classified(400, told(words)), ContextTooLong)


def test_any_status_and_any_words_are_an_error_that_a_fallback_answers() -> None:
    seed = int(os.environ.get("STREAM_CHAT_TEST_SEED", "") or random.randrange(1 << 32))
    print("seed", seed)
    chance = random.Random(seed)
    here, there = Candidate("p", "a"), Candidate("p", "b")
    for _ in range(300):
        words = " ".join("".join(chance.choices(string.ascii_lowercase, k=chance.randrange(1, 9)))
                         for _ in range(chance.randrange(9)))
        error = classified(chance.randrange(400, 600),
                           told(words, code=chance.choice([None, "x_y", 17, words])))
        state, found = State(here, (there,), attempts=9, shorter=9), None
        for _ in range(3):
            found = next_step(Failure(error), state)
            state = moved(state, found, Failure(error))
        assert state.candidate == there or isinstance(found, Next), words


@pytest.mark.parametrize("status, body, kind", [
    (499, told("model x not found"), ModelNotFound), (500, told("model x not found"), None),
    (404, {"error": {"message": "?", "code": "x"}}, ModelNotFound),
    (404, {"error": {"message": "?", "type": "x"}}, ModelNotFound), (404, told("?"), None)])
def test_where_words_about_a_model_mean_that_it_is_gone(status: int, body: Any,
                                                        kind: type[ProviderError] | None) -> None:
    assert isinstance(classified(status, body), ModelNotFound) == (kind is ModelNotFound)


@pytest.mark.parametrize("seconds, words", [
    (3_540, "59 min"), (3_541, "1 h"), (3_600, "1 h"), (3_601, "1 h 1 min"), (7_200, "2 h"),
    (9_000, "2 h 30 min")])
def test_a_long_delay_is_told_in_hours(seconds: int, words: str) -> None:
    error = classified(429, told("slow down"), **{"retry-after": str(seconds)})
    assert f"{words}" in f"{error.message} {error.hint}".replace(".", ""), (error.message,
                                                                            error.hint)
