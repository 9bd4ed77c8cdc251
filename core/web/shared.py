"""The settings shared by the components of the page, which are notified of changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from core.config import Settings
from core.model_manager import Providers


class Shared:
    """The settings and the providers built from them.

    `change` replaces both, then calls all `followers`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.providers = settings, Providers(settings)
        self.followers: list[Callable[[], Awaitable[None]]] = []

    async def change(self, settings: Settings) -> None:
        before, self.settings, self.providers = self.providers, settings, Providers(settings)
        await before.close()
        for follower in self.followers:
            await follower()

    async def close(self) -> None:
        await self.providers.close()
