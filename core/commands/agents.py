"""The command that continues a chat as one of the agents of the configuration."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from core.chat.conversation import Chat
from core.commands import Choice, Done, Outcome, command, run_command
from core.config import Settings
from core.config.agents import agent_values, described, values_without
from core.model_manager import Target, build_model_list, resolve_target
from core.providers.from_settings import options_of
from core.models.tables import agent_table

GROUP = "Models"


async def _names(chat: Chat) -> Sequence[str]:
    return [Choice(str(name), described(entry)[1]) for name, entry in chat.settings.agents.items()]


@command("agent", usage="[NAME]", complete=_names)
async def as_(chat: Chat, argument: str) -> Outcome:
    """List the agents of the configuration, or continue as one:
    its model, system prompt, options, tools and fallbacks.
    """
    if not argument:
        return agent_table(chat.settings)
    values = agent_values(chat.settings.agents, argument)
    earlier = chat.settings.agent
    left = set(agent_values(chat.settings.agents, earlier)) if earlier else set()
    settings = chat.settings.replace(
        **{**values_without(chat.started, left | {"system"}), **values, "agent": argument})
    target = await _target(chat, settings, left, values)
    # refuse it now, before a question is saved
    chat.providers.open(target.provider)
    chat.settings, chat.system, chat.options = settings, settings.system, options_of(settings)
    if target != chat.target:
        chat.session.set_model(str(target))
    chat.target = target
    if "tools" in left | set(values):
        await run_command(chat, "/tools none")
        if settings.tools:
            await run_command(chat, f"/tools on {','.join(settings.tools)}")
    return Done(f"{argument} responds from the next message on: {chat.target}.")


async def _target(chat: Chat, settings: Settings, left: Collection[str],
                  values: Collection[str]) -> Target:
    """The agent's model; without one that of the start, if the present model is that of the agent
    before, whose settings are named in `left`.
    """
    named = ("model", "provider")
    if not any(name in values for name in named):
        before = await _first(chat, chat.settings) if any(name in left for name in named) else None
        if chat.target != before:
            return chat.target
    return await _first(chat, settings)


async def _first(chat: Chat, settings: Settings) -> Target:
    return await resolve_target(build_model_list(settings)[0], chat.providers)
