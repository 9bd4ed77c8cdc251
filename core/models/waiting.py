"""Describes what a silent server is doing (loading, reading a prompt, queueing) and for how long.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.dataclass import replace
from core.events import Reading
from core.model_manager import Providers, Target
from core.providers import CanListRunning, Loads, ModelInfo, Request
from core.models.forecast import (
    Span, expected_cached, first_word, left_to_read, loading, reading)
from core.store.rows import CallRow
from core.window.tokens import TokenEstimator

LONG_PROMPT = 1_000      # tokens; reading a shorter prompt is not reported


async def doing(target: Target, request: Request, providers: Providers,
                read: Sequence[Reading] = ()) -> str:
    """Return text such as "loading qwen3:14b (9.3 GB), about 12 s", "reading an 18k-token prompt:
    43%, about 20 s left" or "queued"; "" if unknown.

    `read` is the server's progress through the prompt. Without it, an Ollama server is asked which
    models are loaded, and the time is predicted from earlier calls of the model.
    """
    calls = providers.past.of(target.provider, target.model) if providers.past else []
    if read and read[-1].done < read[-1].total:
        return _progress(read, calls)
    provider = providers.open(target.provider)
    if isinstance(provider, Loads) and provider.loading:
        return f"loading {provider.loading}{_said(loading(calls))}"
    prompt = _prompt(target, request, calls)
    if not isinstance(provider, CanListRunning) or not target.model:
        return prompt or f"waiting for {target}{_said(first_word(calls), ', usually ')}"
    running = await providers.ask(target.provider, provider.running())
    if _full(target.model) not in {_full(info.name) for info in running}:
        return f"loading {target.model}{await _size(target, providers)}{_said(loading(calls))}"
    return prompt or "queued"


def _progress(read: Sequence[Reading], calls: Sequence[CallRow]) -> str:
    last = read[-1]
    part = f": {100 * last.done // last.total}%" if last.done > last.cached else ""
    span = left_to_read(read, calls)
    left = f"{_said(span)} left" if span is not None else ""
    return f"reading {_article(last.total)} {_short(last.total)}-token prompt{part}{left}"


def _prompt(target: Target, request: Request, calls: Sequence[CallRow]) -> str:
    """Describe reading a long prompt; "" for a short one."""
    count = TokenEstimator().request
    tokens = count(request, target.model)
    if tokens < LONG_PROMPT:
        return ""
    before = count(replace(request, messages=request.messages[:-1]), target.model)
    held = min(expected_cached(calls, before), tokens - 1)
    about = _said(reading(calls, held, tokens))
    return f"reading {_article(tokens)} {_short(tokens)}-token prompt{about}"


def _said(span: Span | None, before: str = ", ") -> str:
    if span is None:
        return ""
    return before + (span.words().removeprefix("about ") if "usually" in before else span.words())


async def _size(target: Target, providers: Providers) -> str:
    """Return the model's size in brackets if the server lists it. Requested once."""
    known = providers.listed
    if target not in known:
        models = await providers.open(target.provider).models()
        found = next((info for info in models if _full(info.name) == _full(target.model)),
                     ModelInfo(target.model))
        known[target] = found
    size = known[target].size
    return (f" ({size / 1e9:.1f} GB)" if size and size >= 5e7 else f" ({size / 1e6:.1f} MB)" if size
            else "")


def _full(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _short(tokens: int) -> str:
    return f"{round(tokens / 1000)}k" if tokens >= LONG_PROMPT else str(tokens)


def _article(tokens: int) -> str:
    """Return "a" or "an" as spoken: an 8k, an 11k, an 18k, an 80k."""
    text = _short(tokens).removesuffix("k")
    return ("an" if text.startswith("8") or text in ("11", "18") or len(text) == 5
            and text[:2] in ("11", "18") else "a")
