"""The conversation that the rows of a session make, also when not all of them can be read."""

from __future__ import annotations

from collections.abc import Sequence

from core.dataclass import dataclass, replace
from core.messages import Message, ToolResult, tool_message
from core.store.rows import StoredMessage

INTERRUPTED = "Interrupted before it finished."


@dataclass(frozen=True, slots=True)
class Opened:
    """What a model can be shown, with the IDs of the rows,
    and how many rows cannot be read (or not all of them).
    """

    messages: list[Message]
    ids: list[int]
    unreadable: frozenset[int]
    streams: bool     # another program is not ready with it, or was killed

    @property
    def note(self) -> str:
        """One sentence about what cannot be read; empty when all can."""
        count = len(self.unreadable)
        if not count:
            return ""
        what, are = ("1 message", "is") if count == 1 else (f"{count} messages", "are")
        return (f"{what} of this session cannot be read in full by this version (damaged, or "
                f"written by a newer one); what cannot be read is left out here and {are} kept in "
                "the database.")


def open_conversation(stored: Sequence[StoredMessage]) -> Opened:
    """Leave out what cannot be read and what still streams.

    Each call keeps exactly one result, as providers demand.
    """
    opened = Opened([], [], frozenset(entry.id for entry in stored if entry.unreadable),
                    any(entry.state == "streaming" for entry in stored))
    for entry in stored:
        message = entry.message
        if entry.state == "streaming":
            continue
        if opened.unreadable and message.role == "tool":
            asked = opened.messages[-1].tool_calls if opened.messages else ()
            message = replace(message, parts=tuple(result for result in message.tool_results
                                                   if result.id in {call.id for call in asked}))
            message = answer_calls(opened.messages, message.tool_results) or message
        if message.parts or not entry.unreadable and message.role != "tool":
            opened.messages.append(message)
            opened.ids.append(entry.id)
    return opened


def answer_calls(messages: Sequence[Message], results: Sequence[ToolResult]) -> Message | None:
    """Results for all calls of the last reply:
    those that are there, in the order of the calls, and a stand-in for the others.
    """
    if not messages or not messages[-1].tool_calls:
        return None
    waiting = list(results)
    answers = []
    for call in messages[-1].tool_calls:
        found = next((result for result in waiting if result.id == call.id), None)
        if found is not None:
            waiting.remove(found)
        answers.append(found or ToolResult(call.id, call.name, INTERRUPTED, True))
    return tool_message(tuple(answers))
