"""A provider that wraps another one to see every request: the base of masking and of the cost
limit.
"""

from __future__ import annotations

from core.providers import Endpoint, ModelInfo, Provider

# Optional methods that are passed through: none of them carries a conversation.
HARMLESS_POWERS = ("check", "show", "running", "window", "pull", "delete", "create", "asked",
                   "lists_all", "advice",
                   "advice_when_down", "directory", "engine_program")


class Wrapped:
    """Passes through methods that carry no conversation.

    A subclass adds `stream` and any others.
    """

    def __init__(self, provider: Provider) -> None:
        self.inner = provider
        for power in HARMLESS_POWERS:
            if hasattr(provider, power):
                setattr(self, power, getattr(provider, power))

    @property
    def endpoint(self) -> Endpoint:
        return self.inner.endpoint

    async def models(self) -> list[ModelInfo]:
        return await self.inner.models()

    async def close(self) -> None:
        await self.inner.close()
