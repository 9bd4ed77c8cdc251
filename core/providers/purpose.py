"""Tells chat models from others, by their provider's list and their names."""

from __future__ import annotations

from core.providers import ModelInfo
from core.regex import regex

# Beginnings of words in the names of models that do not answer in text (images, speech, embeddings)
# or that only judge text. Lists without capabilities contain them too.
_OTHERS = regex(
    r"(?<![a-z])(?:\w*embed|\w*rerank|bge-|gte-|e5-|all-minilm|paraphrase-|voyage-|colbert"
    r"|whisper|tts|audio|speech|transcribe|realtime|parakeet|kokoro|image|imagen|dall-e|flux"
    r"|stable-diffusion|sdxl|sora|veo-|video|ocr|vision-preview|\w*moderation|\w*guard)")


def chats(info: ModelInfo) -> bool:
    """Return whether a model answers in text, as far as can be known without using it."""
    if "completion" in (info.capabilities or ()):
        return True
    return not only_embeds(info) and _OTHERS.search(info.name.lower()) is None


def only_embeds(info: ModelInfo) -> bool:
    """Return whether its provider lists a model for embeddings only."""
    able = info.capabilities or ()
    return "embedding" in able and "completion" not in able
