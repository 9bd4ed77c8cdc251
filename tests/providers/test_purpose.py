"""Which models are offered for a chat, by what their providers say and by their names."""

from __future__ import annotations

import pytest

from core.providers import ModelInfo
from core.providers.purpose import chats, only_embeds

EMBEDS = frozenset({"embedding"})
OTHERS = ("text-embedding-3-small", "nomic-embed-text:latest", "mxbai-embed-large", "bge-m3",
          "BAAI/bge-large-en", "e5-mistral-7b", "Qwen/Qwen3-Embedding-8B", "all-minilm:33m",
          "jina-reranker-v2", "whisper-1", "tts-1-hd", "gpt-4o-mini-tts", "gpt-4o-transcribe",
          "dall-e-3", "gpt-image-1", "imagen-4.0", "sora-2", "omni-moderation-latest",
          "meta-llama/llama-guard-4-12b", "gpt-realtime", "black-forest-labs/FLUX.1-dev")
CHATS = ("gpt-6-luna", "llama3.2:3b", "claude-haiku-4-5", "mediocre-7b", "qwen3:14b",
         "deepseek/deepseek-r1", "my-voyager", "gemini-flash", "putts-7b", "", "模型")


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_for_a_chat_is_known_by_its_name(name: str) -> None:
    assert not chats(ModelInfo(name)) and not only_embeds(ModelInfo(name))


@pytest.mark.parametrize("name", CHATS)
def test_every_other_name_chats(name: str) -> None:
    assert chats(ModelInfo(name))


def test_what_the_provider_says_counts_more_than_the_name() -> None:
    assert chats(ModelInfo("llama-guard3", capabilities=frozenset({"completion"})))
    assert chats(ModelInfo("both", capabilities=EMBEDS | {"completion"}))
    assert not chats(ModelInfo("plain", capabilities=EMBEDS))
    assert only_embeds(ModelInfo("plain", capabilities=EMBEDS))
