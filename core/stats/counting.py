"""How many tokens a request has: counted by its provider where that can, else estimated."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import ChatError
from core.model_manager import Providers, Target
from core.models.fitness import forbidden
from core.providers import CanCount, Request
from core.window.tokens import TokenEstimator


@dataclass(frozen=True, slots=True)
class Counted:
    """`by` is who counted, "" for an estimate, which may be off by about `doubt` tokens."""

    tokens: int
    by: str = ""
    doubt: int = 0

    def __str__(self) -> str:
        if self.by:
            return f"{self.tokens:,} tokens (counted by {self.by})"
        return f"\u2248{self.tokens:,} tokens (estimated, \u00b1{self.doubt:,})"


async def count_request(
    request: Request, target: Target, providers: Providers, estimator: TokenEstimator
) -> Counted:
    """Ask the provider if it can count and may be asked. Never raises for what it does."""
    ready = target.model and request.messages
    exact = await _counted(request, target, providers) if ready else None
    if exact is not None:
        estimator.learn(request, exact, str(target))
        return Counted(exact, target.provider)
    name = str(target)
    return Counted(estimator.request(request, name), "", estimator.doubt(request, name))


async def _counted(request: Request, target: Target, providers: Providers) -> int | None:
    try:
        provider = providers.open(target.provider)
        if isinstance(provider, CanCount) and not forbidden(target, providers):
            return await provider.count(providers.prepared(target, request))
    except ChatError:
        pass
    return None
