"""Prompts and skills that are kept as files, as slash commands of their names."""

from __future__ import annotations

from core.chat.conversation import Chat
from core.commands import MoreCommands, Outcome, Say, command, more_commands
from core.config.directories import from_home
from core.config.templates import filled, find_templates, template_directory
from core.rendering.table import Table

GROUP = "Chat"


@command()
async def prompts(chat: Chat, argument: str) -> Outcome:
    """List your prompts and skills: /NAME asks one."""
    found = find_templates(chat.settings.environment)
    directory = from_home(template_directory(chat.settings.environment))
    if not found:
        return (f"No prompts yet. A file {directory}/review.md becomes /review; /help page prompts "
                "says more.")
    rows = tuple((f"/{template.name}", template.usage(), template.about)
                 for template in found.values())
    return Table(("prompt", "takes", "what it is for"), rows, f"They are files in {directory}.")


def template_names(chat: Chat) -> list[tuple[str, str]]:
    """Their names and descriptions."""
    return [(template.name, template.about)
            for template in find_templates(chat.settings.environment).values()]


async def run_template(chat: Chat, word: str, argument: str) -> Outcome | None:
    """/name key=value ... TEXT"""
    template = find_templates(chat.settings.environment).get(word.lower())
    return None if template is None else Say(filled(template, argument))


more_commands(MoreCommands("", template_names, run_template))
