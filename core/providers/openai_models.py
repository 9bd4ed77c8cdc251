"""Reads the model lists of OpenAI-compatible hosts, which differ in their fields. Without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.providers import ModelInfo
from core.providers.foreign import first_size, object_of, objects_of, size_of, text_of, words_of

# Names of the context window: Groq, OpenRouter and Together, Mistral and LM Studio, vLLM, LocalAI.
WINDOWS = ("context_window", "context_length", "max_context_length", "max_model_len",
           "context_size")
LIMITS = ("max_completion_tokens", "max_output_tokens")
CAPABILITIES: Mapping[str, str] = {
    "function_calling": "tools", "tool_use": "tools", "tools": "tools", "vision": "vision",
    "completion_chat": "completion",
    "completion": "completion", "chat": "completion", "reasoning": "thinking",
    "thinking": "thinking", "embedding": "embedding",
    "embeddings": "embedding", "multimodal": "vision",
}


def model_entries(answer: Any) -> list[dict[str, Any]]:
    """Return the objects of a list: under `data`, or the list itself (Together).

    Inactive models are left out (Groq).
    """
    listed = answer.get("data") if isinstance(answer, dict) else answer
    return [entry for entry in objects_of(listed)
            if text_of(entry.get("id")) and entry.get("active") is not False]


def model_info(entry: Mapping[str, Any]) -> ModelInfo:
    meta, top = object_of(entry.get("meta")), object_of(entry.get("top_provider"))
    routed = objects_of(entry.get("providers"))
    widest = max((size_of(option.get("context_length")) or 0 for option in routed), default=0)
    windows = (meta.get("n_ctx"), *(entry.get(name) for name in WINDOWS), meta.get("n_ctx_train"),
               widest)
    limits = (*(entry.get(name) for name in LIMITS), top.get("max_completion_tokens"))
    able, lacking = _abilities(entry, routed)
    return ModelInfo(entry["id"], first_size(windows), first_size(limits),
                     size_of(meta.get("size")), able or None,
                     lacking=lacking - able)


def _abilities(entry: Mapping[str, Any],
               routed: list[dict[str, Any]]) -> tuple[frozenset[str], frozenset[str]]:
    """Return (what the list says the model can do, what it says it cannot).

    Anything not mentioned is unknown.
    """
    said = entry.get("capabilities")
    able = {CAPABILITIES[word] for word in words_of(said) if word in CAPABILITIES}
    lacking = {CAPABILITIES[name] for name, value in object_of(said).items()
               if value is False and name in CAPABILITIES}
    if entry.get("type") in ("chat", "embedding"):
        able.add(CAPABILITIES[entry["type"]])
    parameters = entry.get("supported_parameters")     # a complete list (OpenRouter)
    if isinstance(parameters, list):
        found = {CAPABILITIES[name] for name in ("tools", "reasoning") if name in parameters}
        able |= {"completion"} | found
        lacking |= {"tools", "thinking"} - found
    modalities = object_of(entry.get("architecture")).get("input_modalities")
    if isinstance(modalities, list):
        able.add("completion")
        (able if "image" in modalities else lacking).add("vision")
    if any(option.get("supports_tools") is True for option in routed):
        able.add("tools")
    return frozenset(able), frozenset(lacking)
