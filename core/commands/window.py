"""The command for the model's window."""

from __future__ import annotations

from core.chat.conversation import Chat
from core.commands import Done, Outcome, command
from core.errors import ChatError, UsageError
from core.providers import CanShow
from core.providers.parameters import lacks_of

GROUP = "Models"
LEAST = 256


@command(usage="[TOKENS | auto]")
async def ctx(chat: Chat, argument: str) -> Outcome:
    """Show the model's window, or request another from the server: /ctx 32k. auto leaves it to the
    server again.
    """
    dialect = chat.providers.host(chat.target.provider).dialect
    if "num_ctx" in lacks_of(dialect):
        raise UsageError(f"{chat.target.provider} sets its window itself.",
                         "/ctx is for models on Ollama and local ones.")
    if not argument:
        return await _shown(chat)
    size = None if argument.lower() in ("auto", "off") else read_tokens(argument)
    chat.set_options(num_ctx=size)
    if size is None:
        return Done("The window is the server's own choice again, from the next answer on.")
    return (f"The window is {size:,} tokens from the next answer on; "
            "the model is loaded again for it, which takes a moment."
            + await _too_much(chat, size))


async def _shown(chat: Chat) -> str:
    asked = chat.options.num_ctx
    window = await chat.window.window(chat.target, asked, again=True)
    by = f"asked for: {asked:,}" if asked else "the server's own choice"
    if window is None:
        return f"The window of {chat.target} is not known before it has answered ({by})."
    _, likely, _ = chat.window.estimate(chat.request(), chat.target)
    return (f"The window of {chat.target} is {window:,} tokens ({by}); the conversation takes "
            f"about {likely:,} of them.")


async def _too_much(chat: Chat, size: int) -> str:
    """A note if the model was trained for a smaller window."""
    try:
        provider = chat.providers.open(chat.target.provider)
        shown = await provider.show(chat.target.model) if isinstance(provider, CanShow) else None
    except ChatError:
        return ""
    most = shown.context_window if shown is not None else None
    return (f" {chat.target.model} was made for {most:,}: the server gives no more than that."
            if most and most < size else "")


def read_tokens(text: str) -> int:
    """A number of tokens: 32k is 32,768; 8192 and 8,192 are themselves. Raises UsageError."""
    word = text.strip().lower().replace(",", "").replace("_", "")
    factor = 1024 if word.endswith("k") else 1
    digits = word.removesuffix("k")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10
            and int(digits) * factor >= LEAST):
        raise UsageError(f"{text!r} is not a valid window size.",
                         f"Write a number of tokens such as 32k, at least {LEAST}, or auto.")
    return int(digits) * factor
