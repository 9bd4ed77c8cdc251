"""Models on this computer: llama.cpp's server in a child process, used through the OpenAI dialect.

The engine starts with the first request, is shared with other chats, and ends with the last one
(core/engine). `endpoint.quirks`: model_directory (default: in the cache), engine (path of a
llama-server, or None for the wheel), threads (or None), idle (seconds that an engine outlives its
last chat), environment (variables, for pip and HF_ENDPOINT).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from core.config.directories import cache_directory
from core.dataclass import replace
from core.engine import machine
from core.engine.models import (
    COMPARING, DEFAULT, KNOWN, SITE, InstalledModel, compares, find_known, find_source,
    installed_models, read_header,
    require_model)
from core.engine.process import Engine, EngineOrder, find_binary, find_running, open_engine
from core.errors import ConnectFailed, ProviderError, StreamBroken
from core.events import Delta, PullProgress
from core.providers import (CanCount, CanEmbed, Endpoint, ModelInfo, Options, Provider, Request,
                            dialect, load_dialect)

# After a streamed answer the server closes the connection that it promised to keep open (measured:
# up to a quarter of the next requests were lost), so each request gets its own. Thinking is a
# switch of the chat template.
WIRE_QUIRKS = {"close": True, "think": "template", "thinking_back": "reasoning_content",
               "count": "llamacpp", "replays": True, "progress": True}
# characters of a text: comparing models are trained on a few sentences
MOST_COMPARED, LEAST_COMPARED = 800, 100


@dialect("local")
class Local:
    """Runs local models. `request.model` is a name, the path of a GGUF file, or the address that it
    was downloaded from.
    """

    lacks = frozenset({"keep_alive"})
    lists_all = True      # its list is complete

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.directory = _directory(endpoint)
        self._engine: Engine | None = None
        self._order: EngineOrder | None = None
        self._wire: Provider | None = None
        self._comparing: Local | None = None      # computes embeddings
        self.loading = ""

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        wire = await self._ready(request)
        asked = self._asked(request)
        try:
            async with contextlib.aclosing(wire.stream(asked)) as deltas:
                async for delta in deltas:
                    yield delta
        except (ConnectFailed, StreamBroken) as error:
            raise await self._explained(error) from error

    async def count(self, request: Request) -> int:
        """Count tokens exactly, with the model's tokenizer. Starts the engine."""
        wire = await self._ready(request)
        assert isinstance(wire, CanCount)
        return await wire.count(self._asked(request))

    async def window(self, request: Request) -> int:
        """Return the window that the engine has allocated, or would allocate. Does not start it."""
        return self._order_for(request).context

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """Compute embeddings in a separate engine, so that the chat model stays loaded."""
        self._comparing = self._comparing or Local(self.endpoint)
        return await self._comparing.compare(model, texts)

    async def compare(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """Compute embeddings with the comparing engine.

        Texts longer than the model's window are cut.
        """
        wire = await self._ready(Request(model, ()))
        assert isinstance(wire, CanEmbed)
        longest = MOST_COMPARED
        while True:
            try:
                return await wire.embed(self._alias(), [text[:longest] for text in texts])
            except ProviderError:
                longest //= 2
                if longest < LEAST_COMPARED:
                    raise

    async def models(self) -> list[ModelInfo]:
        """List the models on this computer. Downloadable ones are in core.engine.models.KNOWN."""
        return [_info(model) for model in installed_models(self.directory)]

    async def show(self, model: str) -> ModelInfo:
        found = require_model(model, self.directory)
        header = read_header(found.path)
        context = header.get(f"{header.get('general.architecture')}.context_length")
        return replace(_info(found), context_window=context if isinstance(context, int) else None)

    async def pull(self, model: str) -> AsyncGenerator[PullProgress, None]:
        machine.check_platform()
        from core.engine.download import download
        environment = self.endpoint.quirks.get("environment") or {}
        source = find_source(model or DEFAULT.name, environment.get("HF_ENDPOINT") or SITE)
        async with contextlib.aclosing(download(source, self.directory, environment)) as steps:
            async for step in steps:
                yield step

    async def check(self) -> str:
        """Describe the engine without starting it."""
        binary = self.engine_program()
        count = len(installed_models(self.directory))
        return (f"{binary or 'llama.cpp (xllamacpp)'}, {count} model{'' if count == 1 else 's'} in "
                f"{self.directory}")

    def engine_program(self) -> str | None:
        return find_binary(self.endpoint.quirks.get("engine"))

    async def close(self) -> None:
        if self._comparing is not None:
            await self._comparing.close()
            self._comparing = None
        if self._wire is not None:
            await self._wire.close()
        if self._engine is not None:
            self._engine.release()
        self._engine = self._wire = self._order = None

    async def _ready(self, request: Request) -> Provider:
        """Return a provider at the address of a running engine with this model."""
        order = self._order_for(request)
        if (self._wire is not None and order == self._order and self._engine is not None
            and self._engine.alive()):
            return self._wire
        await self.close()
        self.loading = os.path.basename(order.model).removesuffix(".gguf")
        try:
            engine = await open_engine(order)
        finally:
            self.loading = ""
        self._engine, self._order = engine, order
        self._wire = load_dialect("openai")(replace(
            self.endpoint, base_url=f"{engine.address}/v1", key=engine.key,
            quirks={**self.endpoint.quirks, **WIRE_QUIRKS}))
        return self._wire

    def _order_for(self, request: Request) -> EngineOrder:
        quirks = self.endpoint.quirks
        binary = self.engine_program()
        model = require_model(request.model, self.directory)
        directory, wanted = os.path.join(self.directory, ".engines"), request.options.num_ctx
        # memory that this engine uses already is available to it
        running = find_running(model.path, directory, wanted, binary)
        header = read_header(model.path)
        if running is not None:
            return replace(running, compares=compares(header))
        context = machine.choose_context(header, model.size, wanted, machine.available_memory())
        threads = quirks.get("threads") or machine.default_threads(model.size)
        return EngineOrder(model.path, directory, context, threads, float(quirks.get("idle") or 0),
                           binary,
                           compares(header))

    def _asked(self, request: Request) -> Request:
        """Return the request as the engine needs it."""
        options = replace(request.options, think=bool(request.options.think), num_ctx=None,
                          keep_alive=None)
        options = replace(options, raw={**self._sampling(options), **options.raw})
        return replace(request, model=self._alias(), options=options)

    def _sampling(self, options: Options) -> dict[str, Any]:
        """Return this model's recommended sampling for options that the user did not set."""
        assert self._order is not None
        known = find_known(os.path.basename(self._order.model))
        given = {"temperature": options.temperature, "top_p": options.top_p}
        return {name: value for name, value in (known.sampling if known else {}).items()
                if given.get(name) is None}

    def _alias(self) -> str:
        assert self._order is not None
        return os.path.basename(self._order.model).removesuffix(".gguf")

    async def _explained(self, error: ProviderError) -> ProviderError:
        """Return the error, or a clearer one if the engine itself has ended.

        The next request starts it again.
        """
        if self._engine is None or await _stays_alive(self._engine):
            return error
        message = ("The engine ended in the middle of its work (crashed, or ended by the system "
                   "for lack of memory).")
        hint = f"It is started again for the next message. Its log: {self._engine.log}"
        return (StreamBroken(message, hint) if isinstance(error, StreamBroken)
                else ConnectFailed(message, hint))


def _directory(endpoint: Endpoint) -> str:
    environment = endpoint.quirks.get("environment") or {}
    return str(endpoint.quirks.get("model_directory")
               or os.path.join(cache_directory(environment), "models"))


async def _stays_alive(engine: Engine) -> bool:
    """Return whether the engine still runs after a moment: a broken connection is noticed before
    the end of the process.
    """
    for _ in range(20):
        if not engine.alive():
            return False
        await asyncio.sleep(0.01)
    return True


def _info(model: InstalledModel) -> ModelInfo:
    known = next((row for row in (*KNOWN, *COMPARING) if row.name == model.name), None)
    able = frozenset({"embedding"}) if model.name in {row.name for row in COMPARING} else None
    details: dict[str, Any] = {"path": model.path,
                               "licence": model.licence or (known.licence if known else "")}
    return ModelInfo(model.name, known.context if known else None, None, model.size, able, details)
