"""Facts and prices of models: from the server, the table, or the user's configuration."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from core.config import Settings
from core.messages import Usage
from core.model_manager import Providers, Target
from core.models.facts import (ModelFacts, changes, cost_of, facts_of, find_row, known_facts,
                               short_count, table_date)
from core.providers import ModelInfo
from tests.fake_server import FakeOllama

ROOT = Path(__file__).resolve().parent.parent.parent


def providers(**values: Any) -> Providers:
    entries = values.pop("providers", {})
    return Providers(Settings(values, providers=entries))


def test_the_table_is_dated_small_and_of_one_shape() -> None:
    path = ROOT / "core" / "models" / "models.json"
    loaded = json.loads(path.read_text())
    assert table_date() == loaded["made"] and path.stat().st_size < 120_000
    for rows in loaded["models"].values():
        for row in rows.values():
            assert 1 <= len(row) <= 4 and all(value is None or value >= 0 for value in row)


@pytest.mark.parametrize("model",
                         ["anthropic/claude-haiku-4-5", "anthropic/claude-haiku-4-5-20251001",
                          "openai/gpt-5-mini",
                          "openai-responses/gpt-5-mini-2025-08-07",
                          "gemini/models/gemini-2.5-flash"])
def test_known_models_are_found(model: str) -> None:
    provider, _, name = model.partition("/")
    assert len(find_row(Target(provider, name))) == 4


def test_unknown_models_are_unknown() -> None:
    assert (find_row(Target("openai", "gpt-5-minimal")) == []
            and find_row(Target("nobody", "gpt-5-mini")) == [])
    facts = known_facts(Target("custom", "what"), providers())
    assert (facts.context_window, facts.tools, facts.input_price) == (None, None, None)


def test_the_server_is_asked_and_the_user_wins() -> None:
    with FakeOllama() as server:
        async def ask(**more: Any) -> ModelFacts:
            opened = providers(ollama_host=server.url, **more)
            try:
                return await facts_of(Target("ollama", "echo"), opened)
            finally:
                await opened.close()
        facts = asyncio.run(ask())
        assert (facts.tools, facts.vision, facts.context_window) == (True, False, 32768)
        own = asyncio.run(
            ask(providers={"ollama": {"models": {"echo": {"vision": True, "context_window": 9}}}}))
        assert (own.tools, own.vision, own.context_window) == (True, True, 9)


def test_what_a_server_says_goes_over_the_table() -> None:
    target = Target("anthropic", "claude-haiku-4-5")
    assert known_facts(target, providers()).context_window == 200_000
    said = ModelInfo("claude-haiku-4-5", 7, 5, capabilities=frozenset({"vision"}),
                     lacking=frozenset({"tools"}))
    facts = known_facts(target, providers(), said)
    assert (facts.context_window, facts.output_limit, facts.tools, facts.vision) == (7, 5, False,
                                                                                     True)
    assert (facts.kind, facts.needs_key) == ("cloud", True)


def test_a_server_that_is_away_is_no_error() -> None:
    facts = asyncio.run(facts_of(Target("ollama", "x"),
                                 providers(ollama_host="127.0.0.1:1", connect_timeout=0.5)))
    assert facts.context_window is None


def test_costs() -> None:
    mini = Target("openai", "gpt-5-mini")       # 0.25, 2 and 0.025 dollars a million
    assert cost_of(Usage(1_000_000, 1_000_000), mini) == pytest.approx(2.25)
    assert cost_of(Usage(1_000_000, 0, 1_000_000), mini) == pytest.approx(0.025)
    assert cost_of(Usage(10, 10), Target("ollama", "llama3")) is None
    assert cost_of(Usage(10, 10, details={"cost": 0.5}), Target("openrouter", "any")) == 0.5
    prices = {"m": {"input_price": 1, "output_price": 3}}
    own = providers(providers={"workshop": {"base_url": "http://127.0.0.1:1", "models": prices}})
    assert cost_of(Usage(1_000_000, 1_000_000), Target("workshop", "m"), own) == pytest.approx(4)


def test_changes_in_words() -> None:
    old = ModelFacts(tools=True, vision=False, context_window=8192)
    new = ModelFacts(tools=True, vision=True, context_window=200_000)
    assert changes(old, new) == "context 8k \u2192 200k, vision: no \u2192 yes"
    assert changes(old, old) == ""


@pytest.mark.parametrize("tokens, text",
                         [(None, "?"), (512, "512"), (8192, "8k"), (128_000, "128k"),
                          (32_768, "32k"),
                          (200_000, "200k"), (1_048_576, "1M"), (1_000_000, "1M"),
                          (2_097_152, "2M")])
def test_short_counts(tokens: int | None, text: str) -> None:
    assert short_count(tokens) == text
