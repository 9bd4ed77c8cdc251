"""What the model lists of OpenAI-compatible hosts say, each in its own words; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.providers import ModelInfo

# How hosts name the window: Groq, OpenRouter and Together, Mistral and LM Studio, vLLM, LocalAI.
WINDOWS = ("context_window", "context_length", "max_context_length", "max_model_len", "context_size")
LIMITS = ("max_completion_tokens", "max_output_tokens")
CAPABILITIES: Mapping[str, str] = {
    "function_calling": "tools", "tool_use": "tools", "tools": "tools", "vision": "vision", "completion_chat": "completion",
    "completion": "completion", "chat": "completion", "reasoning": "thinking", "thinking": "thinking", "embedding": "embedding",
    "embeddings": "embedding", "multimodal": "vision",
}


def model_entries(answer: Any) -> list[dict[str, Any]]:
    """The objects of a list: under `data`, or the list itself (Together). Those that are switched off are left out (Groq)."""
    listed = answer.get("data") if isinstance(answer, dict) else answer
    entries = listed if isinstance(listed, list) else []
    return [entry for entry in entries
            if isinstance(entry, dict) and isinstance(entry.get("id"), str) and entry.get("active") is not False]


def model_info(entry: Mapping[str, Any]) -> ModelInfo:
    meta = _object(entry.get("meta"))
    routed = [option for option in entry.get("providers") or () if isinstance(option, dict)]
    top = _object(entry.get("top_provider"))
    widest = max((_size(option.get("context_length")) or 0 for option in routed), default=0)
    windows = (meta.get("n_ctx"), *(entry.get(name) for name in WINDOWS), meta.get("n_ctx_train"), widest)
    limits = (*(entry.get(name) for name in LIMITS), top.get("max_completion_tokens"))
    return ModelInfo(entry["id"], next(filter(None, map(_size, windows)), None), next(filter(None, map(_size, limits)), None),
                     _size(meta.get("size")), _capabilities(entry, routed))


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _size(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _capabilities(entry: Mapping[str, Any], routed: list[dict[str, Any]]) -> frozenset[str] | None:
    """What the list says, as far as it says anything."""
    said = entry.get("capabilities")
    words = [name for name, able in said.items() if able] if isinstance(said, dict) else said if isinstance(said, list) else []
    able = {CAPABILITIES[word] for word in words if isinstance(word, str) and word in CAPABILITIES}
    if entry.get("type") in ("chat", "embedding"):
        able.add(CAPABILITIES[entry["type"]])
    parameters = entry.get("supported_parameters")
    modalities = _object(entry.get("architecture")).get("input_modalities")
    if isinstance(parameters, list):
        able |= {"completion", *(CAPABILITIES[name] for name in ("tools", "reasoning") if name in parameters)}
    if isinstance(modalities, list):
        able |= {"completion"} | ({"vision"} if "image" in modalities else set())
    if any(option.get("supports_tools") for option in routed):
        able.add("tools")
    return frozenset(able) or None
