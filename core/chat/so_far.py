"""What a conversation has used so far: how full the model's window is, and the cost."""

from __future__ import annotations

from collections.abc import Sequence

from core.chat.conversation import Chat
from core.errors import ChatError
from core.messages import Message
from core.models.facts import known_facts


def replies_of(chat: Chat) -> list[Message]:
    """The model's replies: all of them if they have a price, otherwise those that are loaded."""
    session = chat.session
    loaded = [message for message in session.recent if message.role == "assistant"]
    return loaded if loaded and not is_cloud(chat) else session.replies


def tokens_in_window(replies: Sequence[Message]) -> int | None:
    """Tokens of the last call's prompt and answer; 0 before the first call, None if not counted."""
    if not replies:
        return 0
    usage = replies[-1].usage
    if usage is None or usage.input_tokens is None:
        return None
    return usage.input_tokens + (usage.output_tokens or 0)


def window_of(chat: Chat) -> int | None:
    """The window in tokens, if known without a request; the table of models is loaded after the
    first answer.
    """
    known = chat.known_window()
    if known or not chat.session.count:
        return known
    try:
        return known_facts(chat.target, chat.providers).context_window if is_cloud(chat) else None
    except ChatError:
        return None


async def learn_window(chat: Chat) -> bool:
    """Ask the server for the model's window after an answer, if the server sets it.

    Returns whether it has just become known.
    """
    target = chat.target
    if chat.known_window() or not replies_of(chat):
        return False
    if not chat.providers.lists_running(target.provider):
        return False
    return await chat.window.window(target, chat.options.num_ctx) is not None


def price_so_far(chat: Chat, replies: Sequence[Message]) -> float | None:
    """The cost in dollars; None if nothing costs anything or no price is known."""
    if not replies or not is_cloud(chat):
        return None
    from core.stats.usage import price_of
    return price_of(replies, chat.providers)


def is_cloud(chat: Chat) -> bool:
    """Whether the chat's model runs on a cloud provider."""
    try:
        return chat.providers.host(chat.target.provider).kind == "cloud"
    except ChatError:
        return False
