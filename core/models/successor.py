"""Replaces a default model that its provider no longer has with one that it lists, and reports it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from core.dataclass import replace
from core.errors import ChatError, ModelNotFound
from core.events import Delta, Notice
from core.model_manager import Providers, Target, build_model_list
from core.providers import Request
from core.providers.hosts import find_host
from core.providers.purpose import chats


async def stream_or_successor(target: Target, request: Request, providers: Providers,
                              notice: str = "") -> AsyncGenerator[Delta | Notice, None]:
    """Yield the reply of this model, or of the successor of a discontinued default.

    `notice` is yielded first. A model that the user named is never replaced. Raises the provider's
    errors.
    """
    target = providers.successors.get(target, target)
    if notice:
        yield Notice(notice)
    begun = False
    try:
        async with aclosing(stream_prepared(target, request, providers)) as deltas:
            async for delta in deltas:
                begun = True
                yield delta
        return
    except ModelNotFound as error:
        replaced = not begun and not error.hosts_left and is_default(target, providers)
        found = await _successor(target, providers) if replaced else None
        if found is None:
            raise
        missing = error
    providers.successors[target] = found
    yield Notice(f"{target.provider} no longer has the default model {target.model}, so "
                 f"{found.model} is used. Choose another with --model.")
    try:
        async with aclosing(stream_prepared(found, request, providers)) as deltas:
            async for delta in deltas:
                begun = True
                yield delta
    except ModelNotFound:
        del providers.successors[target]
        raise missing from None


def stream_prepared(target: Target, request: Request,
                    providers: Providers) -> AsyncGenerator[Delta | Notice, None]:
    """Return the reply to a request that was adapted to the model, with pictures that its provider
    accepts.
    """
    asked = providers.prepared(target, replace(request, model=target.model))
    provider = providers.open(target.provider)
    if not providers.has_images(asked):
        return provider.stream(asked)
    from core.models.sent_pictures import stream_with_pictures
    return stream_with_pictures(provider, target, asked, providers)


def is_default(target: Target, providers: Providers) -> bool:
    """Return whether this is the default model of the provider's row, not named by the user."""
    row = find_host(target.provider)
    named = (target in build_model_list(providers.settings)
             or providers.entry(target.provider).get("model"))
    return (row is not None and bool(row.default_model) and target.model == row.default_model
            and not named)


async def _successor(target: Target, providers: Providers) -> Target | None:
    """Return the successor that its maker names, otherwise the model with the most similar name;
    None if the list contains the default itself.
    """
    try:
        listed = await providers.ask(target.provider, providers.open(target.provider).models())
    except ChatError:
        return None
    names = [info.name for info in listed if chats(info)]
    if not names or target.model in (info.name for info in listed):
        return None
    from difflib import get_close_matches

    from core.providers.dated import successor_named
    named = successor_named(target.provider, target.model)
    close = get_close_matches(target.model, names, n=1, cutoff=0.0)
    return Target(target.provider, named if named in names else close[0])
