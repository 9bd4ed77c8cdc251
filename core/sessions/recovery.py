"""Recovers from killed programs: saves spooled writes and closes half-written messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from core.dataclass import dataclass
from core.errors import SessionGone
from core.events import TextDelta, ThinkingDelta
from core.messages import KEPT_AS, Message, Usage
from core.sessions.opening import answer_calls
from core.sessions.reply import Reply
from core.sessions.spool import drain_spool
from core.sessions.spool_places import Places
from core.store.rows import Chunk, Unfinished
from db import Store


@dataclass(frozen=True, slots=True)
class Recovered:
    """A partial reply left by a killed program, now saved."""

    session_id: str
    session_name: str
    message_id: int
    message: Message


def recover(store: Store, spool: str | Places = "",
            news: list[str] | None = None) -> list[Recovered]:
    """Save what earlier runs could not, and close messages they left half-written.

    Replies of running programs are not touched. `news` gets a line for each spool file that still
    has content afterwards.
    """
    left = drain_spool(store, spool, news) if spool else []
    found = (unfinished for unfinished in store.unfinished()
             if not any(f"{unfinished.session_id}-" in path for path in left))
    return [recovered for unfinished in found for recovered in _fold(store, unfinished)]


def recover_session(store: Store, session_id: str) -> None:
    """Close messages that a killed program left half-written in this session."""
    for unfinished in store.unfinished():
        if unfinished.session_id == session_id:
            list(_fold(store, unfinished))


def _fold(store: Store, unfinished: Unfinished) -> Iterator[Recovered]:
    stored = unfinished.stored
    if stored.message.role == "tool":
        before = [entry.message for entry in store.load_messages(unfinished.session_id)
                  if entry.id != stored.id]
        message = answer_calls(before, stored.message.tool_results) or stored.message
    else:
        message = _reply_of(unfinished.chunks).broken(stored.message.model or "", "interrupted")
    try:
        store.finish_message(stored.id, message, "interrupted")
    except SessionGone:
        return      # just deleted by another program
    if message.role == "assistant" and not message.parts:
        store.hide_messages(unfinished.session_id, [stored.id])
        return
    yield Recovered(unfinished.session_id, unfinished.session_name, stored.id, message)


def _reply_of(chunks: Sequence[Chunk]) -> Reply:
    reply = Reply()
    for chunk in chunks:
        kind = TextDelta if chunk.kind == "text" else ThinkingDelta
        extra = json.loads(chunk.extra) if chunk.extra else {}
        handle = extra.pop(KEPT_AS, "")
        if handle:
            reply.usage = Usage(details={KEPT_AS: handle})
        reply.add(kind(chunk.text, chunk.part, extra or None))
    return reply
