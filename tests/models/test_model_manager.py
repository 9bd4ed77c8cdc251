"""Which model answers: names, defaults, servers and keys."""

from __future__ import annotations

import asyncio

import pytest

from core.config import Settings
from core.config.sources import load_settings
from core.errors import ModelNotFound, UsageError
from core.model_manager import (Providers, Target, build_model_list, can_fetch,
                                ensure_model_available, parse_target, resolve_target)
from core.providers.from_settings import options_of, retry_config_of
from tests.fake_server import FakeOllama

HOME = {"HOME": "/nowhere"}


def settings(**values: object) -> Settings:
    return Settings(values, environment=HOME)


@pytest.mark.parametrize("text, target", [
    ("llama3", Target("ollama", "llama3")), ("llama3:8b-q4", Target("ollama", "llama3:8b-q4")),
    ("ollama/llama3", Target("ollama", "llama3")), ("demo/demo", Target("demo", "demo")),
    ("hf.co/user/model:Q4", Target("ollama", "hf.co/user/model:Q4")),
    ("library/x", Target("ollama", "library/x")),
    ("groq/meta/llama", Target("groq", "meta/llama")), ("", Target("ollama", "")),
    ("/x", Target("ollama", "/x")),
])
def test_how_a_model_is_written(text: str, target: Target) -> None:
    assert parse_target(text) == target


def test_only_known_providers_are_split_off() -> None:
    assert parse_target("mine/x") == Target("ollama", "mine/x")
    assert parse_target("mine/x", known={"mine": {}}) == Target("mine", "x")


def test_the_model_and_its_fallbacks_each_once() -> None:
    listed = build_model_list(settings(model="a", model_fallbacks=("b", "a", "groq/c", "b")))
    assert listed == [Target("ollama", "a"), Target("ollama", "b"), Target("groq", "c")]
    assert build_model_list(settings(provider="demo")) == [Target("demo", "")]


def test_what_is_asked_of_the_model() -> None:
    options = options_of(
        settings(temperature=0.5, seed=1, think="on", stop=("x",), option={"mirostat": 1}))
    assert (options.temperature, options.seed, options.think, options.stop,
            options.raw) == (0.5, 1, True, ("x",), {"mirostat": 1})
    assert (options_of(settings(think="off")).think is False
            and options_of(settings(think="low")).think == "low")
    assert options_of(settings()).think is None
    assert retry_config_of(settings(retry_max_attempts=7)).max_attempts == 7


def test_the_first_model_of_the_server_and_a_pull() -> None:
    async def ask(url: str) -> tuple[Target, list[str]]:
        providers = Providers(settings(ollama_host=url))
        try:
            target = await resolve_target(Target("ollama", ""), providers)
            assert (can_fetch(Target("ollama", "new"), providers)
                    and not can_fetch(Target("demo", "demo"), providers))
            steps = [step.status async for step
                     in ensure_model_available(Target("ollama", "new"), providers)]
            return target, steps
        finally:
            await providers.close()
    with FakeOllama() as server:
        target, steps = asyncio.run(ask(server.url))
        assert (target.model.removesuffix(":latest") == server.models[0]
                and server.models[-1] == "new")
    assert steps[-1] == "success"


def test_a_server_without_models_and_a_provider_that_does_not_exist() -> None:
    async def ask(url: str) -> Target:
        providers = Providers(settings(ollama_host=url))
        try:
            return await resolve_target(Target("ollama", ""), providers)
        finally:
            await providers.close()
    with FakeOllama(models=()) as server, pytest.raises(ModelNotFound):
        asyncio.run(ask(server.url))
    with pytest.raises(UsageError):
        Providers(settings()).open("nonsense")


def test_an_address_that_is_none_is_quoted_as_it_was_typed() -> None:
    with pytest.raises(UsageError) as caught:
        Providers(load_settings({"ollama_host": "::::"}, {})).open("ollama")
    assert ("'::::' is not an address" in caught.value.message
            and "--ollama-host" in caught.value.hint)
