"""The first and the last lines of a chat."""

from __future__ import annotations

from collections.abc import Sequence

from core.argument_parser import started_as
from core.chat.conversation import Chat
from core.console.screen import Screen
from core.rendering.event_lines import notice_line
from core.rendering.marks import styled
from core.rendering.widths import text_width
from core.safe_text import safe_line
from core.terminal.replay import show_last_exchange

TITLE = 60          # characters of a session's title on a line


def greet(chat: Chat, screen: Screen, news: Sequence[str]) -> None:
    """Show the model, how to get help, and what the user should know before they type."""
    model = safe_line(chat.target.model or "the default model", 60)
    provider = provider_of(chat)
    told = model if model == provider else f"{model} on {provider}"
    first, *rest = flowing((told, *facts_of(chat)), screen)
    row = styled(model, screen.theme.role("bold")) + styled(first[len(model):], screen.theme.dim)
    screen.write(f"{row}\n" + "".join(f"{styled(more, screen.theme.dim)}\n" for more in rest))
    count = chat.session.count
    if count:
        title = f"{safe_line(chat.session.title, TITLE)}, " if chat.session.title else ""
        screen.line(f"Resumed: {title}{count_of(count)}. /history shows them.", "dim")
        screen.gap()
        show_last_exchange(screen, chat.session.recent)
        if news:
            screen.gap()
    else:
        screen.line("/help lists commands. Ctrl-C stops a reply, Ctrl-D leaves.", "dim")
    for line in news:
        screen.show(notice_line(line))


def flowing(parts: Sequence[str], screen: Screen) -> list[str]:
    """Rows of parts separated by dots; no part is broken."""
    dot = " \u00b7 " if screen.unicode else " | "
    rows = [parts[0]]
    for part in parts[1:]:
        if text_width(rows[-1] + dot + part) < screen.width():
            rows[-1] += dot + part
        else:
            rows.append(part)
    return rows


def provider_of(chat: Chat) -> str:
    return safe_line(chat.target.provider, 40)


def facts_of(chat: Chat) -> list[str]:
    """What distinguishes this chat, as far as it is known without a request."""
    facts = []
    window = chat.known_window()
    if window:
        facts.append(f"window {short(window)}")
    if chat.toolbox:
        count = len(chat.toolbox.specs)
        facts.append(f"{count} {'tool' if count == 1 else 'tools'}" if count else "tools")
    facts.append(f"session {chat.session.short_name}" if chat.session.saved else "not saved")
    return facts


def say_goodbye(chat: Chat, screen: Screen) -> None:
    """Say what the chat is saved as and how to resume it; write nothing for an empty chat.
    """
    session = chat.session
    if not session.count:
        return
    screen.gap()
    if not session.saved:
        screen.note(f"Not saved: {count_of(session.count)}.")
        return
    title = f"{safe_line(session.title, TITLE)}, " if session.title else ""
    screen.note(f"Saved as {session.short_name}: {title}{count_of(session.count)}.\n"
                f"Resume with {started_as()} --session {session.short_name}")


def count_of(messages: int) -> str:
    return "1 message" if messages == 1 else f"{messages:,} messages"


def short(count: int) -> str:
    """A number of tokens, such as 812, 5.1k, 32k or 1M; windows are counted in units of 1,024."""
    if count < 1000:
        return str(count)
    if count % 1024 == 0 and count < 1_000_000:
        return f"{count // 1024}k"
    if count < 1_000_000:
        return f"{count / 1000:.1f}k" if count < 100_000 else f"{count / 1000:.0f}k"
    return f"{count / 1_000_000:.1f}M".replace(".0M", "M")
