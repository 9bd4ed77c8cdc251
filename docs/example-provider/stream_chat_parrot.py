"""A provider of one's own: installed beside Stream Chat, chosen with --provider parrot."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from core.events import Delta, Finished, TextDelta
from core.messages import Usage
from core.providers import Endpoint, ModelInfo, Request


class Parrot:
    """What a provider has to have: an endpoint, stream(), models() and close()."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        heard = request.messages[-1].text.split()
        for word in heard:
            yield TextDelta(f"{word} ")
        yield Usage(len(heard), len(heard))
        yield Finished("stop")

    async def models(self) -> list[ModelInfo]:
        return [ModelInfo("grey")]

    async def close(self) -> None:
        """There is nothing to give back."""
