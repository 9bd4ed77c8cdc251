"""The Mistral dialect: OpenAI's, with reasoning as a list in the content, ids of nine characters and its own name for the seed."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from core.messages import Message, Thinking
from core.providers import Request, dialect
from core.providers.openai import OpenAI
from core.providers.openai_request import request_body

NAME = "mistral"
_ID = re.compile(r"[a-zA-Z0-9]{9}\Z")   # anything else is 400, code 3280


@dialect(NAME)
class Mistral(OpenAI):

    def body(self, request: Request) -> dict[str, Any]:
        body = request_body(request, self.endpoint)
        if "seed" in body:
            body["random_seed"] = body.pop("seed")
        replies = (message for message in request.messages if message.role == "assistant" and (message.text or message.tool_calls))
        for entry in body["messages"]:
            if entry["role"] == "assistant":
                _put_thinking_back(entry, next(replies))
            for call in entry.get("tool_calls", ()):
                call["id"] = nine_characters(call["id"])
            if "tool_call_id" in entry:
                entry["tool_call_id"] = nine_characters(entry["tool_call_id"])
        return body


def _put_thinking_back(entry: dict[str, Any], message: Message) -> None:
    """Reasoning of Mistral's own models goes back as it came: a list before the words."""
    own = [part.text for part in message.parts if isinstance(part, Thinking) and NAME in (part.extra or {}) and part.text]
    if own:
        thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": text}], "closed": True} for text in own]
        entry["content"] = [*thinking, *([{"type": "text", "text": message.text}] if message.text else [])]
    elif entry["content"] is None:
        entry["content"] = ""


def nine_characters(identity: str) -> str:
    """The id itself where it fits; otherwise one made from it, always the same."""
    if _ID.match(identity):
        return identity
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:9]
