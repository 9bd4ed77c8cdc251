"""What happens beside the answer, in words for a user."""

from __future__ import annotations

import json

from core.events import Event, ModelChanged, Notice, QuotesChecked, Resuming, Retrying, ToolFinished, ToolRequested
from core.messages import Message
from core.safe_text import safe_line, safe_text

MOST_SHOWN = 500   # characters of a call's arguments in one line; a question about it and /last show all
FINISH_NOTES = {
    "length": "The answer stopped at its length limit. /retry with a larger --max-tokens, or ask it to go on.",
    "content_filter": "The provider's filter stopped the answer.",
    "refusal": "The model refused to answer.",
}


def sentence(reason: str) -> str:
    """A reason, made safe, with a full stop."""
    text = safe_line(reason, 200)
    return text if text.endswith((".", "!", "?", "\u2026")) else f"{text}."


def finish_note(message: Message) -> str:
    """What to say under a reply that is not simply whole, or nothing."""
    if message.finish == "stop" and not message.text.strip() and not message.tool_calls:
        return "The model sent an empty answer."
    return FINISH_NOTES.get(message.finish or "", "")


def _finished(event: ToolFinished) -> str:
    name, result = safe_line(event.result.name), event.result
    reason = safe_line(event.said or result.content, 200).rstrip(".").removeprefix("Not run: ")
    if not event.ran:
        return f"\u2190 {name} was not run: {reason}"
    what = f"failed: {reason}" if result.is_error else f"{len(result.content):,} characters"
    return f"\u2190 {name} {what}, {event.seconds:.1f} s"


def describe_event(event: Event) -> list[str]:
    """What happened beside the answer, in lines for a person; foreign text in them is made safe."""
    match event:
        case Retrying(attempt, delay, reason):
            return [f"{sentence(reason)} Attempt {attempt} in {delay:.1f} s."]
        case ModelChanged(old, new, reason):
            return [f"{sentence(reason)} {safe_line(new)} answers instead of {safe_line(old)}."]
        case Resuming(reason):
            return [f"{sentence(reason)} The answer goes on from there."]
        case Notice(text):
            return [safe_text(text)]
        case QuotesChecked(line=line):
            return [safe_line(line, 2000)]
        case ToolRequested(call):
            arguments = json.dumps(dict(call.arguments), ensure_ascii=False) if call.invalid is None else call.invalid
            return [f"\u2192 {safe_line(call.name, 100)} {safe_line(arguments, MOST_SHOWN)}"]
        case ToolFinished():
            return [_finished(event)]
    return []
