"""Fitting requests into the window: which servers are asked for facts, and when none is."""

from __future__ import annotations

import asyncio

from core.chat.fitting import Fitter
from core.config import Settings
from core.messages import user_message
from core.model_manager import Providers, Target
from core.models.window import WindowWatch
from core.providers import Request


def fitter_of(**values: object) -> Fitter:
    settings = Settings({"save": False, **values})
    providers = Providers(settings)
    return Fitter(settings, providers, WindowWatch(providers))


REQUEST = Request("claude-3-5-haiku-latest", (user_message("hello"),))
AWAY = Target("anthropic", "claude-3-5-haiku-latest")


def test_the_window_of_a_known_model_is_in_the_table() -> None:
    assert asyncio.run(fitter_of().window(REQUEST, AWAY)) == 200_000


def test_with_local_only_nobody_elsewhere_is_asked_anything() -> None:
    fitter = fitter_of(local_only=True)
    assert asyncio.run(fitter.window(REQUEST, AWAY)) is None and fitter._counter(REQUEST, AWAY,
                                                                                 1) is None


def test_a_model_without_a_name_is_not_asked_for() -> None:
    assert asyncio.run(fitter_of().window(REQUEST, Target("ollama", ""))) is None
