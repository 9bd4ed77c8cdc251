"""Derives model options and the retry configuration from the settings."""

from __future__ import annotations

from typing import Any

from core.config import Settings
from core.providers import Options
from core.providers.parameters import read_schema
from core.retry.policy import RetryConfig


def retry_config_of(settings: Settings) -> RetryConfig:
    """Return how often requests are retried, and with which delays."""
    return RetryConfig(settings.retry_max_attempts, settings.retry_initial_delay,
                       settings.retry_max_delay, settings.retry_multiplier, settings.retry_jitter)


def options_of(settings: Settings) -> Options:
    """Return the model options, in the form that every adapter translates."""
    switches: dict[str | None, bool | None] = {"on": True, "off": False, None: None}
    think = switches.get(settings.think, settings.think)
    return Options(settings.temperature, settings.top_p, settings.seed, settings.max_tokens,
                   settings.stop, think, settings.num_ctx, settings.keep_alive,
                   _response_format(settings.response_format), settings.option)


def _response_format(wanted: str | None) -> Any:
    """Return None for text, "json" for any JSON, or the JSON Schema in the file."""
    if wanted in (None, "text", ""):
        return None
    if wanted in ("json", "json_object"):
        return {"type": "json_object"}
    return read_schema(str(wanted))
