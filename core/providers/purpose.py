"""Whether a model is one to chat with, by what its provider says and by its name."""

from __future__ import annotations

from core.providers import ModelInfo
from core.regex import regex

# Beginnings of words in the names of models that give something else than an answer in text, or
# judge a text. A list that a server gives without capabilities has them among the others.
_OTHERS = regex(
    r"(?<![a-z])(?:\w*embed|\w*rerank|bge-|gte-|e5-|all-minilm|paraphrase-|voyage-|colbert"
    r"|whisper|tts|audio|speech|transcribe|realtime|parakeet|kokoro|image|imagen|dall-e|flux"
    r"|stable-diffusion|sdxl|sora|veo-|video|ocr|vision-preview|\w*moderation|\w*guard)")


def chats(info: ModelInfo) -> bool:
    """Whether a model answers in text, as far as can be known without asking it."""
    if "completion" in (info.capabilities or ()):
        return True
    return not only_embeds(info) and _OTHERS.search(info.name.lower()) is None


def only_embeds(info: ModelInfo) -> bool:
    """Whether its provider says that a model gives embeddings and nothing else."""
    able = info.capabilities or ()
    return "embedding" in able and "completion" not in able
