"""What a conversation has used so far: how full its model's window is,
and what its replies cost.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.chat.conversation import Chat
from core.errors import ChatError
from core.messages import Message
from core.models.facts import known_facts


def replies_of(chat: Chat) -> list[Message]:
    """The model's messages; where nothing is counted by price, those that are loaded will do."""
    session = chat.session
    loaded = [message for message in session.recent if message.role == "assistant"]
    return loaded if loaded and not is_cloud(chat) else session.replies


def tokens_in_window(replies: Sequence[Message]) -> int | None:
    """Prompt and answer of the last call, as it was counted;
    0 before the first, None where nothing was counted.
    """
    if not replies:
        return 0
    usage = replies[-1].usage
    if usage is None or usage.input_tokens is None:
        return None
    return usage.input_tokens + (usage.output_tokens or 0)


def window_of(chat: Chat) -> int | None:
    """As far as it is known without asking; the table of models is read
    once something was answered.
    """
    known = chat.known_window()
    if known or not chat.session.count:
        return known
    try:
        return known_facts(chat.target, chat.providers).context_window if is_cloud(chat) else None
    except ChatError:
        return None


async def learn_window(chat: Chat) -> bool:
    """Ask a server that gives each model its own window how large that is, once it has answered.

    True when it is known now and was not before.
    """
    target = chat.target
    if chat.known_window() or not replies_of(chat):
        return False
    if not chat.providers.lists_running(target.provider):
        return False
    return await chat.window.window(target, chat.options.num_ctx) is not None


def price_so_far(chat: Chat, replies: Sequence[Message]) -> float | None:
    """Dollars; None where nothing costs anything, or no price is known."""
    if not replies or not is_cloud(chat):
        return None
    from core.stats.usage import price_of
    return price_of(replies, chat.providers)


def is_cloud(chat: Chat) -> bool:
    try:
        return chat.providers.host(chat.target.provider).kind == "cloud"
    except ChatError:
        return False
