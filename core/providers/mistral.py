"""The Mistral dialect: OpenAI's, with reasoning in a content list, nine-character ids and
`random_seed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from core.dataclass import replace
from core.events import Delta, ThinkingDelta
from core.messages import Message, Thinking
from core.regex import regex
from core.providers import Request, dialect
from core.providers.openai import THINKING, ChatTranslation, OpenAI, thinking_text
from core.providers.openai_request import CallIds, message_entries, origin_of, request_body
from core.providers.translation import Translation
from core.providers.written import Convert, Entry

NAME = "mistral"
_ID = regex(r"[a-zA-Z0-9]{9}")   # other lengths give 400, code 3280
OWN = {NAME: {"thinking": True}}      # marks reasoning that is sent back as part of the content


@dialect(NAME)
class Mistral(OpenAI):

    lacks = frozenset({"num_ctx", "keep_alive"})

    def body(self, request: Request) -> dict[str, Any]:
        think = request.options.think
        asked = replace(request, options=replace(request.options, think=None))
        body = request_body(asked, self.endpoint, self.beginnings, self._convert(request.model))
        body.pop("stream_options", None)
        if "seed" in body:
            body["random_seed"] = body.pop("seed")
        if think is not None:
            body.setdefault("reasoning_effort", "none" if think in (False, "off") else "high")
        return body

    def _convert(self, model: str) -> Convert:
        ids = CallIds(_ID, lambda digest: digest[:9])

        def convert(messages: Sequence[Message], before: Sequence[Entry],
                    last: bool) -> Iterator[Entry]:
            entries = message_entries(messages, before, last, endpoint=self.endpoint,
                                      origin=origin_of(self.endpoint, model), ids=ids)
            return _fitted(entries, messages)
        return convert

    def adapted(self, request: Request) -> Sequence[str]:
        level = request.options.think
        graded = isinstance(level, str) and level not in ("on", "off", "high")
        return [f"thinking has one effort here, high, which stands for {level}"] if graded else []

    def translation(self, request: Request) -> Translation:
        return MistralTranslation(self.endpoint, origin_of(self.endpoint, request.model))


class MistralTranslation(ChatTranslation):
    """Translates chunks. Each block of reasoning is a separate part, so that the list can be
    rebuilt.
    """

    _part = THINKING
    _thinking = False

    def pieces(self, content: list[Any]) -> Iterator[Delta]:
        for piece in content:
            if not (isinstance(piece, dict) and piece.get("type") == "thinking"):
                yield from super().pieces([piece])
                self._thinking = False
                continue
            if not self._thinking:
                self._part, self._thinking = self._part + 1, True
                yield ThinkingDelta("", self._part, OWN)
            yield ThinkingDelta(thinking_text(piece), self._part)


def _fitted(entries: Iterable[dict[str, Any]],
            messages: Iterable[Message]) -> Iterator[dict[str, Any]]:
    """Yield the entries with reasoning restored in place. The API rejects a user message right
    after a tool result, so a short assistant message is inserted.
    """
    replies = (message for message in messages
               if message.role == "assistant" and (message.text or message.tool_calls))
    before = ""
    for entry in entries:
        if entry["role"] == "assistant":
            entry["content"] = _content(next(replies)) or entry["content"] or ""
        if entry["role"] == "user" and before == "tool":
            yield {"role": "assistant", "content": "OK."}
        before = entry["role"]
        yield entry


def _content(message: Message) -> list[dict[str, Any]]:
    """Rebuild the content list of a reply; empty if it was plain text."""
    if not any(isinstance(part, Thinking) and (part.extra or {}).get(NAME)
               for part in message.parts):
        return []
    pieces: list[dict[str, Any]] = []
    for part in message.parts:
        text = getattr(part, "text", "")
        if isinstance(part, Thinking) and (part.extra or {}).get(NAME):
            pieces.append({"type": "thinking", "thinking": [{"type": "text", "text": text}]})
        elif text and not isinstance(part, Thinking):
            pieces.append({"type": "text", "text": text})
    return pieces
