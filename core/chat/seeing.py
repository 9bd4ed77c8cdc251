"""Asks before images are sent to a model without vision: some servers silently drop them."""

from __future__ import annotations

from collections.abc import Sequence

from core.chat.front import Front
from core.errors import ContextError, ProviderError
from core.events import Notice
from core.model_manager import Providers, Target, resolve_target
from core.models.facts import learn
from core.models.fitness import forbidden
from core.providers.parameters import left_out_notice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.context.items import Item
    from core.context_loader import ContextSet
    from core.providers import Request


class NotSeen(ContextError):
    """The model cannot see a picture, and the user did not agree to ask without it."""


async def require_sight(context: ContextSet, before: Sequence[Item], target: Target,
                        providers: Providers,
                        front: Front) -> None:
    """Check that the model can see the images attached since `before`, or ask the user to continue
    without them.

    If the user declines, the images are detached and NotSeen is raised. A model is assumed to
    have vision unless it is known not to.
    """
    fresh = [item.name for item in context.items if item.kind == "image" and item not in before]
    if not fresh or providers.settings.context_optional or await _may_see(target, providers):
        return
    said = f"{target} does not see images: {', '.join(fresh)}."
    if front.agree is not None and await front.agree(
            f"{said}\nContinue without {'it' if len(fresh) == 1 else 'them'}?"):
        return
    for name in fresh:
        context.drop(name)
    context.forget_empty()
    raise NotSeen(f"Not attached: {said}",
                  "Choose a model that sees images: --model, or /model in a chat."
                  if front.agree is not None else "Choose a model that sees images with --model, "
                  "or ask without them: --context-optional.")


async def _may_see(target: Target, providers: Providers) -> bool:
    try:
        target = await resolve_target(target, providers)
        return (bool(forbidden(target, providers))
                or (await learn(target, providers)).vision is not False)
    except ProviderError:       # reported by the request itself
        return True


async def sight_notices(request: Request, target: Target, providers: Providers) -> list[Notice]:
    """A notice, once per run, if a conversation with images goes to a model without vision."""
    if target in providers.learned:
        return []
    facts = await learn(target, providers)
    return [Notice(left_out_notice(request, "vision"))] if facts.vision is False else []
