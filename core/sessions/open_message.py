"""A stored message that is not complete: a streaming reply, or the results of running tools."""

from __future__ import annotations


from core.dataclass import dataclass, field
from core.messages import Message, ToolResult, tool_message
from core.sessions.reply import Reply
from core.sessions.writes import Write, chunk_write, message_write
from core.store.rows import Chunk


@dataclass(slots=True)
class OpenMessage:
    id: int
    model: str
    reply: Reply = field(default_factory=Reply)
    results: list[ToolResult] = field(default_factory=list)
    frames: list[Chunk] = field(default_factory=list)   # the text of the reply that the journal has

    def writes(self, session: str) -> list[Write]:
        """Return the writes that add the message to a store that lacks it."""
        begun = (tool_message(tuple(self.results)) if self.results
                 else Message("assistant", (), self.model))
        return [message_write("add", begun, session=session, id=self.id, state="streaming"),
                *(chunk_write(self.id, seq, chunk) for seq, chunk in enumerate(self.frames))]
