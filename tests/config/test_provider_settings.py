"""Settings of a provider made on the page apply everywhere, and an invalid one changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.config.provider_settings import (
    add_provider, added_providers, provider_file, remove_provider, set_provider)
from core.config.sources import load_providers, load_settings
from core.errors import ChatError


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def write_config(environment: dict[str, str], providers: object) -> None:
    path = Path(provider_file(environment)).with_name("config.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"providers": providers}), encoding="utf-8")


def test_it_goes_over_the_configuration_file_and_can_be_taken_back(
        environment: dict[str, str]) -> None:
    write_config(environment, {"ollama": {"base_url": "http://127.0.0.1:1", "temperature": 0.5},
                               "groq": {"model": "a"}})
    set_provider(environment, "ollama", {"temperature": "0.25", "num_ctx": "32k", "model": "qwen3"})
    settings = load_settings({}, environment)
    assert settings.providers["ollama"] == {
        "base_url": "http://127.0.0.1:1", "temperature": 0.25, "num_ctx": 32768, "model": "qwen3"}
    assert settings.providers["groq"] == {"model": "a"}
    set_provider(environment, "ollama", {"temperature": "", "num_ctx": " "})
    assert load_providers(settings)["ollama"] == {"base_url": "http://127.0.0.1:1",
                                                  "temperature": 0.5, "model": "qwen3"}


def test_a_server_is_added_and_removed_beside_others(environment: dict[str, str]) -> None:
    set_provider(environment, "ollama", {"model": "qwen3"})
    add_provider(environment, "mine", " http://10.0.0.7:8000/v1 ", "openai")
    settings = load_settings({}, environment)
    assert added_providers(environment) == {"ollama", "mine"}
    assert settings.providers["mine"] == {
        "base_url": "http://10.0.0.7:8000/v1", "dialect": "openai"}
    remove_provider(environment, "mine")
    remove_provider(environment, "never")
    assert load_providers(settings) == {"ollama": {"model": "qwen3"}}
    for address in ("", "  ", "ftp://10.0.0.7"):
        with pytest.raises(ChatError):
            add_provider(environment, "mine", address, "openai")
    assert added_providers(environment) == {"ollama"}


@pytest.mark.parametrize("wrong", [
    {"temperature": "warm"}, {"num_ctx": "-5"}, {"base_url": "file:///etc/passwd"},
    {"base_url": "javascript:1"},
    {"api_key": "secret"}, {"headers": "x"}, {"max_tokens": "many"}])
def test_a_mistake_is_refused_and_changes_nothing(environment: dict[str, str],
                                                  wrong: dict[str, str]) -> None:
    set_provider(environment, "ollama", {"model": "qwen3"})
    before = Path(provider_file(environment)).read_bytes()
    with pytest.raises(ChatError):
        set_provider(environment, "ollama", wrong)
    assert Path(provider_file(environment)).read_bytes() == before
    assert ([path.name for path in Path(provider_file(environment)).parent.iterdir()]
            == ["providers.json"])


def test_a_damaged_file_is_reported_at_the_start_and_replaced_by_the_next_change(
        environment: dict[str, str]) -> None:
    set_provider(environment, "ollama", {"model": "qwen3"})
    Path(provider_file(environment)).write_text("{]", encoding="utf-8")
    with pytest.raises(ChatError) as caught:
        load_settings({}, environment)
    assert "providers.json" in caught.value.message
    set_provider(environment, "ollama", {"model": "gemma3"})
    assert load_settings({}, environment).providers["ollama"] == {"model": "gemma3"}
