"""Commands for how the model is asked: /set, /options, /think."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from core.argument_parser import first_part
from core.chat.conversation import Chat
from core.commands import Choice, Done, Outcome, command
from core.config import BY_NAME
from core.config.values import parse_value
from core.errors import UsageError

from core.providers.from_settings import options_of
from core.rendering.table import Table

GROUP = "Models"
SETTABLE = ("temperature", "top_p", "seed", "max_tokens", "stop", "think", "num_ctx", "keep_alive",
            "clipboard")


# Common values, for settings without a list of choices.
OFTEN = {"temperature": ("0", "0.2", "0.7", "1"), "top_p": ("0.5", "0.9", "0.95", "1"),
         "seed": ("1", "42"), "max_tokens": ("512", "2k", "8k"),
         "num_ctx": ("8k", "16k", "32k", "64k", "128k"), "keep_alive": ("5m", "1h", "24h")}


async def _names(chat: Chat) -> Sequence[str]:
    """Each option with its values; the current one is marked."""
    names: list[str] = []
    for name in SETTABLE:
        now = getattr(chat.settings, name)
        names.append(Choice(f"{name} ", first_part(BY_NAME[name].help)))
        for text in (*BY_NAME[name].choices, *OFTEN.get(name, ())):
            is_now = now == parse_value(BY_NAME[name], text, name)
            names.append(Choice(f"{name} {text}", "now" if is_now else ""))
        if "off" not in BY_NAME[name].choices:
            default = BY_NAME[name].default
            names.append(Choice(f"{name} off", f"back to {_shown(default)}"))
    return names


@command("parameter", usage="[NAME VALUE | NAME off]", complete=_names)
async def set_(chat: Chat, argument: str) -> Outcome:
    """Change how the model is asked, from the next answer on: /set temperature 0.2; off
    leaves it to the provider.

    /set clipboard osc52 lets the terminal copy what /copy copies, also over SSH.
    """
    name, _, text = argument.removeprefix("parameter ").replace("=", " ", 1).strip().partition(" ")
    name, text = name.lower().replace("-", "_"), text.strip()
    if not name:
        return await options(chat, "")
    if name not in SETTABLE:
        begun = [known for known in SETTABLE if known.startswith(name)]
        close = begun if len(begun) == 1 else get_close_matches(name, SETTABLE, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"It knows {', '.join(SETTABLE)}."
        raise UsageError(f"/set does not know {name}.", hint)
    row = BY_NAME[name]
    if not text:
        return f"{name} is {_shown(getattr(chat.settings, name))}."
    value = (row.default if text.lower() in ("off", "default") and name != "think"
             else parse_value(row, text, f"/set {name}"))
    _apply(chat, name, value)
    return Done(f"{name} is {_shown(value)}, from the next answer on.")


@command()
async def options(chat: Chat, argument: str) -> Outcome:
    """Show the options with which the model is asked."""
    rows = tuple((name, _shown(getattr(chat.settings, name)), BY_NAME[name].help)
                 for name in SETTABLE)
    return Table(("option", "value", "what it does"), rows,
                 "/set NAME VALUE changes one; off leaves it to the provider.")


async def _efforts(chat: Chat) -> Sequence[str]:
    return BY_NAME["think"].choices


@command(usage="[on | off | low | medium | high | max]", complete=_efforts)
async def think(chat: Chat, argument: str) -> Outcome:
    """Switch the model's thinking on or off, or set its effort; without a value: show it."""
    if not argument:
        return f"Thinking is {_shown(chat.settings.think)}."
    _apply(chat, "think", parse_value(BY_NAME["think"], argument.lower(), "/think"))
    return Done(f"Thinking is {argument.lower()}, from the next answer on.")


def _apply(chat: Chat, name: str, value: object) -> None:
    chat.settings = chat.settings.replace(**{name: value})
    chat.options = options_of(chat.settings)


def _shown(value: object) -> str:
    if value in (None, (), ""):
        return "the provider's own"
    return ", ".join(map(repr, value)) if isinstance(value, tuple) else str(value)
