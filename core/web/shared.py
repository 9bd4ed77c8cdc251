"""The settings that the parts of the page share,
and what is made anew when one of them is changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from core.config import Settings
from core.model_manager import Providers


class Shared:
    """`settings` and the providers made of them.

    `change` replaces both, then calls everyone in `followers`.
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
