"""The quiet line under the prompt: the model, how full its window is, and what the session used."""

from __future__ import annotations

from collections.abc import Sequence

from core.chat.conversation import Chat
from core.console.screen import Screen
from core.errors import ChatError
from core.messages import Message
from core.rendering.marks import HANG, styled
from core.rendering.widths import clip, text_width
from core.safe_text import safe_line
from core.terminal.greeting import short

ALARM = 0.9          # share of the window from which it stands out
LONGEST_NAME = 60
Part = tuple[str, str]      # text, role


def status_line(chat: Chat, screen: Screen, speed: float | None = None) -> str:
    """One row with styles, narrower than the screen; parts that do not fit are left out from the right."""
    dot = " \u00b7 " if screen.unicode else " | "
    room = screen.width() - 1 - HANG
    row, used = "", 0
    for number, (text, role) in enumerate(status_parts(chat, speed)):
        gap = dot if number else ""
        if number and used + len(gap) + text_width(text) > room:
            break
        text = clip(text, room)
        row += styled(gap, screen.theme.dim) + styled(text, screen.theme.role(role))
        used += len(gap) + text_width(text)
    return " " * HANG + row


def status_parts(chat: Chat, speed: float | None = None) -> list[Part]:
    """The most important first."""
    replies = [message for message in chat.session.messages if message.role == "assistant"]
    parts: list[Part] = [(model_name(chat) + ("" if chat.session.saved else ", not saved"), "dim")]
    used, window = tokens_in_window(replies), window_of(chat)
    if window and used is not None:
        share = used / window
        parts.append((f"window {share:.0%} of {short(window)}", "warn" if share >= ALARM else "dim"))
    total = sum((reply.usage.input_tokens or 0) + (reply.usage.output_tokens or 0) for reply in replies if reply.usage)
    if total:
        parts.append((f"{short(total)} tokens", "dim"))
    price = price_so_far(chat, replies)
    if price:
        parts.append((f"${price:.2f}" if price >= 1 else f"${price:.4f}", "dim"))
    if speed:
        parts.append((f"{speed:,.0f}/s", "dim"))
    if chat.session.title.startswith("\u21b3"):
        parts.append(("branch", "dim"))
    return parts


def model_name(chat: Chat) -> str:
    """With its provider, unless it runs on this computer or in the user's own Ollama."""
    target = chat.target
    name = target.model if target.model and target.provider in ("ollama", "local") else str(target)
    return safe_line(name, LONGEST_NAME)


def tokens_in_window(replies: Sequence[Message]) -> int | None:
    """Prompt and answer of the last call, as it was counted; 0 before the first, None where nothing was counted."""
    if not replies:
        return 0
    usage = replies[-1].usage
    if usage is None or usage.input_tokens is None:
        return None
    return usage.input_tokens + (usage.output_tokens or 0)


def window_of(chat: Chat) -> int | None:
    """As far as it is known without asking; the table of models is read once something was answered."""
    known = chat.known_window()
    if known or not chat.session.messages:
        return known
    try:
        from core.models.facts import known_facts
        return known_facts(chat.target, chat.providers).context_window if is_cloud(chat) else None
    except ChatError:
        return None


def price_so_far(chat: Chat, replies: Sequence[Message]) -> float | None:
    """None where nothing costs anything, or no price is known."""
    if not replies or not is_cloud(chat):
        return None
    from core.stats.usage import price_of
    return price_of(replies, chat.providers)


def is_cloud(chat: Chat) -> bool:
    try:
        return chat.providers.host(chat.target.provider).kind == "cloud"
    except ChatError:
        return False
