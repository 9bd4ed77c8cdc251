"""Creates a model from a Modelfile."""

from __future__ import annotations

from contextlib import aclosing

from core.config import Settings
from core.errors import UsageError
from core.events import ShownProgress
from core.model_manager import Providers, Target, build_model_list
from core.providers import CanCreate
from core.providers.modelfile import model_name, read_modelfile


async def make_model(path: str, settings: Settings, providers: Providers,
                     progress: ShownProgress | None) -> Target:
    """Create the model of the file at `path` on its server, named by --model or else after the
    file.
    """
    made = read_modelfile(path)
    chosen = build_model_list(settings)[0]
    target = Target(chosen.provider,
                    chosen.model if "model" in settings.flags else model_name(path))
    provider = providers.open(target.provider)
    if not isinstance(provider, CanCreate):
        raise UsageError(f"{target.provider} cannot create models from Modelfiles.",
                         "Ollama can: --provider ollama.")
    try:
        async with aclosing(provider.create(target.model, made.base, made.files, made.adapters,
                                            made.create)) as steps:
            async for step in steps:
                if progress is not None:
                    progress(step.status, step.completed)
    finally:
        if progress is not None:
            progress.clear()
    return target
