"""Builds a conversation from a session's rows, including partly unreadable ones."""

from __future__ import annotations

from collections.abc import Sequence

from core.dataclass import dataclass, replace
from core.messages import Message, ToolResult, tool_message
from core.store.rows import StoredMessage

INTERRUPTED = "Interrupted before it finished."


@dataclass(frozen=True, slots=True)
class Opened:
    """The readable messages with the IDs of their rows, and how many rows cannot be read
    completely.
    """

    messages: list[Message]
    ids: list[int]
    unreadable: frozenset[int]
    streams: bool     # still streaming in another program, or left by a killed one

    @property
    def note(self) -> str:
        """One sentence about unreadable messages; empty if there are none."""
        count = len(self.unreadable)
        if not count:
            return ""
        what, are = ("1 message", "is") if count == 1 else (f"{count} messages", "are")
        return (f"{what} of this session cannot be read in full by this version (damaged, or "
                f"written by a newer one); what cannot be read is left out here and {are} kept in "
                "the database.")


def open_conversation(stored: Sequence[StoredMessage]) -> Opened:
    """Return the conversation without unreadable and still streaming messages.

    Each tool call has exactly one result, as providers require.
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
    """Return results for all calls of the last reply, in the order of the calls; missing ones get a
    placeholder.
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
