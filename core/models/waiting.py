"""What a server is doing while nothing comes, as far as it can be known: loading, reading a long prompt, or busy."""

from __future__ import annotations

from core.model_manager import Providers, Target
from core.providers import CanListRunning, ModelInfo, Request

LONG_PROMPT = 1_000      # tokens; reading a shorter one is not worth a word


async def doing(target: Target, request: Request, providers: Providers) -> str:
    """In words: "loading qwen3:14b (9.3 GB)", "reading an 18k-token prompt", "queued"; "" where nothing is known.

    Asks an Ollama server which models it has in memory; every other server is only known to be silent."""
    from core.window.tokens import TokenEstimator
    tokens = TokenEstimator().request(request, target.model)
    reading = f"reading {_article(tokens)} {_short(tokens)}-token prompt" if tokens >= LONG_PROMPT else ""
    provider = providers.open(target.provider)
    if not isinstance(provider, CanListRunning) or not target.model:
        return reading or f"waiting for {target}"
    loaded = {_full(info.name) for info in await providers.ask(target.provider, provider.running())}
    if _full(target.model) not in loaded:
        return f"loading {target.model}{await _size(target, providers)}"
    return reading or "queued"


async def _size(target: Target, providers: Providers) -> str:
    """In brackets, where the server's list says it. Asked once."""
    known = providers.listed
    if target not in known:
        models = await providers.open(target.provider).models()
        found = next((info for info in models if _full(info.name) == _full(target.model)), ModelInfo(target.model))
        known[target] = found
    size = known[target].size
    return f" ({size / 1e9:.1f} GB)" if size and size >= 5e7 else f" ({size / 1e6:.1f} MB)" if size else ""


def _full(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _short(tokens: int) -> str:
    return f"{round(tokens / 1000)}k"


def _article(tokens: int) -> str:
    """Say "a" or "an", as it is spoken: an 8k, an 11k, an 18k, an 80k."""
    text = str(round(tokens / 1000))
    return "an" if text.startswith("8") or text in ("11", "18") or len(text) == 5 and text[:2] in ("11", "18") else "a"
