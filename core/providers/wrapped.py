"""A provider around another one, for what must see every request:
the base of the mask and of the limit on cost.
"""

from __future__ import annotations

from core.providers import Endpoint, ModelInfo, Provider

# What may be asked beside the three methods of every provider: none of these
# carries a conversation.
HARMLESS_POWERS = ("check", "show", "running", "window", "pull", "delete", "create", "asked",
                   "lists_all", "advice",
                   "advice_when_down", "directory", "engine_program")


class Wrapped:
    """Passes on what carries no conversation.

    A subclass adds `stream`, and what else it lets through.
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
