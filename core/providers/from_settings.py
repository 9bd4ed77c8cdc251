"""What the settings ask of every provider: options, and how often a request is tried."""

from __future__ import annotations

from typing import Any

from core.config import Settings
from core.providers import Options
from core.providers.parameters import read_schema
from core.retry.policy import RetryConfig


def retry_config_of(settings: Settings) -> RetryConfig:
    """How often a request is tried, and how long is waited between."""
    return RetryConfig(settings.retry_max_attempts, settings.retry_initial_delay,
                       settings.retry_max_delay, settings.retry_multiplier, settings.retry_jitter)


def options_of(settings: Settings) -> Options:
    """What the user asked of the model, in the form that every adapter translates."""
    switches: dict[str | None, bool | None] = {"on": True, "off": False, None: None}
    think = switches.get(settings.think, settings.think)
    return Options(settings.temperature, settings.top_p, settings.seed, settings.max_tokens,
                   settings.stop, think, settings.num_ctx, settings.keep_alive,
                   _response_format(settings.response_format), settings.option)


def _response_format(wanted: str | None) -> Any:
    """None for text, OpenAI's form for any JSON, or the JSON Schema that the file holds."""
    if wanted in (None, "text", ""):
        return None
    if wanted in ("json", "json_object"):
        return {"type": "json_object"}
    return read_schema(str(wanted))
