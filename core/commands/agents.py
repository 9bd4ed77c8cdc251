"""The command that continues a chat as one of the agents of the configuration."""

from __future__ import annotations

from collections.abc import Sequence

from core.chat.conversation import Chat
from core.commands import Choice, Done, Outcome, command, run_command
from core.config.agents import agent_values, described
from core.model_manager import build_model_list, resolve_target
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
    settings = chat.settings.replace(**{"system": None, **values})
    if {"model", "provider"} & set(values):
        target = await resolve_target(build_model_list(settings)[0], chat.providers)
        # refuse it now, before a question is saved
        chat.providers.open(target.provider)
        chat.settings = settings
        chat.target = target
        chat.session.set_model(str(target))
    chat.settings, chat.system, chat.options = (settings, settings.system,
                                                options_of(settings))
    if values.get("tools"):
        await run_command(chat, "/tools none")
        await run_command(chat, f"/tools on {','.join(values['tools'])}")
    return Done(f"{argument} responds from the next message on: {chat.target}.")
