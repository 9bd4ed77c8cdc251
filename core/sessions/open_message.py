"""A message that is in the store but not complete:
the reply that streams, or the results of tools that run.
"""

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
    frames: list[Chunk] = field(default_factory=list)   # what the journal was given of the reply

    def writes(self, session: str) -> list[Write]:
        """What brings a store that has nothing of it up to date."""
        begun = (tool_message(tuple(self.results)) if self.results
                 else Message("assistant", (), self.model))
        return [message_write("add", begun, session=session, id=self.id, state="streaming"),
                *(chunk_write(self.id, seq, chunk) for seq, chunk in enumerate(self.frames))]
