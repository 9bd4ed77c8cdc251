"""Finds the model that a saved session names."""

from __future__ import annotations

from core.config import Settings
from core.model_manager import POOL, Target, parse_target
from core.safe_text import safe_line


def session_target(model: str, settings: Settings) -> Target | None:
    """Return the model that a session was held with, or None if its provider is gone.

    Sessions name it as provider/model. The provider may be one that the configuration no longer
    has, or one of another computer; its models must not be requested from another provider.
    """
    target = parse_target(model, known=settings.providers)
    if target.provider == POOL:
        return target if target.model in settings.pools else None
    return None if "/" in model and target.model == model else target


def replaced_model(model: str, target: Target) -> str:
    """Return the notice that another model answers in a session whose model's provider is gone."""
    return f"{lost_model(model)} {target} answers from here on; /model chooses another."


def lost_model(model: str) -> str:
    """Return the sentence about a session whose model's provider is gone."""
    kind, _, name = model.partition("/")
    what = f"pool {name}" if kind == POOL else f"provider {kind}"
    return (f"This session used {safe_line(model, 100)}, but the {safe_line(what, 60)} is not "
            "configured.")
