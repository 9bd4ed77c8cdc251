"""What Ollama tells of its models."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core.errors import BadResponse, ProviderError
from core.providers import ModelInfo, PullProgress

MOST_BYTES = 1 << 53    # more than any model has; a JSON number of any length is shown as this one


def model_info(entry: Mapping[str, Any]) -> ModelInfo:
    """One model of /api/tags or /api/ps."""
    details = entry.get("details") or {}
    capabilities = entry.get("capabilities")
    return ModelInfo(
        name=entry.get("name") or entry.get("model") or "",
        context_window=entry.get("context_length") or details.get("context_length"),
        size=entry.get("size"),
        capabilities=None if capabilities is None else frozenset(capabilities),
        details={name: value for name, value in details.items() if value},
    )


def shown_info(model: str, answer: Mapping[str, Any]) -> ModelInfo:
    """/api/show: the window is <architecture>.context_length; num_ctx in the Modelfile's parameters is what gets loaded."""
    facts = answer.get("modelinfo") or answer.get("model_info") or {}
    capabilities = answer.get("capabilities")
    details = {name: value for name, value in (answer.get("details") or {}).items() if value}
    loaded = re.search(r"^num_ctx\s+(\d{1,12})\s*$", answer.get("parameters") or "", re.MULTILINE)
    if loaded:
        details["num_ctx"] = int(loaded[1])
    return ModelInfo(
        name=model,
        context_window=facts.get(f"{facts.get('general.architecture')}.context_length"),
        capabilities=None if capabilities is None else frozenset(capabilities),
        details=details,
    )


def pull_step(line: Any, where: str, refused: Callable[[int, Mapping[str, str], bytes], ProviderError]) -> PullProgress:
    """One line of /api/pull. Raises what the server says went wrong."""
    if not isinstance(line, dict):
        raise not_ollama(where)
    if line.get("error"):
        raise refused(200, {}, json.dumps(line).encode())
    status, layer = line.get("status") or "", line.get("digest") or ""
    done, total = line.get("completed") or 0, line.get("total") or 0
    if not (isinstance(status, str) and isinstance(layer, str) and type(done) is type(total) is int):
        raise not_ollama(where)
    return PullProgress(status, max(0, min(done, MOST_BYTES)), max(0, min(total, MOST_BYTES)), layer)


def entries_of(answer: Any, name: str) -> Sequence[Mapping[str, Any]]:
    entries = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(entries, list):
        raise not_ollama("The server")
    return [entry for entry in entries if isinstance(entry, dict)]


def not_ollama(who: str) -> BadResponse:
    return BadResponse(f"{who} did not answer as an Ollama server does.", "Check OLLAMA_HOST or --base-url.")
