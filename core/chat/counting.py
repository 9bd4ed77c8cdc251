"""Counts the tokens of sources in the form that a model would receive."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from core.config import Settings
from core.config.places import protected_places
from core.context.files import read_image
from core.context.items import Fault, Item
from core.context.reading import Reader, fault_of
from core.context_loader import ContextSet
from core.dataclass import dataclass, field
from core.errors import ContextError
from core.messages import Message, user_message
from core.model_manager import Providers, Target
from core.providers import Request
from core.stats.counting import Counted, count_request
from core.tools.running import run_in_thread
from core.window.tokens import TokenEstimator


@dataclass(slots=True)
class CountedSources:
    """The tokens of each source that could be read, and why others could not."""

    counted: list[tuple[str, Counted]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


async def count_sources(
    names: Sequence[str],
    settings: Settings,
    target: Target,
    providers: Providers,
    estimator: TokenEstimator,
    *,
    ask: Callable[[str], Awaitable[bool]] | None = None,
    stdin: str = "",
) -> CountedSources:
    """Count the tokens of `names`, written as for --context. Raises ContextError if none can be
    read.
    """
    context = ContextSet(
        grep=settings.context_grep,
        ask=ask,
        stdin=stdin,
        estimator=estimator,
        protected=protected_places(settings, settings.database_url or ""),
    )
    found = CountedSources()
    for name in names:
        found.faults += await context.add(name)
    reader = Reader(estimator, str(target), context.guard)
    for item in context.items:
        try:
            message = await run_in_thread(lambda one: _message(one, reader), {"one": item})
        except ContextError as problem:
            found.faults.append(fault_of(item, problem))
            continue
        request = Request(target.model, (message,))
        counted = await count_request(request, target, providers, estimator)
        found.counted.append((item.name, counted))
    return found


def _message(item: Item, reader: Reader) -> Message:
    if item.kind == "image":
        return user_message("", (read_image(item, reader.guard),))
    return user_message(reader.text(item))
