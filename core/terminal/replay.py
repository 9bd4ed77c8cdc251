"""Shows a conversation again: all of it or, when a session is resumed, the last exchange, shortened
to about a screen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.chat.joining import BROKEN
from core.console.screen import Screen
from core.messages import Image, Message, ToolCall
from core.rendering.event_lines import tool_line
from core.rendering.marks import styled
from core.rendering.parser.code_blocks import ends_in_code
from core.rendering.picture_facts import picture_words
from core.rendering.widths import text_width
from core.safe_text import safe_line, safe_text

INCOMPLETE = "Incomplete: the reply ends here. /continue resumes it."
QUESTION_ROWS = 5    # rows of a question in a shortened exchange
AROUND = 10          # rows left for everything except the answer


def show_messages(screen: Screen, messages: Sequence[Message]) -> None:
    calls = {call.id: call for message in messages for call in message.tool_calls}
    for message in messages:
        show_message(screen, message, calls)


def show_message(screen: Screen, message: Message,
                 calls: Mapping[str, ToolCall] | None = None) -> None:
    """`calls`: the calls that a message's tool results belong to."""
    if message.role == "user":
        screen.gap()
        show_question(screen, message.text)
        for part in message.parts:
            if isinstance(part, Image):
                screen.say("added", f"{part.name or 'a picture'}  {picture_words(part)}")
        return
    if message.text.strip():
        screen.gap()
        _name_speaker(screen, message)
        screen.show_reply(message.text)
        screen.gap()
    for result in message.tool_results:
        screen.show(tool_line((calls or {}).get(result.id), result))
    if message.finish in BROKEN:
        screen.say("warning", INCOMPLETE)


def _name_speaker(screen: Screen, message: Message) -> None:
    """Name the speaker where no mark or style can show it."""
    if screen.plain:
        model = (message.model or "").partition("/")[2] or message.model or "Answer"
        screen.write(f"{safe_line(model, 60)}:\n")


def show_question(screen: Screen, text: str) -> None:
    first, *others = safe_text(text).strip("\n").split("\n")
    bold = screen.theme.role("bold")
    screen.write(f"{screen.sign('user')} {styled(first, bold)}\n"
                 + "".join(f"  {styled(line, bold)}\n" for line in others))


def show_last_exchange(screen: Screen, messages: Sequence[Message]) -> None:
    """Show the last question and the end of its answer."""
    place = max((place for place, message in enumerate(messages) if message.role == "user"),
                default=0)
    question, *replies = messages[place:]
    asked = question.text.strip("\n").split("\n")
    if _rows(asked, screen.width()) <= QUESTION_ROWS:
        show_message(screen, question)
    else:
        room = QUESTION_ROWS * screen.width()
        show_question(screen, "\n".join(asked[:QUESTION_ROWS])[:room] + " \u2026")
    if len(replies) > 1:
        screen.note(f"\u2026 {len(replies) - 1} messages of tool calls")
    for reply in replies[-1:]:
        _show_end(screen, reply)


def _show_end(screen: Screen, message: Message) -> None:
    lines = message.text.strip("\n").split("\n")
    kept = len(lines)
    room = max(4, screen.height() - AROUND)
    while kept > 1 and _rows(lines[-kept:], screen.width()) > room:
        kept -= 1
    kept = _to_paragraph(lines, kept)
    if kept < len(lines):
        above = "\n".join(lines[:-kept])
        _name_speaker(screen, message)
        screen.note(f"\u2026 {len(lines) - kept:,} more lines of the answer are above; /history 1 "
                    "shows all of it.")
        screen.gap()
        stream = screen.reply_stream(f"{above}\n")
        stream.feed("\n".join(lines[-kept:]))
        stream.finish()
        if message.finish in BROKEN:
            screen.gap()
            screen.say("warning", INCOMPLETE)
    else:
        show_message(screen, message)


def _to_paragraph(lines: Sequence[str], kept: int) -> int:
    """Begin after a nearby empty line, so that no table or list is cut; not within code.
    """
    start = len(lines) - kept
    if not start or ends_in_code("\n".join(lines[:start])):
        return kept
    empty = next((place for place in range(start, start + kept // 2) if not lines[place].strip()),
                 None)
    return kept if empty is None else len(lines) - empty - 1


def _rows(lines: Sequence[str], width: int) -> int:
    return sum(1 + max(0, text_width(line) - 1) // width for line in lines)
