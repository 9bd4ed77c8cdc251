"""Checks whether a model may be used, and whether it can handle a request."""

from __future__ import annotations

import asyncio

from core.errors import ChatError
from core.model_manager import Providers, Target
from core.models.facts import ModelFacts, known_facts, learn, short_count
from core.providers import Request
from core.config.network import is_loopback
from core.providers.parameters import count_images
from core.window.tokens import TokenEstimator

LOOK_SECONDS = 3.0     # facts not known by then count in favour of the model


def forbidden(target: Target, providers: Providers) -> str:
    """Return why --local-only forbids this model, or "".

    Ollama's cloud models run elsewhere too.
    """
    if not providers.settings.local_only:
        return ""
    host = providers.host(target.provider)
    if not host.server:
        return ""
    urls = [str(url) for url in providers.entry(target.provider).get("base_urls", ())]
    local = all(is_loopback(url if "://" in url else f"http://{url}")
                for url in urls or [providers.base_url(target.provider, host)])
    if not local or target.model.endswith(host.cloud_names):
        return "it does not run on this machine (--local-only)"
    return ""


async def unfit(target: Target, request: Request, providers: Providers) -> str:
    """Return what a fallback lacks for this request, or "": tools, vision or a large enough window.

    Unknown capabilities count as available.
    """
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            facts: ModelFacts = await learn(target, providers)
    except TimeoutError:
        facts = known_facts(target, providers)
    except ChatError:
        return ""      # the request itself will report what is wrong
    if request.tools and facts.tools is False:
        return "it cannot call tools"
    if facts.vision is False and count_images(request.messages):
        return "it does not see images"
    if facts.context_window is None:
        return ""
    needed = TokenEstimator().request(request, str(target))
    if needed > facts.context_window:
        return (f"the conversation (about {short_count(needed)} tokens) does not fit its window of "
                f"{short_count(facts.context_window)}")
    return ""
