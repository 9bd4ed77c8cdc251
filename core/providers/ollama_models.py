"""Reads what Ollama reports about its models."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core.errors import BadResponse, ProviderError
from core.events import PullProgress
from core.providers import ModelInfo
from core.providers.foreign import first_size, object_of, objects_of, size_of, text_of, words_of

# capabilities that Ollama's list can name
OFFERED = frozenset({"tools", "vision", "thinking"})
MOST_BYTES = 1 << 53    # larger than any real size; larger numbers are shown as this one


def model_info(entry: Mapping[str, Any]) -> ModelInfo:
    """Read a model from /api/tags or /api/ps."""
    details = object_of(entry.get("details"))
    capabilities, lacking = abilities(entry.get("capabilities"))
    return ModelInfo(
        name=text_of(entry.get("name")) or text_of(entry.get("model")),
        context_window=first_size((entry.get("context_length"), details.get("context_length"))),
        size=size_of(entry.get("size")),
        capabilities=capabilities,
        details={name: value for name, value in details.items() if value},
        lacking=lacking,
    )


def abilities(said: Any) -> tuple[frozenset[str] | None, frozenset[str]]:
    """Return (what the model can do, what it cannot).

    Ollama's list of capabilities is complete; older servers have none.
    """
    able = frozenset(words_of(said))
    return ((able, OFFERED - able) if isinstance(said, list) and able
            else (able or None, frozenset()))


def shown_info(model: str, answer: Mapping[str, Any]) -> ModelInfo:
    """Read /api/show: the maximum window is <architecture>.context_length; num_ctx in the
    Modelfile's parameters is the window that gets loaded.
    """
    facts = object_of(answer.get("modelinfo")) or object_of(answer.get("model_info"))
    capabilities, lacking = abilities(answer.get("capabilities"))
    details = {name: value for name, value in object_of(answer.get("details")).items() if value}
    loaded = re.search(r"^num_ctx\s+(\d{1,12})\s*$", text_of(answer.get("parameters")),
                       re.MULTILINE)
    if loaded:
        details["num_ctx"] = int(loaded[1])
    return ModelInfo(
        name=model,
        context_window=size_of(facts.get(f"{facts.get('general.architecture')}.context_length")),
        capabilities=capabilities,
        details=details,
        lacking=lacking,
    )


def pull_step(line: Any, where: str,
              refused: Callable[[int, Mapping[str, str], bytes], ProviderError]) -> PullProgress:
    """Read a line of /api/pull. Raises the error that the server reports."""
    if not isinstance(line, dict):
        raise not_ollama(where)
    if line.get("error"):
        raise refused(200, {}, json.dumps(line).encode())
    status, layer = line.get("status") or "", line.get("digest") or ""
    done, total = line.get("completed") or 0, line.get("total") or 0
    if not (isinstance(status, str) and isinstance(layer, str)
            and type(done) is type(total) is int):
        raise not_ollama(where)
    return PullProgress(status, max(0, min(done, MOST_BYTES)), max(0, min(total, MOST_BYTES)),
                        layer)


def entries_of(answer: Any, name: str) -> Sequence[Mapping[str, Any]]:
    entries = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(entries, list):
        raise not_ollama("The server")
    return [entry for entry in objects_of(entries)
            if text_of(entry.get("name")) or text_of(entry.get("model"))]


def not_ollama(who: str) -> BadResponse:
    return BadResponse(f"{who} did not respond like an Ollama server.",
                       "Check OLLAMA_HOST or --base-url.")
