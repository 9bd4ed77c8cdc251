"""Counts the tokens of a request: by its provider if it can count, otherwise by estimate."""

from __future__ import annotations


from core.dataclass import dataclass
from core.errors import ChatError
from core.model_manager import Providers, Target
from core.models.fitness import forbidden
from core.providers import CanCount, Request
from core.window.tokens import TokenEstimator


@dataclass(frozen=True, slots=True)
class Counted:
    """A number of tokens.

    `by` is the provider that counted, or "" for an estimate with a standard error of `doubt`
    tokens. `since`: most of it was counted by the server for the last answer.
    """

    tokens: int
    by: str = ""
    doubt: int = 0
    since: bool = False

    def __str__(self) -> str:
        if self.by:
            return f"{self.tokens:,} tokens (counted by {self.by})"
        how = "as of the last answer" if self.since else "estimated"
        return f"\u2248 {self.tokens:,} tokens ({how}, \u00b1{self.doubt:,})"


async def count_request(
    request: Request, target: Target, providers: Providers, estimator: TokenEstimator
) -> Counted:
    """Count by the provider if it can and may be asked; its failure leads to an estimate."""
    ready = target.model and request.messages
    exact = await _counted(request, target, providers) if ready else None
    if exact is not None:
        estimator.learn(request, exact, str(target))
        return Counted(exact, target.provider)
    return _since_last(request, target, estimator) or Counted(
        estimator.request(request, str(target)), "", estimator.doubt(request, str(target)))


def _since_last(request: Request, target: Target, estimator: TokenEstimator) -> Counted | None:
    """The server's count for the last answer plus an estimate of what followed; None without one.
    """
    messages = request.messages
    place = next((at for at in reversed(range(len(messages))) if messages[at].usage), None)
    usage = messages[place].usage if place is not None else None
    if place is None or usage is None or usage.input_tokens is None:
        return None
    later = Request(request.model, messages[place + 1:])
    counted, name = usage.input_tokens + (usage.output_tokens or 0), str(target)
    more = estimator.messages(later.messages, name)
    return Counted(counted + more, "", estimator.doubt(later, name) if more else 0, since=True)


async def _counted(request: Request, target: Target, providers: Providers) -> int | None:
    try:
        provider = providers.open(target.provider)
        if isinstance(provider, CanCount) and not forbidden(target, providers):
            return await provider.count(providers.prepared(target, request))
    except ChatError:
        pass
    return None
