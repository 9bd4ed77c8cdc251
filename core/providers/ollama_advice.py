"""Advice about an Ollama server that is down, old, without models, or loads a model with a small
window.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator

from core.errors import ChatError
from core.providers import CanShow, Provider
from core.config.network import is_loopback

OLD = (0, 9)             # 0.9 added thinking, 0.8 streaming tool calls
COMMON_WINDOW = 4096     # Ollama's default context window in tokens
LOOK_TIMEOUT = 1.0       # seconds to wait for an Ollama at the default address


async def when_down(address: str, wanted: str, usual: Provider) -> AsyncGenerator[str, None]:
    """Yield advice about a server that does not answer at `address`.

    `wanted` is the address as the user wrote it; `usual` is a provider at the default address.
    """
    if address != usual.endpoint.base_url and await _answers(usual):
        yield (f"An Ollama server responds at {usual.endpoint.base_url}, but OLLAMA_HOST or "
               f"--base-url is set to {address}.")
    elif is_loopback(address):
        yield ("Start it: `ollama serve`, or the Ollama application. If it runs elsewhere, set "
               "its address in OLLAMA_HOST.")
    else:
        yield ("On that machine the server must listen on all addresses: OLLAMA_HOST=0.0.0.0 "
               "ollama serve. Then look at its firewall.")
    if wanted.rpartition("://")[2].startswith("0.0.0.0"):
        yield ("0.0.0.0 in OLLAMA_HOST is an address for servers to listen on; it was taken as "
               "this machine.")


async def _answers(provider: Provider) -> bool:
    try:
        async with asyncio.timeout(LOOK_TIMEOUT):
            await provider.models()
        return True
    except (ChatError, TimeoutError):
        return False
    finally:
        await provider.close()


async def when_up(provider: Provider, said: str, model: str,
                  window: int | None) -> AsyncGenerator[str, None]:
    """Yield advice about a running server; `said` contains its version.

    `model` is the wanted model ("" for none), `window` its wanted window in tokens.
    """
    version = re.search(r"(\d+)\.(\d+)", said)
    if version and (0, 0) < (int(version[1]), int(version[2])) < OLD:
        yield f"Version {version[0]} is old: thinking needs 0.9, streaming tool calls need 0.8."
    names = [info.name for info in await provider.models()]
    if not names:
        yield "It has no models yet: ollama pull llama3.2, or /models pull llama3.2"
    if model and model not in names and f"{model}:latest" not in names:
        yield f"It does not have {model}: ollama pull {model}"
    elif model and isinstance(provider, CanShow):
        info = await provider.show(model)
        loaded = window or info.details.get("num_ctx") or COMMON_WINDOW
        if info.context_window and loaded < info.context_window:
            yield (f"{model} can take {info.context_window:,} tokens and may be loaded with "
                   f"{loaded:,}: raise it with /ctx or --num-ctx (this uses more memory).")
