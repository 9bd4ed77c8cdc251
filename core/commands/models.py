"""Commands about models and providers: change, list, fetch, delete, check, count."""

from __future__ import annotations

from collections.abc import Sequence

from core.chat.conversation import Chat
from core.commands import Confirm, Done, Fetch, Outcome, command
from core.errors import UsageError
from core.model_manager import (
    POOL, Target, delete_model, find_target, provider_name, resolve_target)
from core.models.facts import changes, known_facts, learn, summary
from core.models.switch import find_model, left_out, model_names
from core.models.tables import facts_table, health_table, model_table, provider_table
from core.providers import CanShow
from core.providers.parameters import left_out as left_out_parameters
from core.stats.counting import count_request
from core.stats.usage import usage_line

GROUP = "Models"


async def _model_names(chat: Chat) -> Sequence[str]:
    """What /model accepts: this provider's models, aliases, and models of other providers that are
    already known.
    """
    provider = chat.target.provider
    own = (await model_names(chat.settings, [provider], chat.providers.names,
                             chat.providers.sent))[provider]
    others = [f"{name}/{model}" for name, models in chat.providers.names.items() if name != provider
              for model in models]
    pools = [f"{POOL}/{name}" for name in chat.settings.pools]
    return [*chat.settings.alias, *pools, *own, *others]


@command(usage="[NAME]", complete=_model_names)
async def model(chat: Chat, argument: str) -> Outcome:
    """Show or change the model; NAME may be a part of its name, provider/model, or an alias."""
    if not argument:
        known = summary(await learn(chat.target, chat.providers))
        return (f"The model is {chat.target}." + (f" ({known})" if known else "")
                + " /model NAME switches, /models lists all.")
    target, remark = await find_model(argument, chat.target, chat.providers)
    if target.provider == POOL:
        return _to_pool(chat, target)
    chat.providers.open(target.provider)
    if remark:
        return _ask_first(chat, target, remark)
    return await _switch(chat, await resolve_target(target, chat.providers))


def _to_pool(chat: Chat, pool: Target) -> str:
    chat.target = pool
    chat.session.set_model(str(pool))
    return Done(f"The model is now {pool}: {', '.join(map(str, chat.chain.targets))}.")


def _ask_first(chat: Chat, target: Target, remark: str) -> Outcome:
    """A model that its provider does not list may be a typo, or the list may be incomplete.
    """
    def act() -> str:
        chat.target = target
        chat.session.set_model(str(target))
        return f"The model is now {target}."
    return Confirm(f"{remark} Switch to {target} anyway?", act)


async def _switch(chat: Chat, target: Target) -> str:
    """Change the model and report the consequences."""
    before, after = await learn(chat.target, chat.providers), await learn(target, chat.providers)
    chat.target = target
    chat.session.set_model(str(target))
    lines = [f"The model is now {target}. The conversation continues.", changes(before, after),
             left_out(chat.session.messages, target, after, chat.providers)]
    unused = left_out_parameters(chat.options, chat.providers.host(target.provider).dialect)
    if unused:
        lines.append(f"It has no {', '.join(unused)}, so that is not sent to it.")
    if chat.toolbox and after.tools is False:
        lines.append("It cannot call tools, so none are offered to it.")
    return Done("\n".join(line for line in lines if line))


async def _management(chat: Chat) -> Sequence[str]:
    names = await _model_names(chat)
    return [f"{verb} {name}" for verb in ("show", "rm", "pull") for name in names]


@command(usage="[pull NAME | rm NAME | show NAME | PROVIDER]", complete=_management)
async def models(chat: Chat, argument: str) -> Outcome:
    """List the models of all providers (or of one), or download, delete or describe a model."""
    word, _, name = argument.partition(" ")
    if word not in ("pull", "rm", "show"):
        if word:
            # an unknown provider is an error, not a row of the table
            chat.providers.host(word)
        return await model_table(chat.providers, provider_name(word) if word else "", chat.target)
    name = name.strip()
    target = find_target(name, chat.settings, chat.target.provider) if name else chat.target
    if word == "show":
        return await _explain(chat, target)
    if not name:
        raise UsageError(f"/models {word} needs the name of a model.")
    chat.providers.names.pop(target.provider, None)
    if word == "pull":
        return Fetch(target)
    await delete_model(target, chat.providers)
    return f"{target} is deleted."


async def _explain(chat: Chat, target: Target) -> Outcome:
    provider = chat.providers.open(target.provider)
    info = (await chat.providers.ask(target.provider, provider.show(target.model))
            if isinstance(provider, CanShow) else None)
    return facts_table(target, known_facts(target, chat.providers, info), info)


@command()
async def providers(chat: Chat, argument: str) -> Outcome:
    """List the providers and what each still needs."""
    return provider_table(chat.providers)


@command("doctor")
async def check(chat: Chat, argument: str) -> Outcome:
    """Ask every provider that is set up whether it answers, whether the key works, and how fast."""
    return (await health_table(chat.providers))[0]


async def _on_off(chat: Chat) -> Sequence[str]:
    return ("on", "off")


@command(usage="[on | off]", complete=_on_off)
async def usage(chat: Chat, argument: str) -> Outcome:
    """Show what this session used; on or off: whether each answer shows it."""
    if argument in ("on", "off"):
        chat.show_usage = argument == "on"
        when = "shown after each answer" if chat.show_usage else "no longer shown"
        return Done(f"Tokens and cost are {when}.")
    if argument:
        raise UsageError(f"/usage does not know {argument!r}.", "/usage, /usage on, /usage off")
    replies = [message for message in chat.session.messages if message.role == "assistant"]
    spent = usage_line(replies, chat.providers) or "nothing counted yet"
    waiting = await count_request(chat.fitter.as_sent(chat.request()), chat.target, chat.providers,
                                  chat.fitter.estimator)
    return f"This session: {spent}. Prices are estimates.\nThe conversation has {waiting}."
