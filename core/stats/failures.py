"""The failures of model calls: what happened to which model, how often, and how it ended."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from core.stats.report import ModelStats

# the kinds of core/errors.py that a model call can end with
WORDS = {
    "authentication": "Key refused",
    "bad_request": "Request refused",
    "bad_response": "Reply not readable",
    "connection": "Not reached",
    "context_too_long": "Prompt too long",
    "cost_limit": "Cost limit reached",
    "empty": "Reply without text",
    "model_not_found": "Model missing",
    "overloaded": "Provider overloaded",
    "paused": "Paused by the model",
    "provider": "Provider failed",
    "quota": "Quota used up",
    "rate_limit": "Rate limit",
    "stream_broken": "Broke off after the first word",
    "unsupported": "Feature not supported",
    "wrong_form": "Reply in the wrong form",
}


class Failure(NamedTuple):
    """How often one model failed in one way; `recovered` of the `times` were answered in the same
    turn, by another attempt or model. `last` is in seconds since 1970.
    """

    what: str
    model: str
    times: int
    recovered: int
    last: float


def failures(entries: Iterable[ModelStats]) -> list[Failure]:
    """The failures in these statistics, the most frequent first."""
    found = [Failure(WORDS.get(kind, kind.replace("_", " ").capitalize()),
                     f"{entry.provider}/{entry.model}", times, entry.recovered[kind],
                     entry.last_errors[kind])
             for entry in entries for kind, times in entry.errors.items()]
    return sorted(found, key=lambda each: (-each.times, -each.last))
