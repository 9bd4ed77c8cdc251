"""The dim line under the prompt: the model, how full its window is, and what the session used."""

from __future__ import annotations

from core.chat.conversation import Chat
from core.chat.so_far import price_so_far, replies_of, tokens_in_window, window_of
from core.console.screen import Screen
from core.providers.hosts import find_host
from core.rendering.marks import HANG, styled
from core.rendering.widths import clip, text_width
from core.safe_text import safe_line
from core.terminal.greeting import short

ALARM = 0.9          # share of the window from which it is highlighted
LONGEST_NAME = 60
Part = tuple[str, str]      # text, role


def status_line(chat: Chat, screen: Screen, speed: float | None = None) -> str:
    """One styled row, narrower than the screen; parts that do not fit are dropped from the right.
    """
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
    """The parts, most important first."""
    replies = replies_of(chat)
    parts: list[Part] = [(model_name(chat) + ("" if chat.session.saved else ", not saved"), "dim")]
    used, window = tokens_in_window(replies), window_of(chat)
    if window and used is not None:
        share = used / window
        parts.append((f"window {share:.0%} of {short(window)}",
                      "warn" if share >= ALARM else "dim"))
    total = sum((reply.usage.input_tokens or 0) + (reply.usage.output_tokens or 0)
                for reply in replies if reply.usage)
    if total:
        parts.append((f"{short(total)} tokens", "dim"))
    price = price_so_far(chat, replies)
    if price:
        parts.append((f"${price:.2f}" if price >= 1 else f"${price:.4f}", "dim"))
    if speed:
        parts.append((f"{speed:,.0f} tokens/s", "dim"))
    if chat.session.title.startswith("\u21b3"):
        parts.append(("branch", "dim"))
    return parts


def model_name(chat: Chat) -> str:
    """The model, with its provider unless that says nothing: it runs on this computer, in the
    user's own Ollama, or is the demo.
    """
    target = chat.target
    row = find_host(target.provider)
    name = target.model if target.model and (
        target.model == target.provider or row is not None and not row.shown) else str(target)
    return safe_line(name, LONGEST_NAME)
