"""Facts that expire: default models and API versions, with the date of the last check, the
announced end and the source.

`make facts` prints facts at or near their end and fails on an expired default. No test depends on
today's date.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from typing import Literal

from core.dataclass import dataclass

NEAR = timedelta(days=45)       # an end within this period is reported
STALE = timedelta(days=120)     # a fact checked longer ago is reported


@dataclass(frozen=True, slots=True)
class Dated:
    """One fact. `ends` is the announced last day or None; `successor` is the replacement that its
    maker names.

    `doubt` says what is not confirmed by the maker's own page; "" if nothing.
    """

    provider: str
    kind: Literal["model", "version"]
    name: str
    checked: date
    source: str
    ends: date | None = None
    successor: str = ""
    doubt: str = ""


_UNSEEN = "its maker's current page was not available when this was checked"
_OPENAI = "https://developers.openai.com/api/docs/deprecations"
_GEMINI = "https://ai.google.dev/gemini-api/docs/deprecations"
_GROQ = "https://console.groq.com/docs/deprecations"
_XAI = "https://docs.x.ai/docs/migration/may-15-retirement"
_DEEPSEEK = "https://api-docs.deepseek.com/"
_SEEN = date(2026, 11, 29)

FACTS: tuple[Dated, ...] = (
    # ---- in use
    Dated("openai", "model", "gpt-6-luna", _SEEN, _OPENAI),
    Dated("openai-responses", "model", "gpt-6-luna", _SEEN, _OPENAI),
    Dated("anthropic", "model", "claude-haiku-4-5", _SEEN,
          "https://platform.claude.com/docs/en/about-claude/model-deprecations",
          successor="claude-haiku-5-5"),
    Dated("gemini", "model", "gemini-3.5-flash-lite", _SEEN, _GEMINI),
    Dated("cohere", "model", "command-a-03-2025", _SEEN,
          "https://docs.cohere.com/docs/deprecations"),
    Dated("mistral", "model", "mistral-small-latest", _SEEN,
          "https://docs.mistral.ai/getting-started/models/models_overview/",
          doubt="users name it as the successor of models that end in 2026; " + _UNSEEN),
    Dated("cborg", "model", "lbl/cborg-coder:latest", _SEEN, "https://cborg.lbl.gov/api_onprem/"),
    Dated("groq", "model", "openai/gpt-oss-120b", _SEEN, _GROQ),
    Dated("deepseek", "model", "deepseek-flash", _SEEN, _DEEPSEEK),
    Dated("huggingface", "model", "openai/gpt-oss-20b", _SEEN,
          "https://huggingface.co/docs/inference-providers/index",
          doubt="the model's page exists; it does not show which hosts the router uses"),
    Dated("openrouter", "model", "openrouter/auto", _SEEN,
          "https://openrouter.ai/docs/guides/routing/routers/auto-router"),
    Dated("xai", "model", "grok-4.3", _SEEN, _XAI),
    Dated("together", "model", "meta-llama/Llama-3.3-70B-Instruct-Turbo", _SEEN,
          "https://docs.together.ai/docs/deprecations", doubt=_UNSEEN),
    Dated("azure", "version", "2024-12-01-preview", _SEEN,
          "https://learn.microsoft.com/azure/ai-services/openai/api-version-deprecation",
          doubt="the page describes /openai/v1, which needs no version, and dates no end of "
          "this one"),
    Dated("anthropic", "version", "2023-06-01", _SEEN,
          "https://platform.claude.com/docs/en/api/versioning"),
    # ---- former defaults, which configurations and saved sessions still name
    Dated("openai", "model", "gpt-5-mini", _SEEN, _OPENAI, date(2026, 12, 11), "gpt-6.1-terra"),
    Dated("openai-responses", "model", "gpt-5-mini", _SEEN, _OPENAI, date(2026, 12, 11),
          "gpt-6.1-terra"),
    Dated("gemini", "model", "gemini-2.5-flash", _SEEN, _GEMINI, date(2026, 12, 1),
          "gemini-3.5-flash-lite"),
    Dated("groq", "model", "llama-3.3-70b-versatile", _SEEN, _GROQ, date(2026, 8, 16),
          "openai/gpt-oss-120b"),
    Dated("groq", "model", "llama-3.1-8b-instant", _SEEN, _GROQ, date(2026, 8, 16),
          "openai/gpt-oss-20b"),
    Dated("deepseek", "model", "deepseek-chat", _SEEN, _DEEPSEEK, date(2026, 7, 24),
          "deepseek-flash"),
    Dated("xai", "model", "grok-4", _SEEN, _XAI, date(2026, 5, 15), "grok-4.3"),
)


def fact_of(provider: str, kind: str, name: str) -> Dated | None:
    return next((fact for fact in FACTS
                 if (fact.provider, fact.kind, fact.name) == (provider, kind, name)), None)


def successor_named(provider: str, model: str) -> str:
    """Return the replacement that a model's maker names, or ""."""
    fact = fact_of(provider, "model", model)
    return fact.successor if fact else ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A message about a fact. `fatal` means an expired default."""

    text: str
    fatal: bool = False


def findings(used: Iterable[tuple[str, str, str]], today: date) -> Iterator[Finding]:
    """Yield findings about the (provider, kind, name) in use: expired, near the end, or not checked
    for long.
    """
    for provider, kind, name in used:
        fact, where = fact_of(provider, kind, name), f"{provider}: the default {kind} {name}"
        if fact is None:
            yield Finding(f"{where} has no source: add it to core/providers/dated.py")
        elif fact.ends is not None and fact.ends < today:
            yield Finding(f"{where} ended on {fact.ends}{_instead(fact)} ({fact.source})",
                          fatal=True)
        elif fact.ends is not None and fact.ends <= today + NEAR:
            yield Finding(f"{where} ends on {fact.ends}{_instead(fact)} ({fact.source})")
        elif fact.checked < today - STALE:
            yield Finding(f"{where} was last checked on {fact.checked} ({fact.source})")
        elif fact.doubt:
            yield Finding(f"{where} is not confirmed: {fact.doubt} ({fact.source})")


def _instead(fact: Dated) -> str:
    return f", {fact.successor} takes its place" if fact.successor else ""
