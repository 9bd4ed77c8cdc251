"""Switches the model during a chat: finds the one that is meant, and reports what the new one will
not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from core.config import Settings
from core.errors import ChatError, UsageError
from core.messages import Image, Message, Thinking
from core.model_manager import POOL, Providers, Target, expanded, find_target, provider_name
from core.models.facts import ModelFacts
from core.models.health import list_models, set_up
from core.providers import similar_provider
from core.providers.hosts import find_host
from core.providers.sent import Ledger

TIMEOUT = 3.0    # seconds to wait for a list of names
MOST_SHOWN = 8   # names shown in a message


async def model_names(settings: Settings, names: Sequence[str], known: dict[str, list[str]],
                      sent: Ledger) -> dict[str, list[str]]:
    """Return the models of these providers, requested once per chat.

    It uses separate adapters, since it may run in another event loop.
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        own = Providers(settings)
        own.sent = sent
        try:
            await list_models(own, unknown, TIMEOUT)
        finally:
            await own.close()
        known.update({name: own.names.get(name, []) for name in unknown})
    return {name: known[name] for name in names}


async def find_model(text: str, current: Target, providers: Providers) -> tuple[Target, str]:
    """Return the model for a name or part of a name, and a remark about it.

    Raises UsageError for an ambiguous name. A name that is in no list is used unchanged, since
    lists may be incomplete; if the provider's list is complete, UsageError is raised.
    """
    settings = providers.settings
    target = find_target(text, settings, current.provider)
    for member in expanded(target, settings):
        providers.host(member.provider)
    if target.provider == POOL:
        return target, ""
    if text in settings.alias or not target.model:
        return target, ""
    names = (await model_names(settings, [target.provider], providers.names,
                               providers.sent))[target.provider]
    found = _match(target.model, names)
    if len(found) == 1:
        return Target(target.provider, found[0]), ""
    if not found and find_host(text) is not None:
        return Target(provider_name(text), ""), ""
    if found:
        raise UsageError(f"{text} could be {_some(found)}.", "Type more of the name.")
    if target.provider == current.provider and "/" not in text:
        elsewhere = await _elsewhere(target, providers)
        if elsewhere is not None:
            return elsewhere, ""
    if providers.trait(target.provider, "lists_all"):
        raise UsageError(f"{target.provider} has no model {target.model}. "
                         f"{_unlisted(target, names)}".strip(),
                         f"It has {_some(names)}." if names
                         else f"/models pull {target} downloads it.")
    return target, _unlisted(target, names)


def _match(wanted: str, names: Sequence[str]) -> list[str]:
    """Return the exact name, otherwise a name with another tag, otherwise all names that contain
    the words.
    """
    exact = [name for name in names if name in (wanted, f"{wanted}:latest")]
    if exact:
        return [wanted]
    words = wanted.lower().split()
    held = [name for name in names if all(word in name.lower() for word in words)]
    begun = [name for name in held if name.lower().startswith(wanted.lower())]
    return begun if len(begun) == 1 else held


async def _elsewhere(target: Target, providers: Providers) -> Target | None:
    """Return the matching model of another provider, if there is exactly one."""
    others = [name for name in set_up(providers) if name != target.provider]
    lists = await model_names(providers.settings, others, providers.names, providers.sent)
    found = [Target(name, model) for name, models in lists.items()
             for model in _match(target.model, models)]
    return found[0] if len(found) == 1 else None


def _unlisted(target: Target, names: Sequence[str]) -> str:
    if not names:
        return ""
    close = get_close_matches(target.model, [*names, *(name.partition(":")[0] for name in names)],
                              n=1)
    meant = close[0] if close else _with_provider_corrected(target.model)
    return f"{target.provider} does not list it." + (f" Did you mean {meant}?" if meant else "")


def _with_provider_corrected(name: str) -> str:
    """The name if what stands before its slash is a misspelt provider; otherwise empty."""
    begin, slash, model = name.partition("/")
    provider = similar_provider(begin) if slash else ""
    return provider and f"{provider}/{model}"


def _some(names: Sequence[str]) -> str:
    more = f" or {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return ", ".join(names[:MOST_SHOWN]) + more


# ---- what is left out

def left_out(messages: Sequence[Message], target: Target, facts: ModelFacts,
             providers: Providers) -> str:
    """Describe how the new model sees the conversation, as in "2 tool exchanges kept, 1 image left
    out: no vision".

    Thinking is sent back only to the dialect it came from (Ollama accepts any). Stored messages are
    not changed.
    """
    thoughts = sum(isinstance(part, Thinking) and bool(part.text or part.extra)
                   for message in messages
                   if not _takes_thoughts(message, target, providers) for part in message.parts)
    exchanges = sum(len(message.tool_results) for message in messages)
    images = sum(isinstance(part, Image) for message in messages for part in message.parts)
    parts = []
    if thoughts:
        parts.append(f"{_count(thoughts, 'thinking block')} left out")
    if exchanges:
        parts.append(f"{_count(exchanges, 'tool exchange')} kept")
    if images:
        parts.append(f"{_count(images, 'image')} "
                     + ("left out: no vision" if facts.vision is False else "kept"))
    return ", ".join(parts)


def _takes_thoughts(message: Message, target: Target, providers: Providers) -> bool:
    dialect = providers.host(target.provider).dialect
    if providers.trait(target.provider, "takes_any_thoughts") or not message.model:
        return True
    try:
        return providers.host(provider_name(message.model.partition("/")[0])).dialect == dialect
    except ChatError:
        return False


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
